"""PDEBench's files, read in place: every published family, 1D to 3D.

Two kinds. One array per quantity, (trajectory, time, *space), with `x-coordinate`, … and
`t-coordinate`, which has one entry more than there are frames; or one group per trajectory
(`0000`, …) with `data` (time, *space, channel), `grid/x`, … and the attribute `config` (YAML); the
incompressible flows lie between them. Coordinates are cell centres.

| family | fields | constant fields | parameters |
|---|---|---|---|
| advection, Burgers, 1D reaction–diffusion | u | | beta; Nu (viscosity · π); Nu, rho |
| compressible flow, 1D to 3D | density, pressure, velocity | | eta, zeta, M |
| Darcy flow (steady) | u | coefficient | beta |
| 2D diffusion–reaction | activator, inhibitor | | of `config` |
| 2D shallow water (radial dam break) | height | | of `config` |
| 1D diffusion–sorption | concentration | | of `config` |
| incompressible flow | velocity, tracer | force | of `config` |

Splits are those of the published loaders: of files with one array per quantity the first tenth is
`test` and the rest `train`; of files with a group per trajectory the last tenth is `test`. Files of
fewer than ten trajectories are not split.

The files do not say their boundary conditions. They follow from the family; for compressible
flow from the file's name (`trans`, shocks and shock tubes, blast waves: open; Kelvin–Helmholtz:
periodic in x; else periodic), or from `layout="PDEBench:open"` (`periodic`, `wall`).

Source: Takamoto et al., arXiv 2210.07182, and its generators.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..fields.grid import BOUNDARIES, Grid
from ..fields.vocabulary import AXES, SPLITS
from ..files import guard
from ..files.hdf5 import Hdf5File, metadata, text
from . import doubts as contents
from .arrays import (
    TIME,
    TRAJECTORY,
    ArraySource,
    Variable,
    component,
    constant_parameters,
    extent,
    number,
    sizes,
)
from .layout import Layout
from .source import Header

VARIANTS = BOUNDARIES
VELOCITIES = ("Vx", "Vy", "Vz")
OPEN = ("trans", "sod", "shock", "blast")  # parts of the names of files with open boundaries
# Entries of `config` that say where and how long was simulated, not what.
NUMERICAL = {"seed", "n", "t", "tdim", "T_end", "n_time_steps", "label", "n_steps", "n_batch"} | {
    f"{axis}{what}" for axis in AXES for what in ("dim", "_left", "_right", "_bottom", "_top")
}
INCOMPRESSIBLE = ("NU", "DT", "scale", "smoothness", "force_scale", "force_smoothness")


def matches(path: Path) -> bool:
    """Whether a file has one of PDEBench's layouts, by its contents."""
    try:
        with metadata(path) as root:
            return _family(root) is not None
    except ValueError:
        return False


def open_file(path: Path, split: str, variant: str = "") -> Mapping[str, ArraySource]:
    """The sources of a file by split; `variant` is the boundary, where the file's name misleads.

    Raises:
        ValueError: the file is damaged, or a part of the layout is missing or does not fit.
    """
    with metadata(path) as root:
        family = _family(root)
        if family is None:
            raise ValueError(f"{path} has none of PDEBench's layouts")
        source = family(path, root, variant)
    n = len(source)
    if split in SPLITS or n < 10:  # the folder says it, or there are too few
        return {split: source}
    if family is _groups:
        first = int(n * 0.9)
        return {"train": source.part(slice(first)), "test": source.part(slice(first, n))}
    return {"test": source.part(slice(n // 10)), "train": source.part(slice(n // 10, n))}


def _family(root: guard.Group) -> Any:
    """The function that opens the file."""
    names = set(itertools.islice(root, 64))
    if {"tensor", "x-coordinate"} <= names:
        return _scalar
    if {"density", "pressure", "Vx", "x-coordinate"} <= names:
        return _compressible
    if {"velocity", "particles", "t"} <= names:
        return _incompressible
    first = root[min(names)] if names else None
    is_group = isinstance(first, guard.Group) and "data" in first and "grid/t" in first
    return _groups if is_group else None


# ---------------------------------------------------------------- one array per quantity


def _scalar(path: Path, root: guard.Group, variant: str) -> ArraySource:
    """`tensor`: advection, Burgers, reaction–diffusion; with `nu` Darcy flow."""
    space = AXES[: len(root["tensor"].shape) - 2]
    axes = (TRAJECTORY, TIME, *space)
    shape = sizes(root["tensor"], axes, path, "tensor")
    steady = "nu" in root
    constant = {"coefficient": Variable("nu", (TRAJECTORY, *space))} if steady else {}
    names = [name for name in ("beta", "Nu", "rho") if name in root.attrs]
    return _arrays(
        path,
        root,
        shape,
        [variant or ("wall" if steady else "periodic")] * len(space),
        {"u": Variable("tensor", axes)},
        constant,
        names,
    )


def _compressible(path: Path, root: guard.Group, variant: str) -> ArraySource:
    space = AXES[: len(root["density"].shape) - 2]
    axes = (TRAJECTORY, TIME, *space)
    shape = sizes(root["density"], axes, path, "density")
    arrays = {"density": "density", "pressure": "pressure"}
    arrays.update({f"velocity_{axis}": f"V{axis}" for axis in space})
    names = [name for name in ("eta", "zeta", "M") if name in root.attrs]
    return _arrays(
        path,
        root,
        shape,
        [variant] * len(space) if variant else _boundary(path, len(space)),
        {name: Variable(array, axes) for name, array in arrays.items()},
        {},
        names,
    )


def _boundary(path: Path, ndim: int) -> list[str]:
    name = path.stem.lower()
    if name.startswith("kh"):
        return ["periodic", *["open"] * (ndim - 1)]
    return ["open" if any(part in name for part in OPEN) else "periodic"] * ndim


def _arrays(
    path: Path,
    root: guard.Group,
    shape: dict[str, int],
    boundary: Sequence[str],
    channels: dict[str, Variable],
    constant: dict[str, Variable],
    parameters: Sequence[str],
) -> ArraySource:
    space = tuple(axis for axis in shape if axis in AXES)
    points = {axis: root[f"{axis}-coordinate"] for axis in space}
    attributes = {name: number(path, name, root.attrs[name]) for name in parameters}
    return ArraySource(
        file=Hdf5File(path),
        header=Header(
            axes=space,
            grid=_grid(path, points, shape, boundary),
            times=_times(path, root, shape[TIME]),
            rows=range(shape[TRAJECTORY]),
            provenance={"source": "PDEBench"},
            **constant_parameters(attributes, shape[TRAJECTORY]),
        ),
        channels=channels,
        constant_channels=constant,
    )


def _times(path: Path, root: guard.Group, frames: int) -> np.ndarray:
    """Times of the frames; `t-coordinate` has one more. A single frame is a steady state."""
    return np.zeros(1) if frames == 1 else _leading(path, root["t-coordinate"], frames)


def _leading(path: Path, dataset: guard.Dataset, frames: int) -> np.ndarray:
    times = dataset.numbers()
    if times.shape not in ((frames,), (frames + 1,)):
        raise ValueError(
            f"{path}: there must be {frames} or {frames + 1} times for {frames} frames; got shape "
            f"{times.shape}"
        )
    return times[:frames]


def _grid(
    path: Path, points: Mapping[str, Any], shape: Mapping[str, int], boundary: Sequence[str]
) -> Grid:
    lengths, origin = [], []
    for axis, dataset in points.items():
        if dataset.shape != (shape[axis],):
            raise ValueError(
                f"{path}: the coordinates of axis {axis!r} must have shape {(shape[axis],)}; got "
                f"{dataset.shape}"
            )
        length, first = extent(path, axis, dataset[()])
        lengths.append(length)
        origin.append(first)
    counts = tuple(shape[axis] for axis in points)
    return Grid(counts, tuple(lengths), tuple(boundary), tuple(origin))


# ---------------------------------------------------------------- one group per trajectory


def _groups(path: Path, root: guard.Group, variant: str) -> ArraySource:
    """Diffusion–reaction, shallow water, diffusion–sorption."""
    names = tuple(sorted(root))
    first = root[names[0]]
    points = {axis: first[f"grid/{axis}"] for axis in AXES if f"grid/{axis}" in first}
    stored = first["data"].shape
    if len(stored) != len(points) + 2:
        raise ValueError(
            f"{path}: 'data' must have the axes (time, {', '.join(points)}, channel); got shape "
            f"{stored}"
        )
    configs = [_config(root[name]) for name in names]
    family = _group_family(stored, len(points), configs[0])
    order = _space_order(stored, points, family)
    axes = (TIME, *order, "channel")
    shape = sizes(first["data"], axes, path, "data")
    fields, boundary = FAMILIES.get(family) or (
        tuple(f"u_{i}" for i in range(shape["channel"])) if shape["channel"] > 1 else ("u",),
        "open",
    )
    if shape["channel"] < len(fields):
        raise ValueError(f"{path}: {family} has the fields {fields}; got {shape['channel']}")
    keys, table = _table(path, names, configs)
    return ArraySource(
        file=Hdf5File(path),
        header=Header(
            axes=tuple(points),
            grid=_grid(path, points, shape, [variant or boundary] * len(points)),
            times=_leading(path, first["grid/t"], shape[TIME]),
            rows=range(len(names)),
            parameter_names=keys,
            parameters=table,
            provenance={"source": "PDEBench", "config": configs[0]},
        ),
        channels={name: component("data", axes, i) for i, name in enumerate(fields)},
        groups=names,
    )


FAMILIES = {
    "diffusion-reaction": (("activator", "inhibitor"), "wall"),
    "shallow water": (("height",), "open"),
    "diffusion-sorption": (("concentration",), "wall"),
}


def _group_family(stored: Sequence[int], ndim: int, config: Mapping[str, Any]) -> str:
    """By the configuration's name, else by the numbers of axes and channels."""
    name = str(config.get("name", "")).lower()
    for part, family in (("react", "diffusion-reaction"), ("sorp", "diffusion-sorption")):
        if part in name:
            return family
    if "rdb" in name:
        return "shallow water"
    known = {(2, 2): "diffusion-reaction", (2, 1): "shallow water", (1, 1): "diffusion-sorption"}
    return known.get((ndim, stored[-1]), "unknown")


def _space_order(stored: Sequence[int], points: Mapping[str, Any], family: str) -> tuple[str, ...]:
    """Space axes as stored: diffusion–reaction is written (time, y, x, channel)."""
    usual = tuple(points)
    order = usual[::-1] if family == "diffusion-reaction" else usual
    for candidate in (order, order[::-1]):
        if all(points[axis].shape == (n,) for axis, n in zip(candidate, stored[1:], strict=False)):
            return candidate
    return order


def _config(group: guard.Group) -> dict[str, Any]:
    """The configuration of a trajectory's simulation; empty if there is none."""
    return _parse(text(group.attrs.get("config", "")))


def _parse(stored: str) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        found = json.loads(json.dumps(yaml.load(stored, loader), default=str))
    except (yaml.YAMLError, TypeError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _table(
    path: Path, names: Sequence[str], configs: Sequence[Mapping[str, Any]]
) -> tuple[tuple[str, ...], np.ndarray]:
    """Physical parameters that all trajectories have: names and (n, P)."""
    found = [dict(_physical(config)) for config in configs]
    keys = tuple(key for key in found[0] if all(key in entry for entry in found))
    return keys, np.array([[entry[key] for key in keys] for entry in found]).reshape(len(names), -1)


def _physical(config: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    entries = config.get("sim")
    for key, value in entries.items() if isinstance(entries, dict) else ():
        if key not in NUMERICAL and not isinstance(value, bool):
            try:  # PyYAML reads 1E-3 as text
                found = float(value)
            except (TypeError, ValueError):
                continue
            if math.isfinite(found):
                yield str(key), found


# ---------------------------------------------------------------- incompressible flow


def _incompressible(path: Path, root: guard.Group, variant: str) -> ArraySource:
    """A file is one batch; frames after `latestIndex` were not written yet."""
    space = AXES[: len(root["velocity"].shape) - 3]
    axes = (TRAJECTORY, TIME, *space, "channel")
    shape = sizes(root["velocity"], axes, path, "velocity")
    config = _parse(text(root.attrs.get("config", "")))
    last = int(number(path, "latestIndex", root.attrs.get("latestIndex", -1)))
    frames = shape[TIME] if last < 0 else min(shape[TIME], last + 1)
    times = root["t"].numbers()
    if times.shape != (shape[TRAJECTORY], shape[TIME]):
        raise ValueError(f"{path}: 't' must have shape {(shape[TRAJECTORY], shape[TIME])}")
    force = {
        f"force_{axis}": component("force", (TRAJECTORY, *space, "channel"), i)
        for i, axis in enumerate(space if "force" in root else ())
    }
    channels = {f"velocity_{axis}": component("velocity", axes, i) for i, axis in enumerate(space)}
    domain = config.get("domain_size")
    lengths = domain if isinstance(domain, list) and len(domain) == len(space) else [1] * len(space)
    values = {key: number(path, key, config[key]) for key in INCOMPRESSIBLE if key in config}
    return ArraySource(
        file=Hdf5File(path),
        header=Header(
            axes=space,
            grid=_cells(path, [shape[axis] for axis in space], lengths, variant or "wall"),
            times=times[:, :frames],
            rows=range(shape[TRAJECTORY]),
            provenance={"source": "PDEBench", "config": config},
            **constant_parameters(values, shape[TRAJECTORY]),
        ),
        channels={**channels, "tracer": component("particles", axes, 0)},
        constant_channels=force,
    )


def _cells(path: Path, counts: Sequence[int], lengths: Sequence[Any], boundary: str) -> Grid:
    """A box from 0 with points at cell centres."""
    extents = [number(path, "domain_size", length) for length in lengths]
    origin = tuple(length / n / 2 for length, n in zip(extents, counts, strict=True))
    return Grid(tuple(counts), tuple(extents), (boundary,) * len(counts), origin)


COORDINATES = tuple(f"{axis}-coordinate" for axis in (*AXES, "t"))
KNOWN = (*COORDINATES, "density", "pressure", *VELOCITIES, "velocity", "force", "particles", "t")


def doubts(path: Path) -> str:
    """Arrays like those of the layout that it does not have."""
    with metadata(path) as root:
        names = ("density", "velocity")
        axes = {
            name: (TRAJECTORY, TIME, *([""] * (len(root[name].shape) - 2)))
            for name in names
            if isinstance(root.get(name), guard.Dataset) and len(root[name].shape) > 2
        }
    return contents.doubts(path, axes, KNOWN) if axes else ""


LAYOUT = Layout("PDEBench", matches, open_file, VARIANTS, doubts)
