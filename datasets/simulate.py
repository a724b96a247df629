"""Simulated datasets: an equation and a seed become trajectories in The Well's layout.

A dataset is made shard by shard (one file each) under a recipe that is written first; `stats.yaml`,
written last, marks it complete. Trajectory i of a split depends on (seed, equation, split, i) and
the equation's settings alone, so an interrupted simulation continues to the same files.
"""

from __future__ import annotations

import math
import shutil
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from . import codec, equations, well
from .equations import BlowUp, Draw, Equation
from .fields import Grid
from .initial import trajectory_generator
from .progress import Bar
from .split_statistics import write_stats
from .steppers import substeps

SPLITS = {"train": 128, "valid": 16, "test": 16}  # and the default numbers of trajectories
DTYPES = {"float64": torch.float64, "float32": torch.float32}

BLOWUPS = ("refuse", "redraw")

# A state has blown up when it exceeds this multiple of its start (or of 1, if that is larger).
_GROWTH = 1e4
# So often is one trajectory drawn again before the simulation is refused after all.
_REDRAWS = 20
# Real numbers per state that are stepped at once on a CPU: what stays in its cache.
_CHUNK = 2**15
_REMEDY = "choose another name, or replace it (--overwrite, in Python overwrite=True)"


@dataclass(frozen=True)
class Recipe:
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
    def record(self) -> dict[str, Any]:
        """What is written of it."""
        optional = {f.name: f.default for f in fields(self) if f.default is not MISSING}
        plain = codec.plain(self).items()
        return {k: v for k, v in plain if k not in optional or v != optional[k]}

    @property
    def step(self) -> float:
        """Internal time step between frames: one per frame where the solution is exact."""
        return self.dt / substeps(self.dt, self.solver_step or math.inf)


def _check_known(key: str, value: str, valid: Collection[str]) -> None:
    if value not in valid:
        raise ValueError(f"unknown {key} {value!r}{codec.nearest(value, [*valid])}")


@dataclass(frozen=True)
class _Shard:
    """Trajectories start … start + count − 1 of a split, kept in one file."""

    path: Path
    split: str
    start: int
    count: int


@dataclass(frozen=True)
class Run:
    """What the computation of every shard shares."""

    recipe: Recipe
    equation: Equation
    device: torch.device

    @cached_property
    def grid(self) -> Grid:
        """The grid that is stored."""
        return self.equation.grid(self.recipe.resolution, self.recipe.lengths)

    @cached_property
    def solver_grid(self) -> Grid:
        """The grid on which the equation is solved."""
        shape = [self.recipe.subsample * n for n in self.recipe.resolution]
        return self.equation.grid(shape, self.recipe.lengths)

    def coarsened(self, values: torch.Tensor) -> torch.Tensor:
        """Values on the solver's grid, on the stored one."""
        factor = self.recipe.subsample
        return values if factor == 1 else self.equation.coarsened(values, factor)


class _Trajectory:
    """One trajectory of a dataset: its latest draw, and how often it was drawn before."""

    def __init__(self, run: Run, split: str, index: int) -> None:
        self.index, self.redraws = index, -1
        # Later draws go on where the earlier ones ended in the trajectory's own random numbers.
        seed = run.recipe.seed
        self._generator = trajectory_generator(seed, run.equation.name, split, index)
        self._run = run
        self.redraw()

    def redraw(self) -> None:
        """Draw again."""
        self.redraws += 1
        self.draw: Draw = self._run.equation.draw(self._generator, self._run.solver_grid)

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


def simulate(
    equation: str | Equation,
    out: Path,
    *,
    trajectories: Mapping[str, int] | None = None,
    resolution: int | Sequence[int] | None = None,
    frames: int | None = None,
    dt: float | None = None,
    warm_up: float | None = None,
    lengths: float | Sequence[float] | None = None,
    parameters: Mapping[str, float | Sequence[float]] | None = None,
    solver_step: float | None = None,
    subsample: int | None = None,
    on_blowup: str = "refuse",
    seed: int = 0,
    shard: int = 64,
    dtype: str = "float64",
    device: torch.device | str = "cpu",
    name: str | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Path:
    """Write the dataset `out/name`, or what is missing of it; returns that folder.

    What is not given is the equation's default. A dataset that is complete under the same recipe
    is left as it is.

    Args:
        equation: registry name, or an equation of your own.
        trajectories: number per split, of "train", "valid" and "test".
        resolution: points per axis; one number for all axes.
        frames: saved frames per trajectory, the first one included; not for a steady equation,
            which has one.
        dt: time between frames; not for a steady equation.
        warm_up: time integrated before the first frame; not for a steady equation.
        lengths: box length per axis; one number for all axes.
        parameters: a value for all trajectories, or a range (low, high) to draw from, by name.
        solver_step: largest internal time step, of equations that have one.
        subsample: solve on a grid finer by this factor per axis than what is stored.
        on_blowup: what becomes of a trajectory that cannot be integrated: "refuse" stops there,
            "redraw" draws its parameters and initial state again and records that.
        seed: of all random numbers.
        shard: trajectories per file; memory grows with it.
        dtype: precision of the computation; files are in single precision.
        device: where to compute. Results of different devices differ by rounding.
        name: of the dataset; the equation's by default.
        overwrite: delete a simulated dataset of that name first.
        progress: show a progress bar on stderr.

    Raises:
        ValueError: a setting is unknown or impossible; the folder holds something else or was made
            by another recipe; a trajectory blew up.
    """
    run = prepare(
        equation,
        trajectories=trajectories,
        resolution=resolution,
        frames=frames,
        dt=dt,
        warm_up=warm_up,
        lengths=lengths,
        parameters=parameters,
        solver_step=solver_step,
        subsample=subsample,
        on_blowup=on_blowup,
        seed=seed,
        shard=shard,
        dtype=dtype,
        device=device,
        name=name,
    )
    root = out / run.recipe.name
    if _prepare(root, run.recipe, overwrite):
        _complete(root, run, progress)
    return root


def prepare(
    equation: str | Equation,
    *,
    trajectories: Mapping[str, int] | None = None,
    resolution: int | Sequence[int] | None = None,
    frames: int | None = None,
    dt: float | None = None,
    warm_up: float | None = None,
    lengths: float | Sequence[float] | None = None,
    parameters: Mapping[str, float | Sequence[float]] | None = None,
    solver_step: float | None = None,
    subsample: int | None = None,
    on_blowup: str = "refuse",
    seed: int = 0,
    shard: int = 64,
    dtype: str = "float64",
    device: torch.device | str = "cpu",
    name: str | None = None,
) -> Run:
    """Settings as in `simulate`, checked, with what they leave out filled in.

    Raises:
        ValueError: a setting is unknown or impossible.
    """
    if isinstance(equation, str):
        equation = equations.get(equation)
    equation = equation.restricted(parameters or {})
    _check_steps(equation, frames, solver_step, {"dt": dt, "warm_up": warm_up})
    recipe = Recipe(
        name=equation.name if name is None else name,
        equation=equation.name,
        formula=equation.formula,
        trajectories=dict(SPLITS if trajectories is None else trajectories),
        resolution=_per_axis("resolution", resolution, equation.resolution, int),
        lengths=_per_axis("lengths", lengths, equation.lengths, float),
        frames=equation.frames if frames is None else frames,
        dt=float(equation.dt if dt is None else dt),
        warm_up=equation.warm_up if warm_up is None else float(warm_up),
        solver_step=_finite(equation.solver_step if solver_step is None else solver_step),
        parameters={key: (p.low, p.high) for key, p in equation.parameters.items()},
        seed=seed,
        shard=shard,
        dtype=dtype,
        subsample=equation.subsample if subsample is None else subsample,
        on_blowup=on_blowup,
    )
    run = Run(recipe, equation, _device(device, DTYPES[dtype]))
    first = _Trajectory(run, "train", 0)  # refuses an impossible grid before anything is written
    run.coarsened(first.draw.initial)
    return run


def solve_block(run: Run, split: str, start: int, count: int) -> well.WellData:
    """Trajectories start … start + count − 1 of a split, in memory.

    Raises:
        ValueError: one of them blew up, and the settings refuse that.
    """
    shard = _Shard(Path(), split, start, count)
    with _single_threaded_operations() as workers:
        return _compute(run, shard, workers, lambda amount: None)


def _check_steps(
    equation: Equation,
    frames: int | None,
    solver_step: float | None,
    others: Mapping[str, float | None],
) -> None:
    """Refuse settings of time that the equation does not have."""
    if equation.steady:
        settings = {"frames": frames, "solver_step": solver_step, **others}
        for key, value in settings.items():
            if value is not None:
                raise ValueError(f"{equation.name} is steady and has no {key}; leave it out")
    elif frames == 1:
        raise ValueError("frames must be at least 2; got 1")
    if solver_step is not None and _finite(equation.solver_step) is None:
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


def _device(device: torch.device | str, dtype: torch.dtype) -> torch.device:
    try:
        return torch.zeros(1, dtype=dtype, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"cannot compute in {dtype} on device {device}: {reason}") from None


def _prepare(root: Path, recipe: Recipe, overwrite: bool) -> bool:
    """Whether shards are missing; leaves a folder with this recipe in it.

    Raises:
        ValueError: the folder holds something else, or was made by another recipe.
    """
    path, partial = root / "simulation.yaml", root / ".simulation.yaml.partial"
    if root.parent.exists() and not root.parent.is_dir():
        raise ValueError(f"{root.parent} is a file; choose a folder to write datasets into")
    if root.exists() and not path.is_file():
        if not root.is_dir() or any(found != partial for found in root.iterdir()):
            raise ValueError(f"{root} exists and is no simulated dataset; choose another name")
    elif not overwrite and any(root.glob("data/*/*.hdf5")):
        _check_same(path, recipe)
        missing = any(not shard.path.exists() for shard in _shards(root, recipe))
        return missing or not (root / "stats.yaml").exists()
    (root / "stats.yaml").unlink(missing_ok=True)
    if (root / "data").exists():
        shutil.rmtree(root / "data")
    root.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(recipe.record, sort_keys=False, allow_unicode=True)
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
    return True


def _check_same(path: Path, recipe: Recipe) -> None:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged; {_REMEDY}")
    optional = {f.name: f.default for f in fields(recipe) if f.default is not MISSING}
    for key, value in codec.plain(recipe).items():
        known = found.get(key, optional.get(key))
        if known != value:
            raise ValueError(
                f"{path.parent} was simulated with {key} {known}, not {value}; {_REMEDY}"
            )


def _shards(root: Path, recipe: Recipe) -> Iterator[_Shard]:
    for split in SPLITS:
        total = recipe.trajectories.get(split, 0)
        for number, start in enumerate(range(0, total, recipe.shard)):
            path = root / "data" / split / f"{recipe.name}_{number:04d}.hdf5"
            yield _Shard(path, split, start, min(recipe.shard, total - start))


def _complete(root: Path, run: Run, progress: bool) -> None:
    """Compute the missing shards, then the statistics."""
    (root / "stats.yaml").unlink(missing_ok=True)  # stale if a shard is missing
    shards = list(_shards(root, run.recipe))
    missing = [shard for shard in shards if not shard.path.exists()]
    total = sum(shard.count for shard in shards)
    done = total - sum(shard.count for shard in missing)
    bar = Bar(run.recipe.name, total, done, "trajectories", active=progress)
    with bar, _single_threaded_operations() as workers:
        for shard in missing:
            well.write_file(shard.path, _compute(run, shard, workers, bar.advance))
    write_stats(root)


@contextmanager
def _single_threaded_operations() -> Iterator[int]:
    """Compute each operation on one thread; gives the number of threads there were.

    Transforms as small as ours gain little from threads of their own, and where cores are shared
    those wait for each other most of the time. Parts of a shard are solved side by side instead.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def _compute(
    run: Run, shard: _Shard, workers: int, advance: Callable[[float], None]
) -> well.WellData:
    """The contents of one file."""
    recipe, equation = run.recipe, run.equation
    shape = (shard.count, recipe.frames, len(equation.fields), *recipe.resolution)
    values = np.empty(shape, dtype=np.float32)
    stop = threading.Event()

    def solve(part: _Shard) -> list[_Solved]:
        first = part.start - shard.start
        return _solve(run, part, values[first : first + part.count], proceed)

    def proceed(amount: float) -> None:
        if stop.is_set():
            raise CancelledError
        advance(amount)

    with ThreadPoolExecutor(workers) as pool:
        try:
            solved = [one for part in pool.map(solve, _parts(run, shard)) for one in part]
        except BaseException:
            stop.set()
            raise
    return _contents(run, shard, values, solved)


def _contents(
    run: Run, shard: _Shard, values: np.ndarray, solved: Sequence[_Solved]
) -> well.WellData:
    """Frames (n, T, C, *S) and what was drawn for them, as a file holds them."""
    recipe, equation = run.recipe, run.equation
    parameters = equation.parameters.items()
    redrawn = {str(one.index): one.redraws for one in solved if one.redraws}
    return well.WellData(
        dataset=recipe.name,
        grid=run.grid,
        times=recipe.dt * np.arange(recipe.frames),
        fields={name: values[:, :, c] for c, name in enumerate(equation.fields)},
        constant_fields={
            name: np.stack([one.constants[k] for one in solved])
            for k, name in enumerate(equation.constant_fields)
        },
        parameters={
            name: np.array(p.low if p.fixed else [one.parameters[name] for one in solved])
            for name, p in parameters
        },
        units={**equation.units, **{name: p.unit for name, p in parameters}},
        provenance={
            **recipe.record,
            "title": equation.title,
            "split": shard.split,
            "first_trajectory": shard.start,
            "solver": equation.solver,
            "step": equation.step_control if equation.solver_step is None else recipe.step,
            "version": version("pelagos"),
            **_chaos(equation, recipe),
            **({"redrawn": redrawn} if redrawn else {}),
        },
    )


def _chaos(equation: Equation, recipe: Recipe) -> dict[str, float]:
    """The Lyapunov time, where it is known for this box."""
    time = equation.lyapunov_time
    return {} if time is None or recipe.lengths != equation.lengths else {"lyapunov_time": time}


def _parts(run: Run, shard: _Shard) -> Iterator[_Shard]:
    """The trajectories of a shard in pieces that are stepped at once."""
    size = shard.count
    if run.device.type == "cpu":
        values = len(run.equation.fields) * math.prod(run.solver_grid.shape)
        size = max(1, _CHUNK // values)
    for first in range(0, shard.count, size):
        count = min(size, shard.count - first)
        yield replace(shard, start=shard.start + first, count=count)


def _solve(
    run: Run, part: _Shard, out: np.ndarray, advance: Callable[[float], None]
) -> list[_Solved]:
    """Solve some trajectories into `out` (n, T, C, *S).

    Raises:
        ValueError: one of them blew up and the recipe refuses that; names it.
    """
    trajectories = [_Trajectory(run, part.split, part.start + i) for i in range(part.count)]
    while True:
        frames = _integrate(run, [one.draw for one in trajectories])
        done = 0.0
        try:
            for t, frame in zip(range(run.recipe.frames), frames, strict=False):
                out[:, t] = frame
                done += part.count / run.recipe.frames
                advance(part.count / run.recipe.frames)
        except BlowUp as error:
            advance(-done)
            _refuse_or_redraw(run, part, trajectories, error)
        else:
            break
    return [
        _Solved(
            one.index,
            one.draw.parameters,
            run.coarsened(one.draw.constants).float().numpy(),
            one.redraws,
        )
        for one in trajectories
    ]


def _integrate(run: Run, draws: Sequence[Draw]) -> Iterator[np.ndarray]:
    """Frames (n, C, *S) of some trajectories, stepped at once.

    Raises:
        BlowUp: a value is not finite or has grown beyond all measure, or the solver says so.
    """
    recipe, equation = run.recipe, run.equation
    initial = torch.stack([draw.initial for draw in draws])
    limits = _GROWTH * initial.abs().flatten(1).amax(1).clamp_min(1.0).numpy()
    to = {"device": run.device, "dtype": DTYPES[recipe.dtype]}
    frames = equation.solve(
        initial.to(**to),
        {
            name: torch.tensor([draw.parameters[name] for draw in draws], dtype=torch.float64)
            for name in equation.parameters
        },
        run.solver_grid,
        recipe.dt,
        constants=torch.stack([draw.constants for draw in draws]).to(**to),
        warm_up=recipe.warm_up,
        solver_step=recipe.solver_step,
    )
    for t, frame in enumerate(frames):
        values = run.coarsened(frame).to("cpu", torch.float32).numpy()
        peaks = np.abs(values).reshape(len(draws), -1).max(1)
        bad = np.flatnonzero(~(peaks <= limits)).tolist()
        if bad:
            when = "" if equation.steady else f" by time {t * recipe.dt:g}"
            raise BlowUp({i: f"blew up{when}, reaching {peaks[i]:g}" for i in bad})
        yield values


def _refuse_or_redraw(
    run: Run, part: _Shard, trajectories: Sequence[_Trajectory], error: BlowUp
) -> None:
    """Draw the trajectories that blew up again; or say, by name, why not."""
    for i, reason in error.reasons.items():
        one = trajectories[i]
        if run.recipe.on_blowup == "redraw" and one.redraws < _REDRAWS:
            one.redraw()
            continue
        again = f" (also after {one.redraws} redraws)" if one.redraws else ""
        step = run.recipe.solver_step
        smaller = "" if step is None else f"a solver_step below {run.recipe.step:g}, "
        other = "" if one.redraws else ", or draw such trajectories again (--on-blowup redraw)"
        raise ValueError(
            f"{run.recipe.name}: trajectory {one.index} of {part.split} {reason}{one.describe()}"
            f"{again}. Use {smaller}a finer resolution, or milder parameters{other}"
        )
