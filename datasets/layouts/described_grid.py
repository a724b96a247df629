"""The grid, as a description and the coordinates of a file say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..fields.grid import BOUNDARIES, Grid, spacing
from .arrays import NUMERIC, extent
from .described_arrays import DescribedArrays
from .description import Description

MANUAL = "or write its ends, grid: {%s: [low, high]}"


class Line(NamedTuple):
    """The coordinates of one axis: its extent, and how the file says them."""

    length: float
    origin: float
    flipped: bool = False
    unit: str = ""


class Space(NamedTuple):
    """The grid; the axes that the file stores from high to low; the unit of length, if one."""

    grid: Grid
    flipped: tuple[str, ...]
    unit: str


def space(arrays: DescribedArrays, given: Description, axes: Sequence[str]) -> Space:
    """The grid of the given space axes.

    Raises:
        ValueError: coordinates, ends or boundaries do not fit the axes.
    """
    unknown = set(given.grid) - set(axes)
    if unknown:
        raise arrays.wrong(f"grid: no axis {', '.join(sorted(unknown))}; there are {axes}")
    lines = [_line(arrays, given, axis, axes) for axis in axes]
    kinds = given.boundary
    kinds = [kinds] * len(axes) if isinstance(kinds, str) else kinds
    if len(kinds) != len(axes):
        raise arrays.wrong(f"boundary: one of {BOUNDARIES} for each axis {axes}; got {kinds}")
    counts = tuple(arrays.sizes[axis] for axis in axes)
    lengths, origin = tuple(line.length for line in lines), tuple(line.origin for line in lines)
    units = {"degrees" if "degree" in line.unit else line.unit for line in lines}
    return Space(
        Grid(counts, lengths, tuple(kinds), origin),
        tuple(axis for axis, line in zip(axes, lines, strict=True) if line.flipped),
        units.pop() if len(units) == 1 else "",
    )


def _line(
    arrays: DescribedArrays, description: Description, axis: str, axes: Sequence[str]
) -> Line:
    """The coordinates of an axis: as given, else those that the file has for it, else [0, 1]."""
    given = description.grid.get(axis)
    if given is None:
        name = _own(arrays, axis)
        if not name:
            return Line(1.0, 0.0)
        return _points(arrays, axis, name, arrays.values(name, axis), f"the coordinates {name!r}")
    if isinstance(given, str):
        points = arrays.values(given, f"grid.{axis}")
        points = _along(arrays, axis, axes, points)
        if points.shape[-1:] != (arrays.sizes[axis],):
            raise arrays.wrong(
                f"grid.{axis}: {given!r} must have {arrays.sizes[axis]} points; got shape "
                f"{points.shape}"
            )
        return _points(arrays, axis, given, points, f"grid.{axis}: {given!r}")
    if len(given) != 2 or not given[1] > given[0]:
        raise arrays.wrong(f"grid.{axis}: two ends, low and high; got {given}")
    return Line(float(given[1] - given[0]), float(given[0]))


def _own(arrays: DescribedArrays, axis: str) -> str:
    """The array of a file with the coordinates of an axis; "" if there is none."""
    name = arrays.coordinates.get(axis, "") or axis
    shape = arrays.shapes.get(name, ())
    n = arrays.sizes[axis]
    if shape not in ((n,), (n, 1), (1, n)):
        return ""
    if name == axis and not arrays.coordinates.get(axis) and arrays.coordinate(axis, axis) != axis:
        return ""  # the length of a dimension, no coordinates
    return name if arrays.file.array(name).dtype.kind in NUMERIC else ""


def _along(
    arrays: DescribedArrays, axis: str, axes: Sequence[str], points: np.ndarray
) -> np.ndarray:
    """Coordinates along one axis from those of a mesh, in any order of its axes."""
    n = arrays.sizes[axis]
    if points.shape in ((n, 1), (1, n)):
        return points.reshape(-1)
    rows = points.ndim == 2 and points.shape[1] == n and bool((points == points[0]).all())
    mesh = sorted(points.shape) == sorted(arrays.sizes[each] for each in axes)
    if points.ndim == 1 or rows or not mesh:
        return points
    for place, size in enumerate(points.shape):
        lines = np.moveaxis(points, place, -1).reshape(-1, size)
        if size == n and (lines == lines[0]).all() and (lines[0] != lines[0, 0]).any():
            return lines[0]
    raise arrays.wrong(
        f"grid.{axis}: the coordinates of shape {points.shape} are curvilinear, not those of "
        f"{n} points along an axis; regrid them to a uniform grid first, "
        f"{MANUAL % axis}"
    )


def _points(arrays: DescribedArrays, axis: str, name: str, points: np.ndarray, what: str) -> Line:
    points = np.asarray(points, np.float64)
    points = points.reshape(-1) if points.shape in ((1, points.size), (points.size, 1)) else points
    unit = arrays.attribute(name, "units")
    if points.ndim == 1 and len(points) == 1:
        return Line(1.0, float(points[0]), unit=unit)
    flipped = points.shape[-1] > 1 and bool((np.diff(points, axis=-1) < 0).all())
    points = points[..., ::-1] if flipped else points
    row = np.atleast_2d(points)[0]
    if np.isfinite(points).all() and spacing(row) is None and (np.diff(row) > 0).all():
        low, high = np.diff(row).min(), np.diff(row).max()
        raise arrays.wrong(
            f"{what} of axis {axis!r} are not uniform (steps {low:.6g} to {high:.6g}); resample "
            f"the data to a uniform grid, {MANUAL % axis}"
        )
    length, origin = extent(arrays.path, axis, points)
    return Line(length, origin, flipped, unit)
