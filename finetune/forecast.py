"""Forecasts from stored initial frames: which frames are given, which are predicted, one at a time.

With history h, stride s and first frame `start`, the frames start, start + s, …,
start + (h − 1) s are given, and step k = 0, 1, … predicts frame start + (h + k) s. Of a steady
problem the input fields are given, and the only step predicts its only frame, at the lead time 1.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

import torch
from jaxtyping import Float
from torch import Tensor

from ..datasets.fields import Window, collate
from ..datasets.progress import Bar
from ..datasets.store import Store
from ..datasets.windows import require_channels
from ..operators import Operator, rollout
from ..operators.interface import SAME_STEP


@dataclass(frozen=True)
class Plan:
    """What to predict of a store; see the module's docstring.

    Attributes:
        trajectories: indices into the store.
        start: first given frame.
        history: given frames.
        stride: stored frames per step.
        steps: predicted frames.
        dt: physical time of a step.
        fields: the operator's fields.
        inputs: its input fields, of a steady problem.
    """

    trajectories: tuple[int, ...]
    start: int
    history: int
    stride: int
    steps: int
    dt: float
    fields: tuple[str, ...]
    inputs: tuple[str, ...] = ()

    @property
    def last_given(self) -> int:
        """Stored index of the last given frame."""
        return self.start + (self.history - 1) * self.stride

    def frame(self, step: int) -> int:
        """Stored index of the frame that `step` predicts."""
        return 0 if self.inputs else self.last_given + (step + 1) * self.stride


def make_plan(
    operator: Operator,
    store: Store,
    *,
    trajectories: int | Sequence[int] | None = None,
    start: int = 0,
    steps: int | None = None,
    beyond: bool = False,
) -> Plan:
    """Check what is asked for against what is stored, before any work is done.

    Args:
        trajectories: indices, or the number of trajectories from the first; None for all.
        start: first frame of the history.
        steps: frames to predict; None for all that are stored in every chosen trajectory.
        beyond: allow more steps than are stored.

    Raises:
        ValueError: no such trajectory or frame, a field is missing, or no whole number of stored
            frames makes a time step of the operator.
    """
    chosen = _choose(store, trajectories)
    description = operator.description
    require_channels(store, description.fields, description.inputs)
    if store.steady:
        return _steady_plan(operator, chosen, start, steps)
    stride = time_stride(operator, store)
    assert store.dt is not None
    return Plan(
        trajectories=chosen,
        start=start,
        history=operator.history,
        stride=stride,
        steps=_count_steps(operator, store, chosen, start, stride, steps, beyond),
        dt=stride * store.dt,
        fields=operator.description.fields,
    )


def _steady_plan(
    operator: Operator, trajectories: tuple[int, ...], start: int, steps: int | None
) -> Plan:
    if start or steps not in (None, 1):
        raise ValueError(
            f"a steady problem has one step, from start 0; got start {start}, steps {steps}"
        )
    description = operator.description
    return Plan(trajectories, 0, 1, 1, 1, 1.0, description.fields, description.inputs)


def time_stride(operator: Operator, store: Store) -> int:
    """Stored frames per step of the operator: the smallest that makes a trained time step.

    Raises:
        ValueError: stored times are not uniform, or no trained step is a multiple of their dt.
    """
    if store.dt is None:
        raise ValueError(
            f"{store.name!r} has no uniform time step, which a forecast needs; "
            "resample it to equally spaced frames"
        )
    trained = operator.description.time_steps
    if not trained:
        return 1
    strides = [max(1, round(step / store.dt)) for step in trained]
    fitting = [
        stride
        for stride, step in zip(strides, trained, strict=True)
        if abs(stride * store.dt - step) <= SAME_STEP * step
    ]
    if not fitting:
        raise ValueError(
            f"this {operator.name} was trained at dt = {', '.join(f'{s:g}' for s in trained)}, "
            f"no multiple of the dt = {store.dt:g} of {store.name!r}; fine-tune on it, or use data "
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
            frames = rollout(operator, state, repeat(plan.dt, plan.steps))
            rows = slice(first, first + len(chosen))
            for index in range(plan.steps):
                fields, seconds = _timed_step(frames)
                last = torch.zeros_like(fields) if plan.inputs else window.history[:, -1]
                yield Step(rows, chosen, index, last, fields, window.context.mask, seconds)
                bar.advance(float(len(chosen)))


def truth(
    store: Store, plan: Plan, trajectories: Sequence[int], step: int
) -> Float[Tensor, "B C *S"]:
    """The stored frame that `step` predicts, for some trajectories."""
    frame, channels = plan.frame(step), [store.fields.index(name) for name in plan.fields]
    return torch.cat([store.read(i, frame, frame + 1)[:, channels] for i in trajectories])


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
            store.window(i, plan.start, plan.history, 0, plan.stride).select(
                plan.fields, plan.inputs
            )
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
