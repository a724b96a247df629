"""Run by torchrun in test_ranks.py: training in which a rank is killed in its first attempts."""

import os
import sys

from pelagos.datasets.base.cli import run_command
from pelagos.pretrain.command import main
from pelagos.pretrain.trainee import Trainee

attempt, attempts = int(os.environ["TORCHELASTIC_RESTART_COUNT"]), int(sys.argv[1])
step = Trainee.step


def dies(self, number, *rest):
    done = step(self, number, *rest)
    if attempt < attempts and number == 2 * attempt + 2 and os.environ["RANK"] == str(attempt % 2):
        print("rank is killed", file=sys.stderr, flush=True)
        os._exit(9)
    return done


Trainee.step = dies
run_command(main, sys.argv[2:])
