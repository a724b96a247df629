"""`python -m pelagos.finetune`, for torchrun and accelerate launch."""

from ..datasets.base.cli import run_command
from .cli.training import main

run_command(main)
