"""`python -m pelagos.finetune`, for torchrun and accelerate launch."""

from ..datasets.arguments import run_command
from .finetune_command import main

run_command(main)
