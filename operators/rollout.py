"""The one rollout: the only place where a prediction is fed back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from .interface import Observation, Operator, State


def rollout(
    operator: Operator,
    state: State,
    steps: Iterable[Float[Tensor, " B"] | float],
    observations: Iterable[Observation | None] | None = None,
) -> Iterator[Float[Tensor, "B C *S"]]:
    """Step an operator along `steps`, yielding the fields after each, in physical units.

    Constant memory in the number of steps (when no gradient is recorded).

    Args:
        operator: any operator.
        state: where to start, from `operator.init`.
        steps: physical time of each step, one number or one per trajectory (B,).
        observations: what was measured at the end of each step, None where nothing was.
    """
    measured = None if observations is None else iter(observations)
    for dt in steps:
        dt_B = torch.as_tensor(dt).expand(state.history.shape[0])
        observation = None if measured is None else next(measured, None)
        state, fields = operator.step(state, dt_B, observation)
        yield fields
