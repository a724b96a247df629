"""The one rollout: the only place where a prediction is fed back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...datasets.fields.window import Context
from .given import given, require_finite
from .history import require_rank

if TYPE_CHECKING:
    from .observation import Observation, Sensors
    from .operator import Operator
    from .state import State


def rollout(
    operator: Operator,
    state: State,
    steps: Iterable[Float[Tensor, " B"] | float],
    observations: Iterable[Observation | Sensors | None] | None = None,
) -> Iterator[Float[Tensor, "B C *S"]]:
    """Step an operator along `steps`, yielding the fields after each, in physical units.

    Constant memory in the number of steps (when no gradient is recorded).

    Args:
        operator: any operator.
        state: where to start, from `operator.init`.
        steps: physical time of each step, one number or one per trajectory (B,).
        observations: what was measured at the end of each step, None where nothing was.

    Where the context masks fields, these keep the values of the last given frame.

    Raises:
        ValueError: more than one step of a steady problem.
    """
    context, given = state.context, state.history[:, -1]
    mask = None if context.mask is None else context.mask.to(given.device)
    measured = None if observations is None else iter(observations)
    for number, dt in enumerate(steps):
        if context.steady and number:
            raise ValueError(
                f"{operator.name} solves a steady problem ({', '.join(context.inputs)} → "
                f"{', '.join(context.fields)}) in one step; it cannot go on from the solution"
            )
        dt_B = torch.as_tensor(dt).expand(state.history.shape[0])
        observation = None if measured is None else next(measured, None)
        state, fields = operator.step(state, dt_B, observation)
        if mask is not None and not context.steady:
            fields = torch.where(mask, fields, given)
            state = state.corrected(fields)
        yield fields


def roll_out(
    operator: Operator,
    history: Tensor | np.ndarray,
    context: Context | None,
    *,
    dt: float,
    steps: int,
    gradients: bool,
) -> Iterator[Any]:
    """What `Operator.rollout` does: from what people hand in to frames of the same kind."""
    if steps < 0:
        raise ValueError(f"steps must not be negative; got {steps}")
    taken = given(history, operator.ndim, next(operator.parameters(), torch.zeros(())))
    if gradients and taken.array:
        raise ValueError("arrays carry no gradients; give the history as a tensor, or no gradients")
    require_rank(taken.history, operator.name, operator.ndim)
    require_finite(taken.history, operator.description.channels)
    with torch.set_grad_enabled(gradients and torch.is_grad_enabled()):
        state = operator.init(taken.history, context)
    frames = rollout(operator, state, repeat(dt, steps))
    return taken.back(frames if gradients else without_graph(frames))


def without_graph(frames: Iterator[Tensor]) -> Iterator[Tensor]:
    """The same frames, computed without a graph for gradients, whatever the caller's mode is."""
    while True:
        with torch.no_grad():  # not around the yield: it would change the caller's mode
            frame = next(frames, None)
        if frame is None:
            return
        yield frame
