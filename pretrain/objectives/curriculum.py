"""A horizon that grows along training: a pure function of the optimizer step."""

from __future__ import annotations

from dataclasses import dataclass

from ...datasets.base.annotations import AtLeastOne
from ...datasets.base.config import Checked


@dataclass(frozen=True)
class CurriculumConfig(Checked):
    """How the horizon grows: horizon(step) = min(objective.horizon, start + growth · ⌊step/every⌋).

    Attributes:
        every: optimizer steps between two of its values.
        start: frames that are predicted at first.
        growth: by how many frames it grows each time.
    """

    every: AtLeastOne
    start: AtLeastOne = 1
    growth: AtLeastOne = 1

    def horizon(self, step: int, largest: int) -> int:
        """Frames to predict at an optimizer step, counted from 0."""
        return min(largest, self.start + self.growth * (step // self.every))
