"""Which dimensions of an `xarray.Dataset` are time, space and samples, and their grid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray

from .grid import BOUNDARIES, Grid, spacing
from .units import conversion, unit_of

TIMES = ("time", "t", "lead_time", "valid_time")
DIRECTIONS = {
    **dict.fromkeys(("x", "lon", "longitude"), "X"),
    **dict.fromkeys(("y", "lat", "latitude"), "Y"),
    **dict.fromkeys(("z", "depth", "level", "height"), "Z"),
}
AROUND = 360.0  # degrees


@dataclass(frozen=True)
class Dims:
    """The dimensions of a variable.

    Attributes:
        samples: those that count samples: trajectories, members, ….
        time: of the frames; None: there is one frame.
        space: of the grid's axes, in the operator's order.
        order: all of them as the data have them.
    """

    samples: tuple[str, ...]
    time: str | None
    space: tuple[str, ...]
    order: tuple[str, ...]


def find_dims(data: xarray.Dataset, name: str, ndim: int, axes: Sequence[str] = ()) -> Dims:
    """The dimensions of a field.

    Time is the dimension of that name, of dates, or of CF's axis T. Space are those named as the
    training data's axes; else the ones that are named as coordinates, or of CF's axes X, Y, Z, in
    the order that these have in the training data where it is known; else the last ones. What is
    left counts samples.

    Args:
        data: has the field.
        name: the field.
        ndim: number of space axes.
        axes: their names in the training data, in order; () if unknown.

    Raises:
        ValueError: there are too few dimensions.
    """
    order = tuple(str(dim) for dim in data[name].dims)
    timely = [dim for dim in order if _is_time(data, dim)]
    time = TIMES[0] if TIMES[0] in timely else next(iter(timely), None)
    rest = [dim for dim in order if dim != time]
    if len(rest) < ndim:
        raise ValueError(
            f"{name} has the dimension(s) {', '.join(order)}, and the operator works in {ndim}D: "
            f"it needs {ndim} of space" + (f" beside {time}" if time else "")
        )
    known = [dim for dim in rest if _is_space(data, dim)]
    if axes and set(axes) <= set(rest):
        space = tuple(axes)
    elif len(known) == ndim:
        space = _as_trained(data, known, axes)
    else:
        space = tuple(rest[-ndim:])
    samples = tuple(dim for dim in rest if dim not in space)
    return Dims(samples, time, space, order)


def _as_trained(data: xarray.Dataset, dims: Sequence[str], axes: Sequence[str]) -> tuple[str, ...]:
    """Dimensions of space in the order of the training data's axes, where both say which is which:
    x or longitude, y or latitude, z."""
    wanted = [DIRECTIONS.get(axis.lower(), "") for axis in axes]
    found = {_direction(data, dim): dim for dim in dims}
    if len(found) == len(dims) and set(found) == set(wanted):
        return tuple(found[direction] for direction in wanted)
    return tuple(dims)


def _direction(data: xarray.Dataset, dim: str) -> str:
    about = data.coords[dim].attrs if dim in data.coords else {}
    return DIRECTIONS.get(dim.lower(), str(about.get("axis", "")))


def time_of(data: xarray.Dataset, name: str) -> str | None:
    """The dimension of a variable along which it varies in time; None: it has none."""
    return next((str(dim) for dim in data[name].dims if _is_time(data, str(dim))), None)


def grid_of(
    data: xarray.Dataset, space: Sequence[str], unit: str | None, trained: Grid | None
) -> Grid:
    """The grid on which the data lie, by their coordinates.

    Boundaries are those of the attribute `boundary`, as a store's has it, else the training
    grid's; else longitudes that go around are periodic and all other axes open. Where an axis has
    no coordinate, the training grid's is taken.

    Args:
        data: has the dimensions.
        space: dimensions of the axes, in order.
        unit: of the operator's lengths, where known.
        trained: the training grid; None if there were several.

    Raises:
        ValueError: an axis is not uniform, or has no coordinate and another number of points.
    """
    shape = tuple(data.sizes[dim] for dim in space)
    bare = [dim for dim in space if dim not in data.coords]
    if bare and (trained is None or trained.shape != shape):
        raise ValueError(
            f"{', '.join(bare)} needs coordinates (data.assign_coords): the grid is "
            "not that of the training data"
        )
    steps, origin = [], []
    for axis, dim in enumerate(space):
        if dim in data.coords:
            first, step = _axis(data, dim, unit)
        else:
            assert trained is not None, "told above"
            first, step = trained.origin[axis], trained.spacing[axis]
        steps.append(step)
        origin.append(first)
    lengths = tuple(step * n for step, n in zip(steps, shape, strict=True))
    return Grid(shape, lengths, _boundary(data, space, trained), tuple(origin))


def _axis(data: xarray.Dataset, dim: str, unit: str | None) -> tuple[float, float]:
    """First coordinate and step of an axis, in the operator's unit of length."""
    coordinate = data.coords[dim]
    values = np.asarray(coordinate.values, np.float64)
    step = spacing(values)
    if len(values) < 2:
        raise ValueError(f"{dim} has {len(values)} point(s), and a grid has at least 2 of an axis")
    if step is None:
        raise ValueError(f"{dim} must increase in equal steps; use {_uniform(dim, values)}")
    own = unit_of(coordinate.attrs)
    found = conversion(own, unit) if own and unit and "1" not in (own, unit) else None
    scale = 1.0 if found is None else found[0]
    return float(values[0]) * scale, step * scale


def _uniform(dim: str, values: np.ndarray) -> str:
    """How an axis becomes uniform."""
    if spacing(values[::-1]) is not None:
        return f"data.sortby({dim!r})"
    for shift, shown in (
        (0.0, f"data[{dim!r}] % 360"),
        (180.0, f"(data[{dim!r}] + 180) % 360 - 180"),
    ):
        if dim.startswith("lon") and spacing(np.sort((values + shift) % AROUND)) is not None:
            return f"data.assign_coords({dim}={shown}).sortby({dim!r})"
    return f"data.interp({dim}=…) onto a uniform one"


def _boundary(data: xarray.Dataset, space: Sequence[str], trained: Grid | None) -> tuple[str, ...]:
    known = {*BOUNDARIES}
    by_axis = [str(data[dim].attrs.get("boundary", "")) for dim in space if dim in data.coords]
    if len(by_axis) == len(space) and {k for kind in by_axis for k in kind.split("-", 1)} <= known:
        return tuple(by_axis)
    stated: Any = data.attrs.get("boundary")
    if stated is not None:
        kinds = stated.split(",") if isinstance(stated, str) else np.atleast_1d(stated).tolist()
        names = [dim for dim in _natural(data, space) if dim in space]
        if len(kinds) == len(names):
            by_name = dict(zip(names, (str(kind).strip() for kind in kinds), strict=True))
            return tuple(by_name[dim] for dim in space)
    if trained is not None and trained.ndim == len(space):
        return trained.boundary
    return tuple("periodic" if _goes_around(data, dim) else "open" for dim in space)


def _natural(data: xarray.Dataset, space: Sequence[str]) -> list[str]:
    """The dimensions of space as a variable with all of them has them."""
    full = (v for v in data.variables.values() if set(space) <= set(v.dims))
    return [str(dim) for dim in next(full).dims]


def _goes_around(data: xarray.Dataset, dim: str) -> bool:
    if dim not in data.coords or "degree" not in unit_of(data.coords[dim].attrs):
        return False
    step = spacing(np.asarray(data.coords[dim].values, np.float64))
    around = step is not None and math.isclose(step * data.sizes[dim], AROUND, rel_tol=1e-3)
    return around and dim.startswith("lon")


def _is_time(data: xarray.Dataset, dim: str) -> bool:
    if dim in TIMES:
        return True
    if dim not in data.coords:
        return False
    values, about = data.coords[dim], data.coords[dim].attrs
    dates = values.dtype.kind in "Mm" or (values.dtype.kind == "O" and values.size > 0)
    return dates or _says(about, "axis", "T") or _says(about, "standard_name", "time")


def _is_space(data: xarray.Dataset, dim: str) -> bool:
    about = data.coords[dim].attrs if dim in data.coords else {}
    return dim.lower() in DIRECTIONS or str(about.get("axis", "")) in ("X", "Y", "Z")


def _says(about: Mapping[Any, Any], key: str, value: str) -> bool:
    return about.get(key) == value
