"""What our own solver costs for a stored problem: error against time, coarser and in larger steps.

The equation is found by the dataset's provenance. It is solved from the last given frame of stored
trajectories on grids coarser by whole factors and in steps longer than the data's, in single
precision, and compared with the stored frames on the stored grid.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ...datasets import equations
from ...datasets.base.progress import Bar
from ...datasets.equations.equation import BlowUp, Equation, Problem
from ...datasets.fields.prescribed import Needs, Prescribed
from ...datasets.simulation.resolved import Simulation, resolve
from ...datasets.simulation.settings import Settings
from ...datasets.simulation.trajectories import Block, solve
from ...datasets.stores.driving import Driving
from ...datasets.stores.store import Store
from ...operators.layers.resampling import fourier_resample
from .plan import Plan

COARSER = (1, 2, 4, 8)  # grids, by these factors per axis
LONGER = (1, 2, 4, 8, 16)  # internal steps
FEWEST = 8  # points per axis of a grid
REPEATS = 3  # of which the fastest counts
SIMULATED = 2  # trajectories by which the cost of the training data is measured


@dataclass(frozen=True)
class Solved:
    """One setting of the solver, measured.

    Attributes:
        resolution: points per axis.
        solver_step: largest internal step; None where the solver chooses it.
        seconds: of a trajectory, up to the last lead time.
        vrmse: mean over trajectories, fields and lead times; None where it blows up.
    """

    resolution: tuple[int, ...]
    solver_step: float | None
    seconds: float
    vrmse: float | None


def simulation_of(store: Store) -> Simulation:
    """How a store was simulated.

    Raises:
        ValueError: it was not, or not with an equation that is known here.
    """
    made = store.provenance
    if "equation" not in made or "solver_step" not in made:
        raise ValueError(
            f"{store.name!r} does not say by which equation of ours it was simulated, so no solver "
            "can be compared; leave --break-even out"
        )
    equation = equations.get(str(made["equation"]))
    _require_fields(equation, store)
    given = () if store.prescribed is None else store.prescribed.fields
    equations.require_driven(equation, store.name, given, "leave --break-even out")
    steady = {} if equation.steady else {
        "frames": made["frames"], "dt": made["dt"], "warm_up": made["warm_up"]}  # fmt: skip
    step = {} if made["solver_step"] is None else {"solver_step": made["solver_step"]}
    settings = Settings(
        trajectories={str(k): int(v) for k, v in made["trajectories"].items()},
        resolution=tuple(made["resolution"]),
        lengths=tuple(made["lengths"]),
        parameters={str(k): tuple(v) for k, v in made["parameters"].items()},
        subsample=made.get("subsample", 1),
        dtype=made["dtype"],
        **steady,
        **step,
    )
    return resolve(equation, settings, store.name)


def _require_fields(equation: Equation, store: Store) -> None:
    """Refuse fields that the solver does not give, or that do not tell it where to start."""
    solved = equation.evolving
    others = [name for name in store.fields if name not in solved]
    missing = [name for name in solved if name not in store.fields]
    if others:
        raise ValueError(
            f"{store.name!r} holds {', '.join(others)}, which {equation.name} is not solved for "
            f"(it is for {', '.join(solved)}), so there is nothing to compare it with; "
            "leave --break-even out"
        )
    if missing:
        raise ValueError(
            f"{store.name!r} lacks {', '.join(missing)} of {equation.name}: its frames do not tell "
            f"the solver where to start. Evaluate on the data as they were simulated, with "
            f"{', '.join(solved)}, or leave --break-even out"
        )


def simulating(simulation: Simulation) -> float:
    """Seconds in which a trajectory of the data is simulated, as they were."""
    shown = replace(simulation.record, on_blowup="redraw")
    began = time.perf_counter()
    solve(replace(simulation, record=shown), Block("train", 0, SIMULATED))
    return (time.perf_counter() - began) / SIMULATED


def solver_table(
    simulation: Simulation,
    store: Store,
    plan: Plan,
    *,
    prescribed: str | None = None,
    progress: bool = False,
) -> list[Solved]:
    """Every setting of the solver that is tried, measured on the trajectories of a plan.

    Args:
        simulation: of the store.
        store: has the given frames and the truth.
        plan: which of them; the operator is compared on the same.
        prescribed: a file that has what drives the equation, in place of the store.
        progress: show a bar on the error stream.
    """
    course = _Course(simulation.equation, store, plan, prescribed)
    truth = torch.stack([course.truth(i) for i in plan.trajectories])
    settings = [*_settings(simulation.equation, simulation, store)]
    found = []
    with Bar("solver", len(settings), unit="settings", active=progress) as bar:
        for factor, step in settings:
            found.append(_measured(course, truth, factor, step))
            bar.advance(1.0)
    return found


def mean_vrmse(predicted: Float[Tensor, "N T C *S"], truth: Float[Tensor, "N T C *S"]) -> float:
    """VRMSE, mean over trajectories, lead times and fields whose truth varies."""
    space = tuple(range(3, truth.ndim))
    error = (predicted - truth).square().mean(space).sqrt()
    spread = truth.std(space, correction=0)
    level = truth.square().mean(space).sqrt()
    return float((error / spread.clamp_min(1e-6 * level).clamp_min(1e-12)).mean())


def _settings(
    equation: Equation, simulation: Simulation, store: Store
) -> Iterator[tuple[int, float | None]]:
    step = simulation.record.solver_step
    for factor in COARSER:
        if any(n % factor or n // factor < FEWEST for n in store.grid.shape):
            continue
        for longer in LONGER if step is not None else (1,):
            if step is None or longer * step <= simulation.record.dt * (1 + 1e-9):
                yield factor, None if step is None else longer * step


@dataclass(frozen=True)
class _Course:
    """What is solved, and compared with what is stored.

    Attributes:
        equation: with the store's settings.
        store: has the given frames and the truth.
        plan: which of them.
        source: a file that has what is prescribed, in place of the store.
    """

    equation: Equation
    store: Store
    plan: Plan
    source: str | None

    def truth(self, trajectory: int) -> Float[Tensor, "T C *S"]:
        """The stored frames that are predicted."""
        frames = [frame for frame in self.plan.frames if frame is not None]
        return torch.stack([self.frame(trajectory, k) for k in frames]).double()

    def frame(self, trajectory: int, frame: int) -> Float[Tensor, "C *S"]:
        """A stored frame, its fields in the equation's order: files have one of their own."""
        order = [self.store.fields.index(name) for name in self.equation.evolving]
        return self.store.read(trajectory, frame, frame + 1)[0, order]

    def driving(self, frame: int, passed: float) -> Prescribed | None:
        """What drives the trajectories from a stored frame until the last lead time."""
        needs = Needs(self.equation.prescribed, self.store.units)
        along = Driving(needs, self.store, self.source)
        return along.of(self.plan.trajectories, frame, passed + self.plan.leads[-1])


@dataclass(frozen=True)
class _Begun:
    """A problem for the solver.

    Attributes:
        problem: from stored frames.
        passed: time from there to the last given frame: of each trajectory's past, which does not
            count.
    """

    problem: Problem
    passed: float = 0.0


def _measured(course: _Course, truth: Tensor, factor: int, step: float | None) -> Solved:
    equation, store, plan = course.equation, course.store, course.plan
    shape = tuple(n // factor for n in store.grid.shape)
    begun = _begun(course, factor, step)
    count, spent, frames = len(plan.trajectories), [], list[Tensor]()
    for _ in range(REPEATS):
        began = time.perf_counter()
        try:
            frames, seconds = _frames(equation, begun, plan)
        except (BlowUp, ValueError):  # a grid or step that the solver cannot take
            return Solved(shape, step, (time.perf_counter() - began) / count, None)
        spent.append(seconds)
    solved = [k for k, name in enumerate(equation.fields) if name in equation.evolving]
    whole = [_finer(equation, frame[:, solved], store.grid.shape) for frame in frames]
    found = torch.stack(whole, 1)
    error = mean_vrmse(found.double(), truth) if found.isfinite().all() else None
    return Solved(shape, step, min(spent) / count, error)


def _frames(equation: Equation, begun: _Begun, plan: Plan) -> tuple[list[Tensor], float]:
    """The frames of a plan, and the seconds that they took."""
    began = time.perf_counter()
    march = equation.march(begun.problem)
    if plan.inputs:
        return [march.advance(0.0)], time.perf_counter() - began
    if begun.passed:
        march.advance(begun.passed)
        began = time.perf_counter()
    frames = [march.advance(increment) for increment in plan.increments]
    return frames, time.perf_counter() - began


def _begun(course: _Course, factor: int, step: float | None) -> _Begun:
    """From the last given frame, or, where it does not tell the whole state, from the first.

    Raises:
        ValueError: neither does.
    """
    equation, store, plan = course.equation, course.store, course.plan
    chosen, at = plan.trajectories, 0 if plan.inputs else plan.last_given
    given = torch.stack([course.frame(i, at) for i in chosen])
    fresh = not store.provenance.get("warm_up")
    initial, passed = equation.restarted(given, first=fresh and at == 0), 0.0
    if initial is None and fresh:
        given = torch.stack([course.frame(i, 0) for i in chosen])
        initial, passed = equation.restarted(given, first=True), at * (store.dt or plan.dt)
    if initial is None:
        raise ValueError(
            f"a frame of {store.name!r} does not tell the whole state of {equation.name}, so its "
            "solver cannot start from one; leave --break-even out"
        )
    fixed = [value for i in chosen if (value := store.constants(i)) is not None]
    parameters = {
        name: torch.tensor([_parameter(equation, store, i, name) for i in chosen]).double()
        for name in equation.parameters
    }
    driving = course.driving(0 if passed else at, passed)
    problem = Problem(
        _coarser(equation, initial, factor),
        parameters,
        equation.grid(tuple(n // factor for n in store.grid.shape), store.grid.lengths),
        (store.dt or plan.dt) if passed else plan.dt,
        _coarser(equation, torch.stack(fixed), factor) if fixed else None,
        solver_step=step,
        prescribed=driving and replace(driving, values=_along_time(equation, driving, factor)),
    )
    return _Begun(problem, passed)


def _along_time(equation: Equation, driving: Prescribed, factor: int) -> Float[Tensor, "B T Q *S"]:
    """What is prescribed on a coarser grid."""
    values = _coarser(equation, driving.values.flatten(0, 1), factor)
    return values.unflatten(0, driving.values.shape[:2])


def _parameter(equation: Equation, store: Store, trajectory: int, name: str) -> float:
    if name in store.parameter_names:
        return float(store.parameter_table()[trajectory][store.parameter_names.index(name)])
    return equation.parameters[name].low


def _coarser(equation: Equation, values: Float[Tensor, "B C *S"], factor: int) -> Tensor:
    """Values on a coarser grid: without the modes that it lacks where all is periodic."""
    if factor == 1:
        return values
    if equation.cell_centred or set(equation.boundary) != {"periodic"}:
        return equation.coarsened(values, factor).contiguous()
    return fourier_resample(values, tuple(n // factor for n in values.shape[2:]))


def _finer(
    equation: Equation, values: Float[Tensor, "B C *S"], shape: tuple[int, ...]
) -> Float[Tensor, "B C *N"]:
    """Values of a coarser grid on the stored one."""
    if tuple(values.shape[2:]) == shape:
        return values
    if not equation.cell_centred and set(equation.boundary) == {"periodic"}:
        return fourier_resample(values, shape)
    if equation.cell_centred:
        mode = ("linear", "bilinear", "trilinear")[len(shape) - 1]
        return functional.interpolate(values, shape, mode=mode)
    for axis, points in enumerate(shape, start=2):
        values = _along(values, axis, points)
    return values


def _along(values: Tensor, axis: int, points: int) -> Tensor:
    """Linear between points that both grids begin with; the last one counts beyond it."""
    size = values.shape[axis]
    place = torch.arange(points, dtype=torch.float64) * size / points
    low = place.floor().long()
    high = (low + 1).clamp_max(size - 1)
    weight = (place - low).to(values).reshape(-1, *(1,) * (values.ndim - axis - 1))
    lower, upper = values.index_select(axis, low), values.index_select(axis, high)
    return lower + weight * (upper - lower)
