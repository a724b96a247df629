"""Trajectories of a simulated dataset: drawn, solved side by side, drawn again after a blow-up."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from ..equations.equation import Draw, Equation, Problem, frames
from ..equations.initial import trajectory_generator
from ..layouts.well import WellData
from ..solvers.blow_up import BlowUp
from .resolved import DTYPES, Record, Simulation

# A state has blown up when it exceeds this multiple of its start (or of 1, if that is larger).
GROWTH = 1e4
REDRAWS = 20  # of one trajectory, before the simulation is refused after all
CHUNK = 2**15  # real numbers per state that are stepped at once on a CPU: what stays in its cache


@dataclass(frozen=True)
class Block:
    """Trajectories start … start + count − 1 of a split."""

    split: str
    start: int
    count: int


class _Trajectory:
    """One trajectory of a dataset: its latest draw, and how often it was drawn before."""

    def __init__(self, simulation: Simulation, split: str, index: int) -> None:
        self.index, self.redraws = index, -1
        # Later draws go on where the earlier ones ended in the trajectory's own random numbers.
        seed = simulation.record.seed
        self._generator = trajectory_generator(seed, simulation.equation.name, split, index)
        self._simulation = simulation
        self.redraw()

    def redraw(self) -> None:
        """Draw again."""
        self.redraws += 1
        self.draw: Draw = self._simulation.equation.draw(
            self._generator, self._simulation.solver_grid
        )

    def describe(self) -> str:
        """Its parameters in words."""
        values = ", ".join(f"{name} {value:g}" for name, value in self.draw.parameters.items())
        return f" ({values})" if values else ""


@dataclass(frozen=True)
class _Solved:
    """What is kept of a trajectory beside its frames."""

    index: int
    parameters: dict[str, float]
    constants: np.ndarray  # (K, *S)
    redraws: int


def solve(
    simulation: Simulation, block: Block, advance: Callable[[float], None] = lambda _: None
) -> WellData:
    """Some trajectories, in memory; `advance` is told how many more are solved, in fractions.

    Raises:
        ValueError: one of them blew up, and the settings refuse that.
    """
    record, equation = simulation.record, simulation.equation
    shape = (block.count, record.frames, len(equation.fields), *record.resolution)
    values = np.empty(shape, dtype=np.float32)
    stop = threading.Event()

    def solve_part(part: Block) -> list[_Solved]:
        first = part.start - block.start
        return _solve(simulation, part, values[first : first + part.count], proceed)

    def proceed(amount: float) -> None:
        if stop.is_set():
            raise CancelledError
        advance(amount)

    with _single_threaded_operations() as workers, ThreadPoolExecutor(workers) as pool:
        try:
            solved = [
                one for part in pool.map(solve_part, _parts(simulation, block)) for one in part
            ]
        except BaseException:
            stop.set()
            raise
    return _contents(simulation, block, values, solved)


@contextmanager
def _single_threaded_operations() -> Iterator[int]:
    """Compute each operation on one thread; gives the number of threads there were.

    Transforms as small as ours gain little from threads of their own, and where cores are shared
    those wait for each other most of the time. Parts of a block are solved side by side instead.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def _contents(
    simulation: Simulation, block: Block, values: np.ndarray, solved: Sequence[_Solved]
) -> WellData:
    """Frames (n, T, C, *S) and what was drawn for them, as a file holds them."""
    record, equation = simulation.record, simulation.equation
    parameters = equation.parameters.items()
    redrawn = {str(one.index): one.redraws for one in solved if one.redraws}
    return WellData(
        dataset=record.name,
        grid=simulation.grid,
        times=record.dt * np.arange(record.frames),
        fields={name: values[:, :, c] for c, name in enumerate(equation.fields)},
        constant_fields={
            name: np.stack([one.constants[k] for one in solved])
            for k, name in enumerate(equation.constant_fields)
        },
        parameters={
            name: np.array(p.low if p.fixed else [one.parameters[name] for one in solved])
            for name, p in parameters
        },
        prescribed=equation.prescribed,
        units={**equation.units, **{name: p.unit for name, p in parameters}},
        provenance={
            **record.written,
            "title": equation.title,
            "split": block.split,
            "first_trajectory": block.start,
            "solver": equation.solver,
            "step": equation.step_control if equation.solver_step is None else record.step,
            "version": version("pelagos"),
            **_chaos(equation, record),
            **({"redrawn": redrawn} if redrawn else {}),
        },
    )


def _chaos(equation: Equation, record: Record) -> dict[str, float]:
    """The Lyapunov time, where it is known for this box."""
    time = equation.lyapunov_time
    return {} if time is None or record.lengths != equation.lengths else {"lyapunov_time": time}


def _parts(simulation: Simulation, block: Block) -> Iterator[Block]:
    """The trajectories of a block in pieces that are stepped at once."""
    size = block.count
    if simulation.device.type == "cpu":
        values = len(simulation.equation.fields) * math.prod(simulation.solver_grid.shape)
        size = max(1, CHUNK // values)
    for first in range(0, block.count, size):
        count = min(size, block.count - first)
        yield replace(block, start=block.start + first, count=count)


def _solve(
    simulation: Simulation, part: Block, out: np.ndarray, advance: Callable[[float], None]
) -> list[_Solved]:
    """Solve some trajectories into `out` (n, T, C, *S).

    Raises:
        ValueError: one of them blew up and the settings refuse that; names it.
    """
    trajectories = [_Trajectory(simulation, part.split, part.start + i) for i in range(part.count)]
    while True:
        solved = _integrate(simulation, [one.draw for one in trajectories])
        done = 0.0
        try:
            for t, frame in zip(range(simulation.record.frames), solved, strict=False):
                out[:, t] = frame
                done += part.count / simulation.record.frames
                advance(part.count / simulation.record.frames)
        except BlowUp as error:
            advance(-done)
            _refuse_or_redraw(simulation, part, trajectories, error)
        else:
            break
    return [
        _Solved(
            one.index,
            one.draw.parameters,
            simulation.coarsened(one.draw.constants).float().numpy(),
            one.redraws,
        )
        for one in trajectories
    ]


def _integrate(simulation: Simulation, draws: Sequence[Draw]) -> Iterator[np.ndarray]:
    """Frames (n, C, *S) of some trajectories, stepped at once.

    Raises:
        BlowUp: a value is not finite or has grown beyond all measure, or the solver says so.
    """
    record, equation = simulation.record, simulation.equation
    initial = torch.stack([draw.initial for draw in draws])
    limits = GROWTH * initial.abs().flatten(1).amax(1).clamp_min(1.0).numpy()
    to = {"device": simulation.device, "dtype": DTYPES[record.dtype]}
    problem = Problem(
        initial.to(**to),
        {
            name: torch.tensor([draw.parameters[name] for draw in draws], dtype=torch.float64)
            for name in equation.parameters
        },
        simulation.solver_grid,
        record.dt,
        torch.stack([draw.constants for draw in draws]).to(**to),
        record.warm_up,
        record.solver_step,
        _together([draw.driver for draw in draws], to),
    )
    for t, frame in enumerate(frames(equation, problem)):
        values = simulation.coarsened(frame).to("cpu", torch.float32).numpy()
        peaks = np.abs(values).reshape(len(draws), -1).max(1)
        bad = np.flatnonzero(~(peaks <= limits)).tolist()
        if bad:
            when = "" if equation.steady else f" by time {t * record.dt:g}"
            raise BlowUp({i: f"blew up{when}, reaching {peaks[i]:g}" for i in bad})
        yield values


def _together(drivers: Sequence[torch.Tensor | None], to: dict[str, Any]) -> torch.Tensor | None:
    """What drives each trajectory, as one tensor; None where nothing does."""
    known = [driver for driver in drivers if driver is not None]
    return torch.stack(known).to(**to) if known else None


def _refuse_or_redraw(
    simulation: Simulation, part: Block, trajectories: Sequence[_Trajectory], error: BlowUp
) -> None:
    """Draw the trajectories that blew up again; or say, by name, why not."""
    record = simulation.record
    for i, reason in error.reasons.items():
        one = trajectories[i]
        if record.on_blowup == "redraw" and one.redraws < REDRAWS:
            one.redraw()
            continue
        again = f" (also after {one.redraws} redraws)" if one.redraws else ""
        step = record.solver_step
        smaller = "" if step is None else f"a solver_step below {record.step:g}, "
        other = "" if one.redraws else ", or draw such trajectories again (--on-blowup redraw)"
        raise ValueError(
            f"{record.name}: trajectory {one.index} of {part.split} {reason}{one.describe()}"
            f"{again}. Use {smaller}a finer resolution, or milder parameters{other}"
        )
