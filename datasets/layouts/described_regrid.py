"""The uniform grid onto which a description has fields interpolated."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..fields.grid import Grid, spacing
from .described_arrays import DescribedArrays
from .described_grid import TURN, Coordinates, Space, kinds, unit_of
from .description import Description, Regrid
from .meshes import Mesh
from .regridding import Line, Regridding, along_axis, over_mesh
from .unstructured import REMEDY

MOST = 2**24  # points of a grid that are interpolated to
TIMES = re.compile(r"\s*[×xX*]\s*")


def regridded(arrays: DescribedArrays, given: Description, known: Sequence[Coordinates]) -> Space:
    """The grid that `regrid` asks for, and the way to it.

    It reaches from the first point of each axis to the last, and no further.

    Raises:
        ValueError: points or spacings are not given for the axes, or coordinates are none.
    """
    asked = given.regrid
    assert asked is not None
    axes = [each.axis for each in known]
    wanted = _wanted(arrays, asked, axes)
    boundary = kinds(arrays, given, axes)
    pair = next((each.beside for each in known if each.beside), ())
    straight = {
        each.axis: _straight(arrays, each, boundary[number], wanted[each.axis])
        for number, each in enumerate(known)
        if each.axis not in pair
    }
    mesh, over = _mesh(arrays, known, pair, wanted) if pair else (None, {})
    lines = {axis: way.line for axis, way in straight.items()} | over
    counts = tuple(lines[axis].count for axis in axes)
    if math.prod(counts) > MOST:
        raise arrays.wrong(f"regrid.to: {counts} are more than {MOST} points; ask for fewer")
    try:
        steps = [
            along_axis(axes.index(axis), way.points, way.line, asked.method, way.period)
            for axis, way in straight.items()
            if spacing(way.points) is None or way.line.count != len(way.points)
        ]
        if mesh is not None:
            places = [axes.index(axis) for axis in over]
            two = tuple(over.values())
            steps.append(over_mesh((places[0], places[1]), mesh, (two[0], two[1]), asked.method))
    except ValueError as error:
        raise arrays.wrong(f"regrid: {error}") from None
    stored = tuple(arrays.sizes[axis] for axis in axes)
    lengths = tuple(lines[axis].length for axis in axes)
    lows = tuple(lines[axis].low for axis in axes)
    return Space(
        Grid(counts, lengths, boundary, lows),
        stored,
        tuple(each.axis for each in known if each.flipped and each.axis not in pair),
        unit_of(known),
        Regridding(asked.method, tuple(steps)),
        {"from": [*stored], "to": [*counts], "method": asked.method},
    )


def _wanted(
    arrays: DescribedArrays, asked: Regrid, axes: Sequence[str]
) -> dict[str, int | float | None]:
    """Axis -> points (a whole number) or spacing; None: as it is."""
    to = asked.to
    if isinstance(to, dict):
        unknown = sorted(set(to) - set(axes))
        if unknown:
            raise arrays.wrong(f"regrid.to: no axis {', '.join(unknown)}; there are {axes}")
        numbers = [to.get(axis) for axis in axes]
    elif isinstance(to, str):
        parts = TIMES.split(to.strip())
        numbers = [_number(part) for part in parts]
    else:
        numbers = [*to] if isinstance(to, list) else [to] * len(axes)
    valid = all(n is None or (n > 0 and (isinstance(n, float) or n > 1)) for n in numbers)
    if len(numbers) != len(axes) or not valid:
        raise arrays.wrong(
            f"regrid.to: for each of the axes {', '.join(axes)} its points (2 or more) or, with a "
            f"decimal point, its spacing, as in 64×64, [64, 64] or [0.5, 2.0]; got {to!r}"
        )
    return dict(zip(axes, numbers, strict=True))


def _number(text: str) -> int | float:
    """A number as it is typed; 0, which is refused, for any other text."""
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        return 0


def _points(arrays: DescribedArrays, known: Coordinates) -> np.ndarray:
    """The points of an axis, from its coordinates or its ends."""
    points, n = known.points, arrays.sizes[known.axis]
    if points is None:
        low, length = known.ends
        return low + length / n * np.arange(n)
    if not np.isfinite(points).all() or (np.diff(points) <= 0).any():
        raise arrays.wrong(
            f"{known.what} of axis {known.axis!r} neither increase nor decrease: if they are "
            f"places of an unstructured mesh, {REMEDY}; else give the ends of the axis, "
            f"grid: {{{known.axis}: [low, high]}}"
        )
    return points


def _period(
    arrays: DescribedArrays, known: Coordinates, points: np.ndarray, kind: str
) -> float | None:
    """After what an axis begins again; None for one that is not periodic."""
    if kind != "periodic":
        return None
    if known.longitude:
        return TURN
    step = spacing(points)
    if step is None:
        raise arrays.wrong(
            f"boundary: the points of {known.axis!r} are not uniform, and do not say its period; "
            f"write open for this axis, and it is interpolated between its first and last point"
        )
    return step * len(points)


class _Way(NamedTuple):
    """From the points of an axis to those of a line."""

    points: np.ndarray
    line: Line
    period: float | None


def _straight(
    arrays: DescribedArrays, known: Coordinates, kind: str, wanted: int | float | None
) -> _Way:
    """The way along an axis with coordinates of its own."""
    points = _points(arrays, known)
    period = _period(arrays, known, points, kind)
    if wanted is None and spacing(points) is None:
        raise arrays.wrong(f"regrid.to: say the points of {known.axis}, which is not uniform")
    wanted = len(points) if wanted is None else wanted
    line = line_between(float(points[0]), float(points[-1]), wanted, period)
    return _Way(points, line, period)


def line_between(low: float, high: float, wanted: int | float, period: float | None) -> Line:
    """A line of so many points, or of a spacing, from low to high or once around."""
    if period is not None:
        count = wanted if isinstance(wanted, int) else max(2, round(period / wanted))
        return Line(count, low, period)
    if isinstance(wanted, int):
        return Line(wanted, low, wanted * (high - low) / (wanted - 1))
    count = max(2, math.floor((high - low) / wanted * (1 + 1e-9)) + 1)
    return Line(count, low, count * wanted)


def _mesh(
    arrays: DescribedArrays,
    known: Sequence[Coordinates],
    pair: tuple[str, ...],
    wanted: dict[str, int | float | None],
) -> tuple[Mesh, dict[str, Line]]:
    """A mesh, and the points of its two axes on the new grid, that of its x first."""
    two = [each for each in known if each.axis in pair]
    apart = next((each for each in two if each.beside not in ((), pair)), None)
    left = next((axis for axis in pair if wanted[axis] is None), None)
    if apart or left:
        axis = left or pair[0]
        raise arrays.wrong(
            f"regrid.to: say the points of {axis}, whose coordinates are curvilinear"
        )
    shape = tuple(arrays.sizes[axis] for axis in pair)
    values = [_over(arrays, each, shape, at) for at, each in enumerate(two)]
    turning = next((at for at, each in enumerate(two) if each.longitude), 0)
    around = two[turning].longitude
    x_y = [array.T if turning else array for array in values]  # the axis that turns comes first
    mesh = Mesh(x_y[turning], x_y[1 - turning], TURN if around else None)
    if not (np.isfinite(mesh.x) & np.isfinite(mesh.y)).any():
        raise arrays.wrong(f"{two[0].what}: no point of the mesh has finite coordinates")
    low, high, whole = mesh.range()
    sizes = [wanted[axis] for axis in pair]
    first = sizes[turning]
    second = sizes[1 - turning]
    assert first is not None
    assert second is not None
    x = line_between(low, high, first, TURN if whole else None)
    y = line_between(float(np.nanmin(mesh.y)), float(np.nanmax(mesh.y)), second, None)
    return mesh, {pair[turning]: x, pair[1 - turning]: y}


def _over(
    arrays: DescribedArrays, known: Coordinates, shape: tuple[int, ...], at: int
) -> np.ndarray:
    """Coordinates of one axis of a mesh at all of its points."""
    if known.points is not None and known.points.ndim == 2:
        return known.points
    line = _points(arrays, known) if known.points is None else known.points
    line = line[::-1] if known.flipped else line
    return np.broadcast_to(np.expand_dims(line, 1 - at), shape)
