"""The files of DyMixOp's benchmarks, read in place: MATLAB 5, MATLAB 7.3 and NetCDF-4.

One array (trajectory, time, channel, x[, y[, z]]); MATLAB 7.3 stores its axes reversed. Which
array a file holds says what it is:

| array | fields | constant fields | domain |
|---|---|---|---|
| `uu` | u (Kuramoto–Sivashinsky) | | 64π, periodic |
| `uv` | velocity (Burgers) | | 1, periodic |
| `ws` | vorticity (Navier–Stokes) | | 2π, periodic |
| `coeff`, `sol` | u (Darcy, steady) | coefficient | 1, walls |
| `data`, 5 channels | density, velocity, pressure, energy (compressible Euler) | | 1, periodic |
| `data`, 2 channels in 2D | height, vorticity (shallow water on a sphere) | | 1 |
| `data`, else | u | | 1, periodic |

A file with several of them (Navier–Stokes has `ws` and `uv`) is read as its benchmark does, or as
`layout="DyMixOp:uv"` says. The shallow water's second axis runs from pole to pole: walls.

Times come from the file's name: `_dt1_t[100_120]` are frames at 100, 101, … up to or without 120; a
coarser step that divides the span is found from their number; one more frame in front is the
initial state at 0 (Kuramoto–Sivashinsky). Without such a name frames are numbered from 0. `nu` in
the name is a parameter. The first 1000 trajectories are `train`, the next 200 `test` (and `all`
what follows); with fewer than 1200, five sixths are `train` and the rest `test`; fewer than twelve
are not split.

Source: arXiv 2508.13490 and its repository.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..fields.grid import Grid
from ..fields.vocabulary import AXES, SPLITS
from ..files import guard
from ..files.containers import Container, kind, open_container
from ..files.hdf5 import metadata
from ..files.matlab import MatFile
from . import doubts as contents
from .arrays import TIME, TRAJECTORY, ArraySource, Variable, component, constant_parameters, sizes
from .layout import Layout
from .source import Header

KEYS = ("coeff", "ws", "uv", "uu", "data")  # the first that a file has is its benchmark's
VARIANTS = ("ws", "uv", "uu", "data", "sol")
TRAIN, TEST = 1000, 200
NUMBER = r"(\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)"
STEP = re.compile(rf"_dt{NUMBER}")
SPAN = re.compile(rf"_t\[{NUMBER}_{NUMBER}\]")
VISCOSITY = re.compile(rf"_nu{NUMBER}")
SHAPE = re.compile(r"(?<!\d)\d+(?:x\d+){3,5}(?!\d)")  # 1200x22x1x4096


def matches(path: Path) -> bool:
    """Whether a file is one of DyMixOp's, by its contents (`data` in NetCDF also by its name)."""
    try:
        return _key(path, "") is not None
    except ValueError:
        return False


def open_file(path: Path, split: str, variant: str = "") -> Mapping[str, ArraySource]:
    """The sources of a file by split; `variant` is the array to read, where there are several.

    Raises:
        ValueError: the file is damaged, or a part of the layout is missing or does not fit.
    """
    key = _key(path, variant)
    if key is None:
        raise ValueError(f"{path} has none of DyMixOp's arrays: {', '.join(KEYS)}")
    source = _steady(path) if key in ("coeff", "sol") else _series(path, key)
    n = len(source)
    if split in SPLITS or n < 12:  # the folder says it, or there are too few
        return {split: source}
    train = TRAIN if n >= TRAIN + TEST else n * 5 // 6
    test = min(n, train + TEST) if n >= TRAIN + TEST else n
    parts = {"train": slice(train), "test": slice(train, test)}
    if test < n:
        parts["all"] = slice(test, n)
    return {name: source.part(rows) for name, rows in parts.items()}


def _key(path: Path, variant: str) -> str | None:
    """The array that says what the file is; None if it is not one of DyMixOp's."""
    shapes, matlab = _shapes(path)
    if variant:
        return variant if variant in shapes else None
    for key in KEYS:
        if key not in shapes or not 4 <= len(shapes[key]) <= 6:
            continue
        if key == "coeff" and "sol" not in shapes:
            continue
        if key != "data" or matlab or SHAPE.search(path.stem) or {TIME, "channel"} <= set(shapes):
            return key
    return None


def _shapes(path: Path) -> tuple[dict[str, tuple[int, ...]], bool]:
    """Shapes of the arrays at the root in the published order, and whether MATLAB wrote them."""
    found = kind(path)
    if found == "matlab":
        return MatFile(path).shapes(), True
    if found != "hdf5":
        return {}, False
    with metadata(path) as root:
        names = set(itertools.islice(root, 64)) & {*KEYS, "sol", TIME, "channel"}
        arrays = {name: root[name] for name in names}
        datasets = {k: v for k, v in arrays.items() if isinstance(v, guard.Dataset)}
        matlab = any("MATLAB_class" in item.attrs for item in datasets.values())
    return {k: v.shape[::-1] if matlab else v.shape for k, v in datasets.items()}, matlab


def _file(path: Path, names: Sequence[str]) -> tuple[Container, bool]:
    """The arrays, and whether their axes are reversed."""
    container = open_container(path)
    if kind(path) != "hdf5":
        return container, False
    with metadata(path) as root:
        return container, any("MATLAB_class" in root[name].attrs for name in names if name in root)


def _layout(path: Path, name: str) -> tuple[Container, tuple[str, ...], dict[str, int]]:
    """The file, the axes of an array as stored, and their lengths."""
    file, reverse = _file(path, [name])
    try:
        array = file.array(name)
    except KeyError:
        raise ValueError(f"{path} has no array {name!r}") from None
    space = AXES[: max(1, len(array.shape) - 3)]
    axes = (TRAJECTORY, TIME, "channel", *space)
    axes = axes[::-1] if reverse else axes
    return file, axes, sizes(array, axes, path, name)


def _steady(path: Path) -> ArraySource:
    file, axes, shape = _layout(path, "sol")
    space = tuple(axis for axis in AXES if axis in shape)
    at = (("channel", 0), (TIME, 0))
    n = len(space)
    return ArraySource(
        file=file,
        header=Header(
            axes=space,
            grid=Grid(tuple(shape[axis] for axis in space), (1.0,) * n, ("wall",) * n),
            times=np.zeros(1),
            rows=range(shape[TRAJECTORY]),
            provenance={"source": "DyMixOp"},
        ),
        channels={"u": Variable("sol", axes, at)},
        constant_channels={"coefficient": Variable("coeff", axes, at)},
    )


def _series(path: Path, key: str) -> ArraySource:
    file, axes, shape = _layout(path, key)
    space = tuple(axis for axis in AXES if axis in shape)
    fields = _fields(key, shape["channel"], len(space))
    length = {"uu": 64 * math.pi, "ws": 2 * math.pi}.get(key, 1.0)
    boundary = ["periodic"] * len(space)
    if fields == ("height", "vorticity"):
        boundary[-1] = "wall"
    counts = tuple(shape[axis] for axis in space)
    nu = VISCOSITY.search(path.stem)
    parameters = {"nu": float(nu[1])} if nu else {}
    return ArraySource(
        file=file,
        header=Header(
            axes=space,
            grid=Grid(counts, (length,) * len(space), tuple(boundary)),
            times=times(path.stem, shape[TIME]),
            rows=range(shape[TRAJECTORY]),
            provenance={"source": "DyMixOp"},
            **constant_parameters(parameters, shape[TRAJECTORY]),
        ),
        channels={name: component(key, axes, i) for i, name in enumerate(fields)},
    )


def _fields(key: str, channels: int, ndim: int) -> tuple[str, ...]:
    """Names of the channels of an array."""
    velocity = tuple(f"velocity_{axis}" for axis in AXES[:channels])
    known = {
        ("uv", ndim): velocity if channels == ndim else (),
        ("ws", 1): ("vorticity",),
        ("data", 5): ("density", *velocity[:2], "pressure", "energy") if ndim == 2 else (),
        ("data", 2): ("height", "vorticity") if ndim == 2 else (),
    }
    found = known.get((key, channels), ())
    return found or (("u",) if channels == 1 else tuple(f"u_{i}" for i in range(channels)))


def times(stem: str, frames: int) -> np.ndarray:
    """Times of the frames by a file's name; numbers from 0 where it does not say."""
    span, step = SPAN.search(stem), STEP.search(stem)
    if not span or not step or not float(step[1]):
        return np.arange(frames, dtype=np.float64)
    start, stop, dt = float(span[1]), float(span[2]), float(step[1])
    steps = (stop - start) / dt
    if math.isclose(steps + 2, frames, rel_tol=1e-6) and start > 0:
        return np.concatenate([[0.0], start + dt * np.arange(frames - 1)])
    for intervals in (frames - 1, frames):  # with the last time, and without
        ratio = steps / max(intervals, 1)
        if frames > 2 and ratio > 0.5 and math.isclose(ratio, round(ratio), rel_tol=1e-6):
            return start + dt * round(ratio) * np.arange(frames)
    return np.arange(frames, dtype=np.float64)


NAMED = re.compile(r"_dt\d|[123]d[A-Z]")  # parts of the names of its files
FURTHER = (*KEYS, "sol", "Kcoeff", "Kcoeff_x", "Kcoeff_y")


def doubts(path: Path) -> str:
    """What speaks against a file's being one of DyMixOp's, where its name is none of theirs."""
    if SHAPE.search(path.stem) or NAMED.search(path.stem):
        return ""
    shapes, matlab = _shapes(path)
    axes = {}
    for name in (*KEYS, "sol"):
        if name in shapes:
            own = (TRAJECTORY, TIME, "channel", *AXES[: max(1, len(shapes[name]) - 3)])
            axes[name] = own[::-1] if matlab and kind(path) == "hdf5" else own
    return contents.doubts(path, axes, FURTHER)


LAYOUT = Layout("DyMixOp", matches, open_file, VARIANTS, doubts)
