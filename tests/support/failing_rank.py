"""Run by torchrun in test_failing.py: one of two processes fails in the middle of training."""

import os
import sys

import torch

from pelagos.datasets.base.cli import run_command
from pelagos.pretrain.command import main
from pelagos.pretrain.objectives.rollout import Rollout

loss, calls = Rollout.loss, []


def failing(self, model, window, normalizer, seed):
    calls.append(seed)
    if os.environ["RANK"] == "1" and len(calls) == 3:
        raise torch.OutOfMemoryError("no memory left")
    return loss(self, model, window, normalizer, seed)


Rollout.loss = failing
run_command(main, sys.argv[1:])
