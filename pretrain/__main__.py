"""`python -m pelagos.pretrain`, for torchrun and accelerate launch."""

from ..datasets.arguments import run_command
from .command import main

run_command(main)
