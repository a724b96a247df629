"""The grid, as a description and the coordinates of a file say."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..fields.grid import BOUNDARIES, Grid, spacing
from .arrays import NUMERIC, TRAJECTORY, extent
from .described_arrays import DescribedArrays, read_order
from .described_faces import centre_points
from .description import Description
from .regridding import Regridding
from .unstructured import REMEDY, counts_places

SAME = 1e-5  # of the extent of an axis, up to which two domains are the same
TURN = 360.0  # degrees around the sphere
MESH = 1e-4  # of a step, up to which the lines of a mesh are the same


class Coordinates(NamedTuple):
    """What is known of the points of one axis.

    Attributes:
        axis: its name.
        points: (n,), from low to high, or of a mesh of two axes (n, m); None where only the ends
            are known.
        ends: the low end and the length, where there are no points.
        what: what says so, for messages.
        flipped: whether the file stores the axis from high to low.
        unit: of the points; "" if the file does not say it.
        longitude: whether they are degrees around the sphere.
        beside: of a mesh, its axes in their order.
    """

    axis: str
    points: np.ndarray | None = None
    ends: tuple[float, float] = (0.0, 1.0)
    what: str = ""
    flipped: bool = False
    unit: str = ""
    longitude: bool = False
    beside: tuple[str, ...] = ()


class Space(NamedTuple):
    """The grid of a file's fields.

    Attributes:
        grid: uniform.
        stored: points of the file per axis.
        flipped: the axes that the file stores from high to low.
        unit: of length; "" if the axes have none, or several.
        regridding: from the points of the file to those of the grid; None where they are the same.
        said: what the provenance says of that.
    """

    grid: Grid
    stored: tuple[int, ...]
    flipped: tuple[str, ...]
    unit: str
    regridding: Regridding | None = None
    said: dict[str, Any] = {}  # noqa: RUF012 (nothing changes it)


def coordinates(
    arrays: DescribedArrays, given: Description, axes: Sequence[str]
) -> list[Coordinates]:
    """The coordinates of the given space axes.

    Raises:
        ValueError: they do not fit the axes, or are not the same for all trajectories.
    """
    unknown = set(given.grid) - set(axes)
    if unknown:
        raise arrays.wrong(f"grid: no axis {', '.join(sorted(unknown))}; there are {axes}")
    return [_coordinates(arrays, given, axis) for axis in axes]


def kinds(arrays: DescribedArrays, given: Description, axes: Sequence[str]) -> tuple[str, ...]:
    """The boundary of each axis.

    Raises:
        ValueError: there is not one for each.
    """
    found = given.boundary
    found = [found] * len(axes) if isinstance(found, str) else found
    if len(found) != len(axes):
        raise arrays.wrong(f"boundary: one of {BOUNDARIES} for each axis {axes}; got {found}")
    return tuple(found)


def space(arrays: DescribedArrays, given: Description, known: Sequence[Coordinates]) -> Space:
    """The grid of axes whose points are uniform as they are.

    Raises:
        ValueError: they are not; the message says how they become so.
    """
    axes = [each.axis for each in known]
    lines = [_uniform(arrays, each, known) for each in known]
    counts = tuple(arrays.sizes[axis] for axis in axes)
    lows, lengths = (tuple(values) for values in zip(*lines, strict=True))
    return Space(
        Grid(counts, lengths, kinds(arrays, given, axes), lows),
        counts,
        tuple(each.axis for each in known if each.flipped),
        unit_of(known),
    )


def unit_of(known: Sequence[Coordinates]) -> str:
    """The unit of length; "" if the axes have none, or several."""
    units = {"degrees" if "degree" in each.unit else each.unit for each in known}
    return units.pop() if len(units) == 1 else ""


def differ(one: Sequence[Coordinates], other: Sequence[Coordinates]) -> str:
    """How the domain of some trajectories differs from that of others; "" if it does not."""
    for a, b in zip(one, other, strict=True):
        if a.points is None or b.points is None:
            continue
        same = a.points.shape == b.points.shape
        if not same or np.abs(a.points - b.points).max() > SAME * max(np.ptp(a.points), 1e-300):
            return f"{_told(a.points)} along {a.axis} in one, {_told(b.points)} in the other"
    return ""


def _told(points: np.ndarray) -> str:
    return f"{points.shape[-1]} points from {points.min():.6g} to {points.max():.6g}"


def _uniform(
    arrays: DescribedArrays, known: Coordinates, others: Sequence[Coordinates]
) -> tuple[float, float]:
    """First point and length of an axis."""
    points, axis = known.points, known.axis
    if points is None:
        return known.ends
    if points.ndim > 1:
        raise arrays.wrong(
            f"{known.what}: the coordinates of shape {points.shape} are curvilinear, not those of "
            f"{arrays.sizes[axis]} points along an axis; {_remedy(arrays, known, others)}"
        )
    if len(points) == 1:
        return float(points[0]), 1.0
    steps = np.diff(points)
    if np.isfinite(points).all() and spacing(points) is None:
        if (steps > 0).all():
            raise arrays.wrong(
                f"{known.what} of axis {axis!r} are not uniform (steps {steps.min():.6g} to "
                f"{steps.max():.6g}); {_remedy(arrays, known, others)}"
            )
        raise arrays.wrong(
            f"{known.what} of axis {axis!r} neither increase nor decrease: if they are places of "
            f"an unstructured mesh, {REMEDY}; else leave them out, grid: {{{axis}: [low, high]}}"
        )
    length, low = extent(arrays.path, axis, points)
    return low, length


def _remedy(arrays: DescribedArrays, known: Coordinates, others: Sequence[Coordinates]) -> str:
    """How axes become uniform, in a description that is there, or is to be drafted."""
    counts = "×".join(str(arrays.sizes[each.axis]) for each in others)
    return (
        f"interpolate to a uniform grid, regrid: {{to: {counts}}}{arrays.drafted}, or number the "
        f"points by the ends of the axis, grid: {{{known.axis}: [low, high]}}"
    )


def _coordinates(arrays: DescribedArrays, description: Description, axis: str) -> Coordinates:
    """The coordinates of an axis: as given, else those that the file has for it, else [0, 1]."""
    given = description.grid.get(axis)
    if given is None:
        name = _own(arrays, axis)
        if name:
            return _points(arrays, axis, name, f"the coordinates {name!r}")
        if axis in arrays.faces:
            line = arrays.faces[axis]
            faces = np.asarray(arrays.values(line.name, axis), np.float64)
            what = f"the coordinates {line.name!r}"
            return _line(arrays, axis, line.name, centre_points(faces, line.ends), what)
        if counts_places(arrays.dims.get(axis, "") or axis) and len(arrays.order) == 1:
            raise arrays.wrong(
                f"{axis!r} counts the places of an unstructured mesh, which is not read: {REMEDY}; "
                f"if they lie in a row, say their ends: grid: {{{axis}: [low, high]}}"
            )
        return Coordinates(axis)
    if isinstance(given, str):
        return _points(arrays, axis, given, f"grid.{axis}: {given!r}")
    if len(given) != 2 or not given[1] > given[0]:
        raise arrays.wrong(f"grid.{axis}: two ends, low and high; got {given}")
    return Coordinates(axis, ends=(float(given[0]), float(given[1] - given[0])))


def _own(arrays: DescribedArrays, axis: str) -> str:
    """The array of a file with the coordinates of an axis; "" if there is none."""
    name = arrays.coordinates.get(axis, "") or axis
    if "*" in name:
        return name
    shape = arrays.shapes.get(name, ())
    n = arrays.sizes[axis]
    if shape not in ((n,), (n, 1), (1, n)):
        return ""
    if name == axis and not arrays.coordinates.get(axis) and arrays.coordinate(axis, axis) != axis:
        return ""  # the length of a dimension, no coordinates
    return name if arrays.file.array(name).dtype.kind in NUMERIC else ""


def _points(arrays: DescribedArrays, axis: str, name: str, what: str) -> Coordinates:
    """The coordinates of an axis from an array: of its points, of each trajectory, or of a mesh."""
    points = np.asarray(arrays.values(name, f"grid.{axis}"), np.float64)
    n = arrays.sizes[axis]
    if "*" in name:
        points = _one_of(arrays, axis, points, what, arrays.groups)
    if points.size == n:
        return _line(arrays, axis, name, points.reshape(-1), what)
    if points.shape == (n + 1,):  # the edges of cells
        return _line(arrays, axis, name, (points[1:] + points[:-1]) / 2, what)
    count = arrays.sizes.get(TRAJECTORY, 1)
    mesh = _mesh_axes(arrays, name, points.shape)
    if points.shape == (count, n) and (not mesh or (points == points[0]).all()):
        points = _one_of(arrays, axis, points, what, range(count))
        return _line(arrays, axis, name, points, what)
    if not mesh or axis not in mesh:
        raise arrays.wrong(f"grid.{axis}: {name!r} must have {n} points; got shape {points.shape}")
    return _of_mesh(arrays, axis, name, points, mesh, what)


def _line(
    arrays: DescribedArrays, axis: str, name: str, points: np.ndarray, what: str
) -> Coordinates:
    unit = arrays.attribute(name, "units")
    around = _longitude(arrays, name, unit)
    if around and np.isfinite(points).all():
        points = _unwrapped(points)
    flipped = len(points) > 1 and bool((np.diff(points) < 0).all())
    points = points[::-1] if flipped else points
    return Coordinates(axis, points, (0.0, 1.0), what, flipped, unit, around)


def _unwrapped(points: np.ndarray) -> np.ndarray:
    """Longitudes that jump by a turn in between (350, 355, 0, 5), without the jump."""
    steps = np.diff(points)
    if (steps > 0).all() or (steps < 0).all():
        return points
    smooth = np.unwrap(points, period=TURN)
    steps = np.diff(smooth)
    return smooth if (steps > 0).all() or (steps < 0).all() else points


def _longitude(arrays: DescribedArrays, name: str, unit: str) -> bool:
    key = arrays.key(name)
    east = arrays.role_of(key, key.rpartition("/")[2]) == "x"
    return unit.lower().startswith("degree") and (east or "east" in unit.lower() or "lon" in key)


def _one_of(
    arrays: DescribedArrays, axis: str, rows: np.ndarray, what: str, names: Sequence[object]
) -> np.ndarray:
    """The coordinates that all trajectories share.

    Raises:
        ValueError: they do not share them.
    """
    first = rows[0]
    size = SAME * max(float(np.ptp(first)), 1e-300)
    apart = np.abs(rows - first).reshape(len(rows), -1).max(axis=1)
    other = int(np.argmax(~(apart <= size))) if rows.size else 0
    if other:
        raise arrays.wrong(
            f"{what}: trajectories have domains of their own, {_told(first)} along {axis} in "
            f"{names[0]}, {_told(rows[other])} in {names[other]}; a dataset has one: keep those of "
            f"each domain in a dataset of its own (of groups, such as "
            f"fields: {{u: '{names[other]}/u'}}), and train on all as a mixture"
        )
    return first


def _mesh_axes(arrays: DescribedArrays, name: str, shape: Sequence[int]) -> tuple[str, ...]:
    """The space axes of coordinates on a mesh, in the order of the array; () if it is none."""
    if len(shape) < 2 or len(shape) > len(arrays.order):
        return ()
    dims = arrays.file.dimensions(arrays.key(name))
    named = {dim: axis for axis, dim in arrays.dims.items() if dim}
    if dims and all(dim in named for dim in dims):
        return tuple(named[dim] for dim in dims)
    orders = itertools.permutations(arrays.order, len(shape))  # the order of the file first
    fitting = (axes for axes in orders if [arrays.sizes[axis] for axis in axes] == [*shape])
    return next(fitting, ())


def _of_mesh(
    arrays: DescribedArrays,
    axis: str,
    name: str,
    points: np.ndarray,
    mesh: tuple[str, ...],
    what: str,
) -> Coordinates:
    """The coordinates of an axis on a mesh: one line where they vary along it alone."""
    for place, along in enumerate(mesh):
        lines = np.moveaxis(points, place, -1).reshape(-1, points.shape[place])
        step = np.abs(np.diff(lines[0])).max(initial=0.0)
        if step and np.ptp(lines, axis=0).max() <= MESH * step:
            if along != axis:
                raise arrays.wrong(
                    f"{what} vary along {along!r}, not along {axis!r}; are `axes` in the order of "
                    f"the file, {[*mesh]}, or is it the other axis' array?"
                )
            return _line(arrays, axis, name, lines[0], what)
    if points.ndim > 2:
        raise arrays.wrong(
            f"{what}: coordinates of shape {points.shape} are curvilinear along three axes, which "
            f"is not read: {REMEDY}"
        )
    ordered = tuple(each for each in read_order(arrays.order) if each in mesh)
    points = points if ordered == mesh else points.T
    unit = arrays.attribute(name, "units")
    around = _longitude(arrays, name, unit)
    return Coordinates(axis, points, (0.0, 1.0), what, False, unit, around, ordered)
