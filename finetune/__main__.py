"""`python -m pelagos.finetune`, for torchrun and accelerate launch."""

from ..datasets.arguments import run_command
from .run import main

run_command(main)
