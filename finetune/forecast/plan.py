"""Forecasts from stored initial frames: which frames are given, and which are predicted.

With history h, stride s and first frame `start`, the frames start, start + s, …,
start + (h − 1) s are given, and step k = 0, 1, … predicts frame start + (h + k) s. Of a steady
problem the input fields are given, and the only step predicts its only frame, at the lead time 1.
Operators that are continuous in time predict at any lead times after the last given frame instead,
autoregressively (each from the prediction before) or directly (each from the given frames).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ...datasets.fields.units import check_units
from ...datasets.sampling.windows import require_channels
from ...datasets.stores.driving import Driving
from ...datasets.stores.store import Store
from ...operators.core.conditions import require_parameters
from ...operators.core.operator import Operator
from ...operators.core.time_steps import SAME_STEP, TimeSteps
from .request import Mode, Request


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
    def moments(self) -> tuple[float, ...]:
        """When steps end, after the last given frame."""
        return self.leads if self.mode == "direct" else tuple(itertools.accumulate(self.increments))

    @property
    def last_given(self) -> int:
        """Stored index of the last given frame."""
        return self.start + (self.history - 1) * self.stride

    def stored(self, step: int, store: Store, trajectory: int) -> bool:
        """Whether a trajectory has the frame that `step` predicts."""
        frame = self.frames[step]
        return frame is not None and frame < store.n_frames(trajectory)


def make_plan(operator: Operator, store: Store, request: Request, *, beyond: bool = False) -> Plan:
    """Check what is asked for against what is stored, before any work is done.

    Args:
        operator: predicts.
        store: has the given frames.
        request: what to predict.
        beyond: allow frames that are not stored.

    Raises:
        ValueError: no such trajectory or frame, a field is missing, no whole number of stored
            frames makes a time step of the operator, it is not continuous in time and lead times or
            direct prediction are asked for, or what is prescribed is not given until the end.
    """
    plan = _plan(operator, store, request, beyond)
    if plan.inputs:
        return plan
    driving = Driving(operator.description.needs, store, request.prescribed)
    driving.require(plan.trajectories, plan.last_given, plan.leads[-1])
    return plan


def _plan(operator: Operator, store: Store, request: Request, beyond: bool) -> Plan:
    """The plan, without what is prescribed."""
    chosen = _choose(store, request.trajectories)
    description = operator.description
    require_parameters(operator.parameter_names, request.parameters, operator.name)
    require_channels(store, description.fields, description.inputs, description.fill)
    named = description.named
    check_units("the operator", description.units, f"dataset {store.name!r}", store.units, named)
    if store.steady:
        return _steady_plan(operator, chosen, request)
    _check_continuous(operator, request)
    start = request.start if request.start < 0 else max(request.start, store.first)
    request = replace(request, start=start)
    if request.lead_times is not None:
        return _plan_at(operator, store, chosen, request, tuple(request.lead_times), beyond)
    stride = time_stride(operator, store)
    assert store.dt is not None
    dt = stride * store.dt
    history = operator.history
    count = _count_steps(operator, store, chosen, request, stride, beyond)
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
        fill=description.channel_fill,
        mode=request.mode,
    )


def _steady_plan(operator: Operator, trajectories: tuple[int, ...], request: Request) -> Plan:
    if request.start or request.steps not in (None, 1):
        raise ValueError(
            f"a steady problem has one step, from start 0; got start {request.start}, "
            f"steps {request.steps}"
        )
    about, once = operator.description, (1.0,)
    return Plan(
        trajectories, 0, 1, 1, 1.0, once, once, (0,), about.fields, about.inputs, about.channel_fill
    )


def _check_continuous(operator: Operator, request: Request) -> None:
    """Refuse what only an operator that is continuous in time can do, and impossible times."""
    times = request.lead_times
    if times is not None and not _increasing((0.0, *times)):
        raise ValueError(
            "lead times must be positive, finite and increasing; got "
            + (", ".join(f"{time:g}" for time in times) or "none")
        )
    if operator.direct or (times is None and request.mode == "autoregressive"):
        return
    wanted = "direct prediction needs" if times is None else "lead times of one's own need"
    raise ValueError(
        f"{wanted} an operator that is continuous in time, such as multiscale; "
        f"{operator.name} steps by the dt that it was trained at"
    )


def _increasing(times: Sequence[float]) -> bool:
    return len(times) > 1 and all(a < b and math.isfinite(b) for a, b in itertools.pairwise(times))


def _plan_at(
    operator: Operator,
    store: Store,
    trajectories: tuple[int, ...],
    request: Request,
    leads: tuple[float, ...],
    beyond: bool,
) -> Plan:
    """The plan for frames at given lead times."""
    if request.steps is not None:
        raise ValueError("give either steps or lead_times, not both")
    dt, history = _uniform_step(store), operator.history
    _require_history(operator, store, trajectories, request.start, 1)
    last = request.start + history - 1
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
        start=request.start,
        history=history,
        stride=1,
        dt=dt,
        leads=leads,
        increments=increments,
        frames=frames,
        fields=operator.description.fields,
        fill=operator.description.channel_fill,
        mode=request.mode,
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
    steps = TimeSteps(operator.name, operator.description.time_steps, operator.direct)
    return steps.stride(_uniform_step(store), repr(store.name))


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


def _require_history(
    operator: Operator, store: Store, trajectories: Sequence[int], start: int, stride: int
) -> int:
    """The stored frames after the given ones, in strides; these must be stored themselves."""
    frames = min(store.n_frames(i) for i in trajectories)
    span = (operator.history - 1) * stride + 1
    if start < 0 or start + span > frames:
        raise ValueError(
            f"start {start} leaves no {operator.history} history frame(s) at stride {stride} in "
            f"trajectories of {frames} frames"
        )
    return (frames - start - span) // stride


def _count_steps(
    operator: Operator,
    store: Store,
    trajectories: Sequence[int],
    request: Request,
    stride: int,
    beyond: bool,
) -> int:
    """The steps that are asked for, or as many as are stored."""
    steps, start = request.steps, request.start
    stored = _require_history(operator, store, trajectories, start, stride)
    if steps is not None and steps < 1:
        raise ValueError(f"steps must be at least 1; got {steps}")
    if (steps is None and stored < 1) or (steps is not None and steps > stored and not beyond):
        wanted = "no step fits" if steps is None else f"{steps} steps do not fit"
        frames = min(store.n_frames(i) for i in trajectories)
        raise ValueError(
            f"{wanted} into the stored frames: of {frames}, {operator.history} at stride {stride} "
            f"from frame {start} are given, and at most {stored} can be predicted"
        )
    return stored if steps is None else steps
