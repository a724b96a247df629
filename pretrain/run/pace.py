"""How fast training goes."""

from __future__ import annotations

import time

import torch
from accelerate import Accelerator

from .log import Log


class Pace:
    """Measures the second step, and says so if it is too slow to stop in time.

    Args:
        stop_within: seconds from being told to stop to the end.
        accelerator: whose device is waited for, this once.
    """

    def __init__(self, stop_within: float, accelerator: Accelerator) -> None:
        self.stop_within, self.device = stop_within, accelerator.device
        self.steps, self.began = 0, 0.0

    def step(self, log: Log) -> None:
        """One more step is done."""
        self.steps += 1
        if self.steps > 2:
            return
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        took, self.began = now - self.began, now
        if self.steps == 2 and took > self.stop_within:
            log.say(
                f"a step takes {took:.0f} s: told to stop, training ends later than stop_within = "
                f"{self.stop_within:g} s; let the scheduler give notice earlier, or make steps "
                "smaller"
            )
