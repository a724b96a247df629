"""Forecasts from stored initial frames: which frames are given, which are predicted, one at a time.

With history h, stride s and first frame `start`, the frames start, start + s, …,
start + (h − 1) s are given, and step k = 0, 1, … predicts frame start + (h + k) s. Of a steady
problem the input fields are given, and the only step predicts its only frame, at the lead time 1.
Operators that are continuous in time predict at any lead times after the last given frame instead,
autoregressively (each from the prediction before) or directly (each from the given frames).
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ...datasets.base.progress import Bar
from ...datasets.fields.window import Window, collate
from ...datasets.sampling.windows import require_channels
from ...datasets.stores.store import Store
from ...operators.core.operator import Operator
from ...operators.core.rollout import rollout
from ...operators.core.state import State
from ...operators.core.time_steps import SAME_STEP

Mode = Literal["autoregressive", "direct"]


@dataclass(frozen=True)
class Plan:
    """What to predict of a store; see the module's docstring.

    Attributes:
        trajectories: indices into the store.
        start: first given frame.
        history: given frames.
        stride: stored frames per step; 1 where lead times are given.
        dt: physical time of a step; between stored frames where lead times are given.
        leads: physical time of every predicted frame after the last given one.
        increments: the same after the frame before.
        frames: stored index of every predicted frame; None between stored frames.
        fields: the operator's fields.
        inputs: its input fields, of a steady problem.
        fill: values of fields that the store may lack.
        mode: "autoregressive": each frame from the predictions before it; "direct": each from the
            given frames.
    """

    trajectories: tuple[int, ...]
    start: int
    history: int
    stride: int
    dt: float
    leads: tuple[float, ...]
    increments: tuple[float, ...]
    frames: tuple[int | None, ...]
    fields: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    fill: Mapping[str, float] = field(default_factory=dict)
    mode: Mode = "autoregressive"

    @property
    def steps(self) -> int:
        """Number of predicted frames."""
        return len(self.leads)

    @property
    def last_given(self) -> int:
        """Stored index of the last given frame."""
        return self.start + (self.history - 1) * self.stride

    def stored(self, step: int, store: Store, trajectory: int) -> bool:
        """Whether a trajectory has the frame that `step` predicts."""
        frame = self.frames[step]
        return frame is not None and frame < store.n_frames(trajectory)


def make_plan(
    operator: Operator,
    store: Store,
    *,
    trajectories: int | Sequence[int] | None = None,
    start: int = 0,
    steps: int | None = None,
    lead_times: Sequence[float] | None = None,
    mode: Mode = "autoregressive",
    beyond: bool = False,
) -> Plan:
    """Check what is asked for against what is stored, before any work is done.

    Args:
        trajectories: indices, or the number of trajectories from the first; None for all.
        start: first frame of the history; not before `store.first`.
        steps: frames to predict; None for all that are stored in every chosen trajectory.
        lead_times: physical times after the last given frame to predict at, instead of `steps`.
        mode: see `Plan`.
        beyond: allow frames that are not stored.

    Raises:
        ValueError: no such trajectory or frame, a field is missing, no whole number of stored
            frames makes a time step of the operator, or it is not continuous in time and lead
            times or direct prediction are asked for.
    """
    chosen = _choose(store, trajectories)
    description = operator.description
    require_channels(store, description.fields, description.inputs, description.fill)
    if store.steady:
        return _steady_plan(operator, chosen, start, steps)
    _check_continuous(operator, lead_times, mode)
    start = start if start < 0 else max(start, store.first)
    if lead_times is not None:
        if steps is not None:
            raise ValueError("give either steps or lead_times, not both")
        return _plan_at(operator, store, chosen, start, tuple(lead_times), mode, beyond)
    stride = time_stride(operator, store)
    assert store.dt is not None
    dt = stride * store.dt
    history = operator.history
    count = _count_steps(operator, store, chosen, start, stride, steps, beyond)
    return Plan(
        trajectories=chosen,
        start=start,
        history=history,
        stride=stride,
        dt=dt,
        leads=tuple(dt * k for k in range(1, count + 1)),
        increments=(dt,) * count,
        frames=tuple(start + (history + k) * stride for k in range(count)),
        fields=description.fields,
        fill=description.fill,
        mode=mode,
    )


def _steady_plan(
    operator: Operator, trajectories: tuple[int, ...], start: int, steps: int | None
) -> Plan:
    if start or steps not in (None, 1):
        raise ValueError(
            f"a steady problem has one step, from start 0; got start {start}, steps {steps}"
        )
    about, once = operator.description, (1.0,)
    return Plan(
        trajectories, 0, 1, 1, 1.0, once, once, (0,), about.fields, about.inputs, about.fill
    )


def _check_continuous(operator: Operator, lead_times: Sequence[float] | None, mode: str) -> None:
    """Refuse what only an operator that is continuous in time can do, and impossible times."""
    if mode not in ("autoregressive", "direct"):
        raise ValueError(f"mode is autoregressive or direct; got {mode!r}")
    if lead_times is not None and not _increasing((0.0, *lead_times)):
        raise ValueError(
            "lead times must be positive, finite and increasing; got "
            + (", ".join(f"{time:g}" for time in lead_times) or "none")
        )
    if operator.direct or (lead_times is None and mode == "autoregressive"):
        return
    wanted = "direct prediction" if lead_times is None else "lead times of its own"
    raise ValueError(
        f"{wanted} needs an operator that is continuous in time, such as multiscale; "
        f"{operator.name} steps by the dt that it was trained at"
    )


def _increasing(times: Sequence[float]) -> bool:
    return len(times) > 1 and all(a < b and math.isfinite(b) for a, b in itertools.pairwise(times))


def _plan_at(
    operator: Operator,
    store: Store,
    trajectories: tuple[int, ...],
    start: int,
    leads: tuple[float, ...],
    mode: Mode,
    beyond: bool,
) -> Plan:
    """The plan for frames at given lead times."""
    dt, history = _uniform_step(store), operator.history
    _count_steps(operator, store, trajectories, start, 1, 1, True)  # checks the given frames
    last = start + history - 1
    shifts = [lead / dt for lead in leads]
    frames = tuple(
        last + round(k) if abs(k - round(k)) <= SAME_STEP * k and round(k) > 0 else None
        for k in shifts
    )
    held = min(store.n_frames(i) for i in trajectories)
    lost = [t for t, k in zip(leads, frames, strict=True) if k is None or k >= held]
    if lost and not beyond:
        raise ValueError(
            f"no frame of {store.name!r} is stored {', '.join(f'{t:g}' for t in lost)} after frame "
            f"{last}: there are {held}, {dt:g} apart. Scores need stored frames; "
            "`pelagos predict` takes any lead time"
        )
    increments = tuple(b - a for a, b in itertools.pairwise((0.0, *leads)))
    return Plan(
        trajectories=trajectories,
        start=start,
        history=history,
        stride=1,
        dt=dt,
        leads=leads,
        increments=increments,
        frames=frames,
        fields=operator.description.fields,
        fill=operator.description.fill,
        mode=mode,
    )


def _uniform_step(store: Store) -> float:
    if store.dt is None:
        raise ValueError(
            f"{store.name!r} has no uniform time step, which a forecast needs; "
            "resample it to equally spaced frames"
        )
    return store.dt


def time_stride(operator: Operator, store: Store) -> int:
    """Stored frames per step of the operator: the smallest that makes a trained time step.

    An operator that is continuous in time may step by anything not below the shortest of them.

    Raises:
        ValueError: stored times are not uniform, or no trained step is a multiple of their dt.
    """
    dt = _uniform_step(store)
    trained = operator.description.time_steps
    if not trained:
        return 1
    strides = [max(1, round(step / dt)) for step in trained]
    fitting = [
        stride
        for stride, step in zip(strides, trained, strict=True)
        if abs(stride * dt - step) <= SAME_STEP * step
    ]
    if not fitting and operator.direct:
        shortest = min((step for step in trained if step > 0), default=dt)
        return max(1, math.ceil(shortest / dt * (1 - SAME_STEP)))
    if not fitting:
        raise ValueError(
            f"this {operator.name} was trained at dt = {', '.join(f'{s:g}' for s in trained)}, "
            f"no multiple of the dt = {dt:g} of {store.name!r}; fine-tune on it, or use data "
            "stored at a dividing dt"
        )
    return min(fitting)


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
    *,
    batch: int,
    device: torch.device | str,
    title: str,
    progress: bool,
) -> Iterator[Step]:
    """Roll out `batch` trajectories at a time; memory does not grow with the number of steps.

    The operator is moved to `device` and set to evaluation mode, and stays so.

    Args:
        title: shown beside the progress bar, where `progress` asks for one.
    """
    operator.to(device).eval()
    with Bar(title, len(plan.trajectories) * plan.steps, unit="frames", active=progress) as bar:
        for first in range(0, len(plan.trajectories), batch):
            chosen = plan.trajectories[first : first + batch]
            window = _initial(store, plan, chosen).to(device)
            with torch.inference_mode():
                state = operator.init(window.history, window.context)
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
    return (operator.step(state, lead)[1] for lead in leads)


def truth(
    store: Store, plan: Plan, trajectories: Sequence[int], step: int
) -> Float[Tensor, "B C *S"]:
    """The stored frame that `step` predicts, for some trajectories."""
    frame = plan.frames[step]
    assert frame is not None, "only stored frames have a truth"
    stored = torch.cat([store.read(i, frame, frame + 1) for i in trajectories])
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


def _choose(store: Store, trajectories: int | Sequence[int] | None) -> tuple[int, ...]:
    if trajectories is None:
        return tuple(range(len(store)))
    if isinstance(trajectories, int):
        if not 1 <= trajectories <= len(store):
            raise ValueError(
                f"{store.name!r} has {len(store)} trajectories; {trajectories} were asked for"
            )
        return tuple(range(trajectories))
    wrong = [i for i in trajectories if not 0 <= i < len(store)]
    if wrong or not trajectories:
        raise ValueError(
            f"trajectories must be some of 0 to {len(store) - 1} of {store.name!r}; "
            f"got {', '.join(map(str, wrong or trajectories)) or 'none'}"
        )
    return tuple(trajectories)


def _count_steps(
    operator: Operator,
    store: Store,
    trajectories: Sequence[int],
    start: int,
    stride: int,
    steps: int | None,
    beyond: bool,
) -> int:
    """`steps`, or as many as are stored, after a check against the stored frames."""
    frames = min(store.n_frames(i) for i in trajectories)
    span = (operator.history - 1) * stride + 1
    if start < 0 or start + span > frames:
        raise ValueError(
            f"start {start} leaves no {operator.history} history frame(s) at stride {stride} in "
            f"trajectories of {frames} frames"
        )
    if steps is not None and steps < 1:
        raise ValueError(f"steps must be at least 1; got {steps}")
    stored = (frames - start - span) // stride
    if (steps is None and stored < 1) or (steps is not None and steps > stored and not beyond):
        wanted = "no step fits" if steps is None else f"{steps} steps do not fit"
        raise ValueError(
            f"{wanted} into the stored frames: of {frames}, {operator.history} at stride {stride} "
            f"from frame {start} are given, and at most {stored} can be predicted"
        )
    return stored if steps is None else steps
