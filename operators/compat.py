"""Foreign checkpoints: published weights in, our weights out. Nothing else knows their layouts."""

from .dymixop.published import load_dymixop, save_dymixop
from .multiscale.published import load_scot, save_scot

__all__ = ["load_dymixop", "load_scot", "save_dymixop", "save_scot"]
