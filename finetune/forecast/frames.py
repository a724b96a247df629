"""The frames of a plan: predicted, one at a time, and stored."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ...datasets.base.progress import Bar
from ...datasets.fields.window import Context, Window, collate
from ...datasets.stores.driving import Driving
from ...datasets.stores.store import Store
from ...operators.core.operator import Operator
from ...operators.core.rollout import rollout
from ...operators.core.state import State
from .members import Team, noisy, started, team_of
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
        member: of the ensemble, from 0.
        given: the batch's window, of which the history is given.
        dataset: as which its data are scaled.
    """

    rows: slice
    trajectories: tuple[int, ...]
    index: int
    last_given: Tensor
    fields: Tensor
    mask: Tensor | None
    seconds: float
    member: int
    given: Window
    dataset: str


@dataclass(frozen=True)
class Done:
    """What is predicted already, of a forecast that goes on.

    Attributes:
        member, row: the batch that is not finished: its member and its first row.
        steps: its steps that are.
        dataset: as which the data are scaled; "" where none is predicted yet.
        recent: the latest of these steps, as many as the history has or all, (B, T, C, *S), of any
            value where they are masked.
    """

    member: int = 0
    row: int = 0
    steps: int = 0
    dataset: str = ""
    recent: Tensor | None = None


NOTHING = Done()


def forecast(
    operator: Operator,
    store: Store,
    plan: Plan,
    request: Request,
    *,
    title: str,
    progress: bool,
    done: Done = NOTHING,
    others: Sequence[Operator] = (),
) -> Iterator[Step]:
    """Roll out a batch of trajectories at a time; memory does not grow with the number of steps.

    Operators are moved to the device of the request and set to evaluation mode, and stay so.

    Args:
        operator: predicts.
        store: has the given frames.
        plan: what to predict, from `make_plan`.
        request: how many trajectories at a time, and where.
        title: shown beside the progress bar, where `progress` asks for one.
        progress: whether to show it.
        done: what is predicted already, and is not again.
        others: further members of the ensemble.

    Raises:
        ValueError: as in `team_of`.
    """
    team = team_of(operator, others, store, request, plan)
    return _forecast(team, store, plan, request, Bar(
        title, team.count * len(plan.trajectories) * plan.steps, unit="frames", active=progress
    ), done)  # fmt: skip


def _forecast(
    team: Team, store: Store, plan: Plan, request: Request, showing: Bar, done: Done
) -> Iterator[Step]:
    batch, device = request.batch, request.device
    dataset, count = done.dataset, len(plan.trajectories)
    batches = [(member, first) for member in range(team.count) for first in range(0, count, batch)]
    operator = None
    with showing as bar:
        for member, first in batches:
            chosen = plan.trajectories[first : first + batch]
            if (member, first) < (done.member, done.row):
                bar.advance(float(len(chosen) * plan.steps))
                continue
            if operator is not None and operator is not team.operator(member):
                dataset = ""  # each operator knows its own
            operator = team.operator(member).to(device).eval()
            window = _initial(store, plan, chosen, request, operator, team.number(member))
            window = window.to(device)
            context = replace(window.context, dataset=dataset or window.context.dataset)
            with torch.inference_mode():
                state = operator.init(window.history, context)
            dataset = state.context.dataset  # told once, by the first trajectories
            begin = 0
            if (member, first) == (done.member, done.row) and done.recent is not None:
                state, begin = _continued(state, plan, done), done.steps
                bar.advance(float(len(chosen) * begin))
            frames = _frames(operator, state, plan, begin)
            rows = slice(first, first + len(chosen))
            for index in range(begin, plan.steps):
                fields, seconds = _timed_step(frames)
                last = torch.zeros_like(fields) if plan.inputs else window.history[:, -1]
                mask = window.context.mask
                yield Step(
                    rows, chosen, index, last, fields, mask, seconds, member, window, dataset
                )
                bar.advance(float(len(chosen)))


def _continued(state: State, plan: Plan, done: Done) -> State:
    """The state after the steps that are done: it is their last frames and the time."""
    if plan.mode == "direct":  # every frame is from the given ones
        return state
    assert done.recent is not None
    recent, mask = done.recent.to(state.history), state.context.mask
    if mask is not None:
        given = state.history[:, -1:]
        recent = torch.where(mask.to(recent.device).unsqueeze(1), recent, given)
    frames = torch.cat((state.history, recent), 1)[:, -state.history.shape[1] :]
    time = state.time
    for increment in plan.increments[: done.steps]:  # one by one, as sums round
        time = time + torch.as_tensor(increment).expand(len(frames))
    return replace(state, history=frames, time=time)


def _frames(operator: Operator, state: State, plan: Plan, begin: int) -> Iterator[Tensor]:
    """The predicted frames from step `begin` on, one at a time."""
    if plan.mode == "autoregressive":
        return rollout(operator, state, plan.increments[begin:])
    batch = state.history.shape[0]
    leads = (torch.full((batch,), lead) for lead in plan.leads[begin:])
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


def _initial(
    store: Store,
    plan: Plan,
    trajectories: Sequence[int],
    request: Request,
    operator: Operator,
    number: int,
) -> Window:
    """The given frames of some trajectories as a batch with no target frames; see `started`."""
    window = collate(
        [
            store.window(i, plan.start, plan.history, 0, plan.stride)
            .filled(plan.fill, plan.inputs)
            .select(plan.fields, plan.inputs)
            for i in trajectories
        ]
    )
    first = plan.trajectories.index(trajectories[0])
    context = _with(window.context, request.parameters, len(window.history))
    given = None
    if not plan.inputs:
        driving = Driving(operator.description.needs, store, request.prescribed)
        given = driving.of(trajectories, plan.last_given, plan.leads[-1])
    if given is not None:
        given.warn_between(plan.moments)
    context = replace(context, prescribed=given)
    history = noisy(window.history, request, first, context.mask)
    window = replace(window, history=history, context=context)
    return replace(window, history=started(operator, window, request.ensemble, number, first))


def _with(context: Context, given: Mapping[str, float], batch: int) -> Context:
    """The context with other values of parameters, or more of them."""
    if not given:
        return context
    names = (*context.parameter_names, *(k for k in given if k not in context.parameter_names))
    values = torch.zeros(batch, len(names))
    if context.parameters is not None:
        values[:, : len(context.parameter_names)] = context.parameters
    for name, value in given.items():
        values[:, names.index(name)] = value
    return replace(context, parameters=values, parameter_names=names)
