"""Which steps an operator takes to predict at the times that are asked for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .time_steps import SAME_STEP

if TYPE_CHECKING:
    from .operator import Operator


@dataclass(frozen=True)
class Leads:
    """Steps of a rollout, and which of their frames are wanted.

    Attributes:
        leads: times of the wanted frames after the last given one.
        increments: time of every step; in mode "direct", of the one step of every frame.
        kept: the wanted steps.
        direct: whether every frame is one step from the given ones.
    """

    leads: tuple[float, ...]
    increments: tuple[float, ...]
    kept: tuple[int, ...]
    direct: bool = False

    @property
    def moments(self) -> tuple[float, ...]:
        """When the steps end, after the last given frame."""
        return self.leads if self.direct else tuple(itertools.accumulate(self.increments))


def lead_steps(
    operator: Operator,
    step: float | None,
    *,
    steps: int | None,
    times: Sequence[float] | None,
    mode: Literal["autoregressive", "direct"] = "autoregressive",
) -> Leads:
    """The steps for what is asked for.

    Args:
        operator: takes them.
        step: its time step on the data; None where they say none.
        steps: how many; None where `times` say when.
        times: lead times.
        mode: as in `Wishes`.

    Raises:
        ValueError: the times are not positive and increasing, the step is unknown, the operator
            cannot predict directly, or cannot step to one of the times.
    """
    direct = mode == "direct"
    if direct and not operator.direct:
        raise ValueError(
            "direct prediction needs an operator that is continuous in time, such as multiscale; "
            f"{operator.name} steps by the dt that it was trained at"
        )
    if times is not None and not len(times):
        raise ValueError("no lead time is asked for; give at least one")
    if times is not None and not all(
        0 < b - a < math.inf for a, b in itertools.pairwise((0.0, *times))
    ):
        raise ValueError(
            "lead times must be positive, finite and increasing; got "
            + ", ".join(f"{time:g}" for time in times)
        )
    if times is not None and operator.continuous:
        increments = times if direct else [b - a for a, b in itertools.pairwise((0.0, *times))]
        return Leads(tuple(times), tuple(increments), tuple(range(len(times))), direct)
    step = _own_step(operator) if step is None else step
    if times is None:
        assert steps is not None, "one of both is given"
        leads = tuple(step * k for k in range(1, steps + 1))
        return Leads(leads, leads if direct else (step,) * steps, tuple(range(steps)), direct)
    return _multiples(operator, step, times)


def _multiples(operator: Operator, step: float, times: Sequence[float]) -> Leads:
    counts = [round(time / step) for time in times]
    off = [
        time
        for time, count in zip(times, counts, strict=True)
        if not count or abs(time - count * step) > SAME_STEP * time
    ]
    if off:
        raise ValueError(
            f"{operator.name} steps by {step:g} and cannot predict at "
            f"{', '.join(f'{time:g}' for time in off)}: ask for multiples of it"
        )
    increments, kept = (step,) * counts[-1], tuple(count - 1 for count in counts)
    return Leads(tuple(times), increments, kept)


def _own_step(operator: Operator) -> float:
    """The only time step that the operator was trained at."""
    if operator.description.inputs:
        return 1.0
    trained = operator.description.time_steps
    if len(trained) != 1:
        known = ", ".join(f"{step:g}" for step in trained) or "unknown ones"
        raise ValueError(
            f"the data do not say their time step, and {operator.name} was trained at {known}: "
            "give times, or data with two frames and their times"
        )
    return trained[0]
