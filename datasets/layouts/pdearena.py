"""PDEArena's HDF5 files, read in place.

A group `train`, `valid` or `test` (it is the split) holds arrays (trajectory, time, *space[,
component]), with the times `t` and coordinates `x`, `y` of each trajectory:

| arrays | fields | parameters | boundary |
|---|---|---|---|
| `u`, `vx`, `vy` | tracer, velocity (smoke in a box) | buo_y | wall |
| `pde_NT-NX` | u (Kuramoto–Sivashinsky) | v | periodic |
| `d_field`, `h_field` | electric, magnetic (Maxwell) | | periodic |

Where trajectories differ in the spacing of their points, the grid is the unit interval and the
spacings are parameters (`dx`). Times that contradict the stored step `dt` follow `dt`: the smoke's
generator spreads them over the whole interval, whatever was saved.

Source: Gupta and Brandstetter, arXiv 2209.15616, and its generators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..fields.grid import Grid, spacing
from ..fields.vocabulary import AXES, SPLITS
from ..files import guard
from ..files.hdf5 import Hdf5File, metadata
from . import doubts as contents
from .arrays import TIME, TRAJECTORY, ArraySource, Variable, component, extent, sizes
from .layout import Layout
from .source import Header

PARAMETERS = ("v", "buo_y")
VARIANTS = ()


def matches(path: Path) -> bool:
    """Whether a file has PDEArena's layout, by its contents."""
    try:
        with metadata(path) as root:
            names = [name for name in SPLITS if name in root]
            return bool(names) and all(
                isinstance(root[name], guard.Group) and bool(_fields(root[name])) for name in names
            )
    except ValueError:
        return False


def open_file(path: Path, split: str, variant: str = "") -> Mapping[str, ArraySource]:
    """The sources of a file by split, which its groups say.

    Raises:
        ValueError: the file is damaged, or a part of the layout is missing or does not fit.
    """
    file = Hdf5File(path)
    with metadata(path) as root:
        return {name: _source(file, name, root[name]) for name in SPLITS if name in root}


def _fields(group: guard.Group) -> dict[str, Variable]:
    """Fields and where they lie, without the name of the group."""
    series = [name for name in group if name.startswith("pde_")]
    if series:
        stored = group[series[0]].shape
        if len(stored) == 3:
            return {"u": Variable(series[0], (TRAJECTORY, TIME, "x"))}
        return {"u": component(series[0], (TRAJECTORY, TIME, "channel", "x"), 0)}
    if "u" in group and "vx" in group:
        names = {"u": "tracer", "vx": "velocity_x", "vy": "velocity_y", "vz": "velocity_z"}
        space = AXES[: len(group["u"].shape) - 2]
        present = [name for name in names if name in group]
        return {names[name]: Variable(name, (TRAJECTORY, TIME, *space)) for name in present}
    if "d_field" in group and "h_field" in group:
        axes = (TRAJECTORY, TIME, *AXES, "channel")
        return {
            f"{field}_{axis}": component(array, axes, i)
            for field, array in (("electric", "d_field"), ("magnetic", "h_field"))
            for i, axis in enumerate(AXES)
        }
    return {}


def _source(file: Hdf5File, name: str, group: guard.Group) -> ArraySource:
    fields = _fields(group)
    if not fields:
        raise ValueError(f"{file.path}: the group {name!r} has none of PDEArena's arrays")
    first = next(iter(fields.values()))
    shape = sizes(group[first.array], first.axes, file.path, f"{name}/{first.array}")
    n = shape[TRAJECTORY]
    space = tuple(axis for axis in AXES if axis in shape)
    columns = {key: _column(file.path, group, key, n) for key in PARAMETERS if key in group}
    grid, spacings = _grid(file.path, group, shape, space, "tracer" in fields)
    columns.update(spacings)
    return ArraySource(
        file=file,
        header=Header(
            axes=space,
            grid=grid,
            times=_times(file.path, group, n, shape[TIME]),
            rows=range(n),
            parameter_names=tuple(columns),
            parameters=np.array([*columns.values()]).reshape(-1, n).T,
            provenance={"source": "PDEArena"},
        ),
        channels={
            key: Variable(f"{name}/{item.array}", item.axes, item.at)
            for key, item in fields.items()
        },
    )


def _column(path: Path, group: guard.Group, name: str, n: int) -> np.ndarray:
    values = group[name].numbers()
    if values.size != n:
        raise ValueError(f"{path}: {name!r} must have {n} entries; got shape {values.shape}")
    return values.reshape(n)


def _times(path: Path, group: guard.Group, n: int, frames: int) -> np.ndarray:
    """(n, T); numbers from 0 where the file does not say."""
    if "t" not in group:
        return np.arange(frames, dtype=np.float64)
    times = group["t"].numbers()
    if times.shape not in ((n, frames), (frames,)):
        raise ValueError(f"{path}: 't' must have shape {(n, frames)}; got {times.shape}")
    times = np.broadcast_to(times, (n, frames)).copy()
    if "dt" in group:
        steps = _column(path, group, "dt", n)
        for row, step in zip(times, steps, strict=True):
            found = spacing(row)
            if np.isfinite(step) and step > 0 and found and abs(found - step) > 1e-2 * step:
                row[:] = row[0] + step * np.arange(frames)
    return times


def _grid(
    path: Path,
    group: guard.Group,
    shape: Mapping[str, int],
    space: Sequence[str],
    wall: bool,
) -> tuple[Grid, dict[str, np.ndarray]]:
    """The grid, and the spacings of each trajectory along axes where they differ."""
    lengths, origin, spacings = [], [], {}
    for axis in space:
        rows = np.atleast_2d(group[axis].numbers()) if axis in group else None
        if rows is not None and rows.shape[1] != shape[axis]:
            raise ValueError(
                f"{path}: {axis!r} must have {shape[axis]} points; got shape {rows.shape}"
            )
        if rows is None or (rows != rows[0]).any():
            length, first = 1.0, 0.0
            if rows is not None:
                spacings[f"d{axis}"] = (rows[:, -1] - rows[:, 0]) / max(shape[axis] - 1, 1)
        else:
            length, first = extent(path, axis, rows[0])
        lengths.append(length)
        origin.append(first)
    kind = "wall" if wall else "periodic"
    counts = tuple(shape[axis] for axis in space)
    return Grid(counts, tuple(lengths), (kind,) * len(space), tuple(origin)), spacings


FURTHER = ("u", "vx", "vy", "vz", *AXES, "t", "dt", "dx", "dy", "dz", *PARAMETERS, "h_field")


def doubts(path: Path) -> str:
    """Arrays like those of the layout that it does not have."""
    with metadata(path) as root:
        axes, known = {}, []
        for group in (name for name in SPLITS if name in root):
            for item in _fields(root[group]).values():
                axes[f"{group}/{item.array}"] = item.axes
            known += [f"{group}/{name}" for name in FURTHER]
    return contents.doubts(path, axes, known)


LAYOUT = Layout("PDEArena", matches, open_file, VARIANTS, doubts)
