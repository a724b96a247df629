"""`python -m pelagos.pretrain`, for torchrun and accelerate launch."""

from ..datasets.base.cli import run_command
from .command import main

run_command(main)
