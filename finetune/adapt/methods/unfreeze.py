"""Gradual unfreezing: first the head, then the blocks of the backbone, the last ones first.

A pure function of the step (Howard & Ruder 2018, arXiv 1801.06146): the head alone learns in the
first steps, with the backbone as it was; then a further share of the blocks is trained from every
stage on. A stage has a whole learning-rate schedule to itself, warm-up included, so that what joins
in does not start at full speed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ....datasets.base.annotations import AtLeastOne, BelowOne
from ....datasets.base.config import Checked
from ....operators.core.operator import Operator
from ....operators.core.parts import members
from ....pretrain.objectives import Phase
from .base import Method
from .naming import parts_of


@dataclass(frozen=True)
class UnfreezeConfig(Checked):
    """The head is trained first, then more and more of the backbone.

    Attributes:
        name: "unfreeze".
        head: share of the optimizer steps in which embedding, recovery and norms learn alone.
        stages: in so many stages of equal length, the other steps, the blocks join in, the last
            ones first.
    """

    name: Literal["unfreeze"] = "unfreeze"
    head: BelowOne = 0.25
    stages: AtLeastOne = 3


class Unfreeze(Method[UnfreezeConfig]):
    """Every weight is trained in the end, the later blocks for longer than the first ones."""

    Config = UnfreezeConfig

    def prepare(self, operator: Operator, seed: int) -> tuple[str, ...]:
        """Nothing is frozen for good; the operator must name its parts."""
        parts_of(operator, self.config.name)
        return ()

    def phases(self, operator: Operator, phases: Sequence[Phase]) -> tuple[Phase, ...]:
        """The objective's phases, cut where a stage begins."""
        resting = self._resting(operator)
        starts = self._starts(phases[-1].steps.stop, len(resting))
        found = []
        for phase in phases:
            cuts = sorted({phase.steps.start, *(s for s in starts if s in phase.steps)})
            for start, stop in zip(cuts, (*cuts[1:], phase.steps.stop), strict=True):
                stage = max(i for i, first in enumerate(starts) if first <= start)
                found.append(_stage(phase, range(start, stop), resting[stage], stage))
        return tuple(found)

    def _starts(self, steps: int, count: int) -> list[int]:
        """The first step of every stage; of the last ones, where there are fewer steps."""
        first = round(self.config.head * steps)
        length = (steps - first) / (count - 1)
        return [0, *(min(steps - 1, first + round(i * length)) for i in range(count - 1))]

    def _resting(self, operator: Operator) -> list[frozenset[str]]:
        """Names of the parameters that rest, by stage: all blocks, then fewer, then none."""
        names = [name for name, _ in operator.named_parameters()]
        blocks = parts_of(operator, self.config.name).blocks
        return [frozenset(members(names, _flat(blocks[:left]))) for left in self._left(len(blocks))]

    def _left(self, blocks: int) -> Iterator[int]:
        """How many blocks rest, by stage."""
        stages = min(self.config.stages, blocks)
        return (blocks - math.ceil(blocks * i / stages) for i in range(stages + 1))


def _flat(blocks: Sequence[Sequence[str]]) -> list[str]:
    return [name for block in blocks for name in block]


def _stage(phase: Phase, steps: range, resting: frozenset[str], stage: int) -> Phase:
    """A part of a phase, in which some parameters rest."""
    says = phase.begins if steps.start == phase.steps.start else ""
    if stage:
        count = f"{len(resting)} parameters rest still" if resting else "all of it is trained"
        says = "; ".join(filter(None, (says, f"more of the backbone joins in: {count}")))
    trains = phase.trains
    return replace(
        phase,
        steps=steps,
        trains=lambda name: name not in resting and trains(name),
        begins=says,
    )
