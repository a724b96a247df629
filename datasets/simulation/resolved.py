"""A simulation with everything decided: settings checked, defaults filled in, grids made."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from .. import equations
from ..base.config import nearest
from ..base.config import plain as plain_config
from ..equations.equation import Equation
from ..equations.initial import TooCoarse, trajectory_generator
from ..fields.grid import Grid
from ..fields.vocabulary import SPLITS
from ..solvers.etdrk import substeps
from .settings import COUNTS, Settings

DTYPES = {"float64": torch.float64, "float32": torch.float32}
BLOWUPS = ("refuse", "redraw")


@dataclass(frozen=True)
class Record:
    """All that determines the contents of a simulated dataset, as kept in `simulation.yaml`.

    Keys with a default are written where they differ from it.
    """

    name: str
    equation: str
    formula: str
    trajectories: dict[str, int]
    resolution: tuple[int, ...]
    lengths: tuple[float, ...]
    frames: int
    dt: float
    warm_up: float
    solver_step: float | None
    parameters: dict[str, tuple[float, float]]
    seed: int
    shard: int
    dtype: str
    subsample: int = 1
    on_blowup: str = "refuse"

    def __post_init__(self) -> None:
        if Path(self.name).name != self.name or self.name.startswith("."):
            raise ValueError(f"name must be a plain file name; got {self.name!r}")
        for split in self.trajectories:
            _check_known("split", split, SPLITS)
        _check_known("dtype", self.dtype, DTYPES)
        _check_known("on_blowup", self.on_blowup, BLOWUPS)
        if self.trajectories.get("train", 0) < 1 or min(self.trajectories.values()) < 0:
            raise ValueError(
                "trajectories needs counts of at least 0, and at least 1 for train (statistics "
                f"come from it); got {self.trajectories}"
            )
        if min(self.frames, self.shard, self.subsample) < 1:
            raise ValueError(
                "frames, shard and subsample must be at least 1; "
                f"got {self.frames}, {self.shard}, {self.subsample}"
            )
        for key, value in (("dt", self.dt), ("solver_step", self.solver_step)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{key} must be positive and finite; got {value}")
        if not (math.isfinite(self.warm_up) and self.warm_up >= 0):
            raise ValueError(f"warm_up must be finite and at least 0; got {self.warm_up}")

    @property
    def written(self) -> dict[str, Any]:
        """What is written of it."""
        plain, optional = plain_config(self).items(), self.defaults
        return {k: v for k, v in plain if k not in optional or v != optional[k]}

    @property
    def defaults(self) -> dict[str, Any]:
        """Values of the keys that need not be written."""
        return {f.name: f.default for f in fields(self) if f.default is not MISSING}

    @property
    def step(self) -> float:
        """Internal time step between frames: one per frame where the solution is exact."""
        return self.dt / substeps(self.dt, self.solver_step or math.inf)


def _check_known(key: str, value: str, valid: Collection[str]) -> None:
    if value not in valid:
        raise ValueError(f"unknown {key} {value!r}{nearest(value, [*valid])}")


@dataclass(frozen=True)
class Simulation:
    """What the computation of every shard shares."""

    record: Record
    equation: Equation
    device: torch.device

    @cached_property
    def grid(self) -> Grid:
        """The grid that is stored."""
        return self.equation.grid(self.record.resolution, self.record.lengths)

    @cached_property
    def solver_grid(self) -> Grid:
        """The grid on which the equation is solved."""
        shape = [self.record.subsample * n for n in self.record.resolution]
        return self.equation.grid(shape, self.record.lengths)

    def coarsened(self, values: torch.Tensor) -> torch.Tensor:
        """Values on the solver's grid, on the stored one."""
        factor = self.record.subsample
        return values if factor == 1 else self.equation.coarsened(values, factor)


def resolve(equation: str | Equation, settings: Settings, name: str | None = None) -> Simulation:
    """Settings checked, with what they leave out filled in from the equation.

    Args:
        equation: registry name, or an equation of your own.
        name: of the dataset; the equation's by default.

    Raises:
        ValueError: a setting is unknown or impossible.
    """
    if isinstance(equation, str):
        equation = equations.get(equation)
    equation = equation.restricted(settings.parameters or {})
    _check_steps(equation, settings)
    record = _record(equation, settings, equation.name if name is None else name)
    simulation = Simulation(record, equation, _device(settings.device, DTYPES[record.dtype]))
    # Refuses an impossible grid before anything is written.
    generator = trajectory_generator(record.seed, equation.name, "train", 0)
    try:
        simulation.coarsened(equation.draw(generator, simulation.solver_grid).initial)
    except TooCoarse as error:
        raise ValueError(_as_asked(error, record)) from None
    return simulation


def _as_asked(error: TooCoarse, record: Record) -> str:
    """What the solver's grid cannot hold, in terms of the stored resolution, with the remedies."""
    factor, most = record.subsample, error.most // record.subsample
    shape = [str(n) for n in record.resolution]
    got = shape[0] if len({*shape}) == 1 else ",".join(shape)
    stored = min(error.grid.shape) // factor
    finer = error.most // stored + 1
    why = "" if factor == 1 else f" (subsample {factor}: {error.most} where it is solved)"
    return (
        f"{record.equation}: {error.text(most, got, why)}. Use {most + 1} or more, or solve on a "
        f"finer grid than is stored with subsample {finer} (--subsample {finer})"
    )


def _record(equation: Equation, given: Settings, name: str) -> Record:
    def chosen(value: Any, default: Any) -> Any:
        return default if value is None else value

    return Record(
        name=name,
        equation=equation.name,
        formula=equation.formula,
        trajectories=dict(chosen(given.trajectories, COUNTS)),
        resolution=_per_axis("resolution", given.resolution, equation.resolution, int),
        lengths=_per_axis("lengths", given.lengths, equation.lengths, float),
        frames=chosen(given.frames, equation.frames),
        dt=float(chosen(given.dt, equation.dt)),
        warm_up=equation.warm_up if given.warm_up is None else float(given.warm_up),
        solver_step=_finite(chosen(given.solver_step, equation.solver_step)),
        parameters={key: (p.low, p.high) for key, p in equation.parameters.items()},
        seed=given.seed,
        shard=given.shard,
        dtype=given.dtype,
        subsample=chosen(given.subsample, equation.subsample),
        on_blowup=given.on_blowup,
    )


def _check_steps(equation: Equation, given: Settings) -> None:
    """Refuse settings of time that the equation does not have."""
    if equation.steady:
        times = {
            "frames": given.frames,
            "solver_step": given.solver_step,
            "dt": given.dt,
            "warm_up": given.warm_up,
        }
        for key, value in times.items():
            if value is not None:
                raise ValueError(f"{equation.name} is steady and has no {key}; leave it out")
    elif given.frames == 1:
        raise ValueError("frames must be at least 2; got 1")
    if given.solver_step is not None and _finite(equation.solver_step) is None:
        raise ValueError(
            f"{equation.name} has no solver_step to set (its steps: {equation.step_control}); "
            "leave it out"
        )


def _finite(step: float | None) -> float | None:
    """The largest internal step, if there is one."""
    return None if step is None or step == math.inf else float(step)


def _per_axis(key: str, value: Any, default: tuple, kind: type) -> tuple:
    if value is None:
        return default
    values = tuple(value) if isinstance(value, Sequence) else (value,) * len(default)
    if len(values) != len(default):
        raise ValueError(f"{key} needs one entry per axis, {len(default)}; got {values}")
    if any(kind(v) != v or v <= 0 for v in values):
        raise ValueError(f"{key} must be positive{' and whole' * (kind is int)}; got {values}")
    return tuple(kind(v) for v in values)


def _device(device: str, dtype: torch.dtype) -> torch.device:
    try:
        return torch.zeros(1, dtype=dtype, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"cannot compute in {dtype} on device {device}: {reason}") from None
