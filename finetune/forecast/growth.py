"""How fast small differences grow: the largest Lyapunov exponent of an operator, and of the truth.

The operator's follows a tangent through its step by forward-mode products. The solver's, where the
data say by which one they were made, follows two neighbours a millionth apart in double precision.
Both begin at the same given frames and take as many steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...datasets.fields.dynamics import Advance, by_differences, largest_lyapunov
from ...datasets.fields.window import Context, Window, collate
from ...datasets.stores.store import Store
from ...operators.core.operator import Operator
from ...pretrain.objectives import reference_of
from .numbers import numbers
from .plan import Plan

TRAJECTORIES = 8  # at most
STEPS = 200  # at most, of which a quarter more go before


def growth(operator: Operator, store: Store, plan: Plan) -> dict[str, Any]:
    """The exponents as plain data: means over trajectories, null where there is none and why."""
    chosen = plan.trajectories[:TRAJECTORIES]
    steps = min(STEPS, plan.steps)
    window = collate(
        [
            store.window(i, plan.start, plan.history, 0, plan.stride).filled(plan.fill)
            .select(plan.fields)
            for i in chosen
        ]
    )  # fmt: skip
    discard = steps // 4
    ours, why = _attempt(lambda: _of_operator(operator, window, plan.dt, steps, discard))
    true, why_not = _attempt(lambda: _of_solver(store, window, plan, steps, discard))
    reasons = {"operator": why, "solver": why_not}
    return {
        "operator": ours,
        "solver": true,
        "trajectories": len(chosen),
        "steps": steps,
        "discarded": discard,
        "missing": {name: reason for name, reason in reasons.items() if reason},
    }


def _attempt(exponent: Callable[[], Tensor]) -> tuple[float | None, str]:
    """The mean of what is finite, or why there is nothing."""
    try:
        found = exponent()
    except (ValueError, NotImplementedError, RuntimeError) as error:
        return None, " ".join(str(error).split())[:200]
    finite = found[found.isfinite()]
    if not len(finite):
        return None, "no trajectory stays finite"
    return numbers(finite.mean().item()), ""


def _of_operator(operator: Operator, window: Window, dt: float, steps: int, discard: int) -> Tensor:
    driven = operator.description.prescribed
    if driven:
        raise ValueError(f"the operator is driven by {', '.join(driven)}, which changes in time")
    device = next(operator.parameters()).device
    window = window.to(device)
    with torch.no_grad():
        start = operator.init(window.history, window.context)
    taken = torch.full((len(window.history),), dt)

    def advance(history: Tensor, tangent: Tensor) -> tuple[Tensor, Tensor]:
        def following(history: Tensor) -> Tensor:
            return operator.step(replace(start, history=history), taken)[0].history

        with torch.no_grad():
            found = torch.func.jvp(following, (history,), (tangent,))
        return found[0], found[1]

    tangent = _direction(window.history)
    return largest_lyapunov(advance, window.history, tangent, dt, steps, discard).cpu()


def _of_solver(store: Store, window: Window, plan: Plan, steps: int, discard: int) -> Tensor:
    reference = reference_of(store)
    if store.prescribed is not None:
        raise ValueError(
            f"the solver is driven by {', '.join(store.prescribed.fields)}, which changes in time"
        )
    absent = [name for name in reference.equation.fields if name not in plan.fields]
    if absent:
        raise ValueError(f"the operator does not predict {', '.join(absent)}")
    context = window.context

    def step(states: Tensor) -> Tensor:
        frames, good = reference.after(states, _repeated(context, len(states)), plan.dt)
        lost = ~good.reshape(-1, *(1,) * (frames.ndim - 1))
        return frames.masked_fill(lost, torch.nan)

    advance: Advance = by_differences(step)
    last = window.history[:, -1].double()
    return largest_lyapunov(advance, last, _direction(last), plan.dt, steps, discard)


def _repeated(context: Context, count: int) -> Context:
    """The context of a batch for `count` samples, whole batches one after another."""

    def repeat(values: Tensor) -> Tensor:
        return values.repeat(count // len(values), *(1,) * (values.ndim - 1))

    return context.map(repeat)


def _direction(like: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(like.shape, dtype=torch.float64, generator=generator).to(like)
