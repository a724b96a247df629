"""Run in test_rewinding.py, by one process or two: a loss that one of them sees is not finite."""

import math
import sys

from pelagos.datasets.base.cli import run_command
from pelagos.pretrain.command import main
from pelagos.pretrain.objectives.rollout import Rollout

loss = Rollout.loss
bad, arguments = int(sys.argv[1]), sys.argv[2:]


def poisoned(self, model, window, normalizer, seed):
    factor = math.nan if seed == bad else 1.0
    return loss(self, model, window, normalizer, seed) * factor


Rollout.loss = poisoned
run_command(main, arguments)
