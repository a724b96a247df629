"""The frames of a plan: predicted, one at a time, and stored."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ...datasets.base.progress import Bar
from ...datasets.fields.window import Window, collate
from ...datasets.stores.store import Store
from ...operators.core.operator import Operator
from ...operators.core.rollout import rollout
from ...operators.core.state import State
from .plan import Plan
from .request import Request


@dataclass(frozen=True)
class Step:
    """One predicted frame of some trajectories.

    Attributes:
        rows: where these trajectories are among all that are predicted.
        trajectories: their indices in the store.
        index: which step of the rollout, from 0.
        last_given: (B, C, *S) last frame of the history; zero for a steady problem.
        fields: (B, C, *S) predicted frame, in physical units.
        mask: (B, C, *S) where the fields are predicted; None: everywhere.
        seconds: time that the step took.
    """

    rows: slice
    trajectories: tuple[int, ...]
    index: int
    last_given: Tensor
    fields: Tensor
    mask: Tensor | None
    seconds: float


def forecast(
    operator: Operator,
    store: Store,
    plan: Plan,
    request: Request,
    *,
    title: str,
    progress: bool,
) -> Iterator[Step]:
    """Roll out a batch of trajectories at a time; memory does not grow with the number of steps.

    The operator is moved to the device of the request and set to evaluation mode, and stays so.

    Args:
        operator: predicts.
        store: has the given frames.
        plan: what to predict, from `make_plan`.
        request: how many trajectories at a time, and where.
        title: shown beside the progress bar, where `progress` asks for one.
        progress: whether to show it.
    """
    batch, device = request.batch, request.device
    operator.to(device).eval()
    dataset = ""
    with Bar(title, len(plan.trajectories) * plan.steps, unit="frames", active=progress) as bar:
        for first in range(0, len(plan.trajectories), batch):
            chosen = plan.trajectories[first : first + batch]
            window = _initial(store, plan, chosen).to(device)
            context = window.context
            context = replace(context, dataset=dataset or context.dataset)
            with torch.inference_mode():
                state = operator.init(window.history, context)
            dataset = state.context.dataset  # told once, by the first trajectories
            frames = _frames(operator, state, plan)
            rows = slice(first, first + len(chosen))
            for index in range(plan.steps):
                fields, seconds = _timed_step(frames)
                last = torch.zeros_like(fields) if plan.inputs else window.history[:, -1]
                yield Step(rows, chosen, index, last, fields, window.context.mask, seconds)
                bar.advance(float(len(chosen)))


def _frames(operator: Operator, state: State, plan: Plan) -> Iterator[Tensor]:
    """The predicted frames, one at a time."""
    if plan.mode == "autoregressive":
        return rollout(operator, state, plan.increments)
    batch = state.history.shape[0]
    leads = (torch.full((batch,), lead) for lead in plan.leads)
    # Each lead time is a rollout of one step from the same state.
    return (next(rollout(operator, state, [lead])) for lead in leads)


def truth(
    store: Store, plan: Plan, trajectories: Sequence[int], step: int
) -> Float[Tensor, "B C *S"]:
    """The stored frame that `step` predicts, for some trajectories; NaN where it has holes."""
    frame = plan.frames[step]
    assert frame is not None, "only stored frames have a truth"
    stored = torch.stack([store.with_holes(i, frame) for i in trajectories])
    channels = [
        stored[:, store.fields.index(name)]
        if name in store.fields
        else torch.full_like(stored[:, 0], plan.fill[name])
        for name in plan.fields
    ]
    return torch.stack(channels, 1)


def _timed_step(frames: Iterator[Tensor]) -> tuple[Tensor, float]:
    """The next frame, and how long it took; without gradients whatever the caller's mode is."""
    began = time.perf_counter()
    with torch.inference_mode():
        fields = next(frames)
    if fields.is_cuda:
        torch.cuda.synchronize(fields.device)
    return fields, time.perf_counter() - began


def _initial(store: Store, plan: Plan, trajectories: Sequence[int]) -> Window:
    """The given frames of some trajectories as a batch with no target frames."""
    return collate(
        [
            store.window(i, plan.start, plan.history, 0, plan.stride)
            .filled(plan.fill)
            .select(plan.fields, plan.inputs)
            for i in trajectories
        ]
    )
