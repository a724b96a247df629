"""Foreign checkpoints: published weights in, our weights out. Nothing else knows their layouts."""

from .compat_dymixop import load_dymixop, save_dymixop
from .compat_scot import load_scot, save_scot

__all__ = ["load_dymixop", "load_scot", "save_dymixop", "save_scot"]
