"""Simulated datasets: an equation and a seed become trajectories in The Well's layout.

A dataset is made shard by shard (one file each) under a recipe that is written first; `stats.yaml`,
written last, marks it complete. Trajectory i of a split depends on (seed, equation, split, i) and
the equation's settings alone, so an interrupted simulation continues to the same files.
"""

from __future__ import annotations

import math
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from . import codec, equations, well
from .equations import Equation
from .fields import Grid
from .initial import trajectory_generator
from .progress import Bar
from .steppers import substeps

SPLITS = {"train": 128, "valid": 16, "test": 16}  # and the default numbers of trajectories
DTYPES = {"float64": torch.float64, "float32": torch.float32}

# A state has blown up when it exceeds this multiple of its start (or of 1, if that is larger).
_GROWTH = 1e4
# Real numbers per state that are stepped at once on a CPU: what stays in its cache.
_CHUNK = 2**15
_REMEDY = "choose another name, or replace it (--overwrite, in Python overwrite=True)"


@dataclass(frozen=True)
class Recipe:
    """All that determines the contents of a simulated dataset, as kept in `simulation.yaml`."""

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

    def __post_init__(self) -> None:
        if Path(self.name).name != self.name or self.name.startswith("."):
            raise ValueError(f"name must be a plain file name; got {self.name!r}")
        for split in self.trajectories:
            if split not in SPLITS:
                raise ValueError(f"unknown split {split!r}{codec.nearest(split, [*SPLITS])}")
        if self.trajectories.get("train", 0) < 1 or min(self.trajectories.values()) < 0:
            raise ValueError(
                "trajectories needs counts of at least 0, and at least 1 for train (statistics "
                f"come from it); got {self.trajectories}"
            )
        if self.frames < 2 or self.shard < 1:
            raise ValueError(
                f"frames must be at least 2 and shard at least 1; got {self.frames}, {self.shard}"
            )
        for key, value in (("dt", self.dt), ("solver_step", self.solver_step)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{key} must be positive and finite; got {value}")
        if self.dtype not in DTYPES:
            raise ValueError(f"unknown dtype {self.dtype!r}{codec.nearest(self.dtype, [*DTYPES])}")

    @property
    def grid(self) -> Grid:
        """The periodic grid."""
        return Grid(self.resolution, self.lengths, ("periodic",) * len(self.resolution))

    @property
    def step(self) -> float:
        """Internal time step between frames: one per frame where the solution is exact."""
        return self.dt / substeps(self.dt, self.solver_step or math.inf)


@dataclass(frozen=True)
class _Shard:
    """Trajectories start … start + count − 1 of a split, kept in one file."""

    path: Path
    split: str
    start: int
    count: int


@dataclass(frozen=True)
class _Run:
    """What the computation of every shard shares."""

    recipe: Recipe
    equation: Equation
    device: torch.device


def simulate(
    equation: str | Equation,
    out: Path,
    *,
    trajectories: Mapping[str, int] | None = None,
    resolution: int | Sequence[int] | None = None,
    frames: int | None = None,
    dt: float | None = None,
    lengths: float | Sequence[float] | None = None,
    parameters: Mapping[str, float | Sequence[float]] | None = None,
    solver_step: float | None = None,
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
        frames: saved frames per trajectory, the first one included.
        dt: time between frames.
        lengths: box length per axis; one number for all axes.
        parameters: a value for all trajectories, or a range (low, high) to draw from, by name.
        solver_step: largest internal time step.
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
    if isinstance(equation, str):
        equation = equations.get(equation)
    equation = equation.restricted(parameters or {})
    recipe = Recipe(
        name=equation.name if name is None else name,
        equation=equation.name,
        formula=equation.formula,
        trajectories=dict(SPLITS if trajectories is None else trajectories),
        resolution=_per_axis("resolution", resolution, equation.resolution, int),
        lengths=_per_axis("lengths", lengths, equation.lengths, float),
        frames=equation.frames if frames is None else frames,
        dt=float(equation.dt if dt is None else dt),
        warm_up=equation.warm_up,
        solver_step=_solver_step(equation, solver_step),
        parameters={key: (p.low, p.high) for key, p in equation.parameters.items()},
        seed=seed,
        shard=shard,
        dtype=dtype,
    )
    run = _Run(recipe, equation, _device(device, DTYPES[dtype]))
    _draw(run, "train", 0)  # refuses a grid that is too coarse before anything is written
    root = out / recipe.name
    if _prepare(root, recipe, overwrite):
        _complete(root, run, progress)
    return root


def _solver_step(equation: Equation, chosen: float | None) -> float | None:
    """The largest internal step; None where steps of any length are exact."""
    if equation.nonlinear is None:
        return None
    return float(equation.solver_step if chosen is None else chosen)


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
    text = yaml.safe_dump(codec.plain(recipe), sort_keys=False, allow_unicode=True)
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
    for key, value in codec.plain(recipe).items():
        if found.get(key) != value:
            raise ValueError(
                f"{path.parent} was simulated with {key} {found.get(key)}, not {value}; {_REMEDY}"
            )


def _shards(root: Path, recipe: Recipe) -> Iterator[_Shard]:
    for split in SPLITS:
        total = recipe.trajectories.get(split, 0)
        for number, start in enumerate(range(0, total, recipe.shard)):
            path = root / "data" / split / f"{recipe.name}_{number:04d}.hdf5"
            yield _Shard(path, split, start, min(recipe.shard, total - start))


def _complete(root: Path, run: _Run, progress: bool) -> None:
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
    well.write_stats(root)


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
    run: _Run, shard: _Shard, workers: int, advance: Callable[[float], None]
) -> well.WellData:
    """The contents of one file."""
    recipe, equation = run.recipe, run.equation
    shape = (shard.count, recipe.frames, len(equation.fields), *recipe.resolution)
    values = np.empty(shape, dtype=np.float32)
    stop = threading.Event()

    def solve(part: _Shard) -> list[dict[str, float]]:
        first = part.start - shard.start
        return _solve(run, part, values[first : first + part.count], proceed)

    def proceed(amount: float) -> None:
        if stop.is_set():
            raise CancelledError
        advance(amount)

    with ThreadPoolExecutor(workers) as pool:
        try:
            chosen = [drawn for part in pool.map(solve, _parts(run, shard)) for drawn in part]
        except BaseException:
            stop.set()
            raise
    parameters = equation.parameters.items()
    return well.WellData(
        dataset=recipe.name,
        grid=recipe.grid,
        times=recipe.dt * np.arange(recipe.frames),
        fields={name: values[:, :, c] for c, name in enumerate(equation.fields)},
        parameters={
            name: np.array(p.low if p.fixed else [drawn[name] for drawn in chosen])
            for name, p in parameters
        },
        units={**equation.units, **{name: p.unit for name, p in parameters}},
        provenance={
            **codec.plain(recipe),
            "title": equation.title,
            "split": shard.split,
            "first_trajectory": shard.start,
            "solver": "ETDRK4, Fourier pseudo-spectral, 2/3 dealiasing",
            "step": recipe.step,
            "version": version("pelagos"),
        },
    )


def _parts(run: _Run, shard: _Shard) -> Iterator[_Shard]:
    """The trajectories of a shard in pieces that are stepped at once."""
    size = shard.count
    if run.device.type == "cpu":
        values = len(run.equation.fields) * math.prod(run.recipe.resolution)
        size = max(1, _CHUNK // values)
    for first in range(0, shard.count, size):
        count = min(size, shard.count - first)
        yield replace(shard, start=shard.start + first, count=count)


def _draw(run: _Run, split: str, index: int) -> tuple[dict[str, float], torch.Tensor]:
    """Parameters and initial state of one trajectory."""
    generator = trajectory_generator(run.recipe.seed, run.equation.name, split, index)
    chosen = {name: p.draw(generator) for name, p in run.equation.parameters.items()}
    return chosen, run.equation.initial(generator, run.recipe.grid)


def _solve(
    run: _Run, part: _Shard, out: np.ndarray, advance: Callable[[float], None]
) -> list[dict[str, float]]:
    """Solve some trajectories into `out` (n, T, C, *S); returns their parameters.

    Raises:
        ValueError: one of them blew up; names it.
    """
    recipe = run.recipe
    drawn = [_draw(run, part.split, part.start + i) for i in range(part.count)]
    chosen = [values for values, _ in drawn]
    initial = torch.stack([state for _, state in drawn])
    limits = _GROWTH * initial.abs().flatten(1).amax(1).clamp_min(1.0).numpy()
    frames = run.equation.solve(
        initial.to(run.device, DTYPES[recipe.dtype]),
        {
            name: torch.tensor([values[name] for values in chosen], dtype=torch.float64)
            for name in run.equation.parameters
        },
        recipe.grid,
        recipe.dt,
        warm_up=recipe.warm_up,
        solver_step=recipe.solver_step,
    )
    for t, frame in zip(range(recipe.frames), frames, strict=False):
        out[:, t] = frame.to("cpu", torch.float32).numpy()
        peaks = np.abs(out[:, t]).reshape(part.count, -1).max(1)
        for i in map(int, np.flatnonzero(~(peaks <= limits))):
            values = "".join(f", {name} {value:g}" for name, value in chosen[i].items())
            raise ValueError(
                f"{recipe.name}: trajectory {part.start + i} of {part.split} blew up by time "
                f"{t * recipe.dt:g} (largest value {peaks[i]:g}{values}). Use a solver_step below "
                f"{recipe.step:g}, a finer resolution, or milder parameters"
            )
        advance(part.count / recipe.frames)
    return chosen
