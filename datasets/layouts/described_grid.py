"""The grid, as a description says."""

from __future__ import annotations

from collections.abc import Sequence

from ..fields.grid import BOUNDARIES, Grid
from .arrays import extent
from .described_arrays import DescribedArrays
from .description import Description


def grid(arrays: DescribedArrays, given: Description, space: Sequence[str]) -> Grid:
    """The grid of the given space axes.

    Raises:
        ValueError: coordinates, ends or boundaries do not fit the axes.
    """
    unknown = set(given.grid) - set(space)
    if unknown:
        raise arrays.wrong(f"grid: no axis {', '.join(sorted(unknown))}; there are {space}")
    lengths, origin = zip(*(_extent(arrays, given, axis) for axis in space), strict=True)
    kinds = given.boundary
    kinds = [kinds] * len(space) if isinstance(kinds, str) else kinds
    if len(kinds) != len(space):
        raise arrays.wrong(f"boundary: one of {BOUNDARIES} for each axis {space}; got {kinds}")
    counts = tuple(arrays.sizes[axis] for axis in space)
    return Grid(counts, lengths, tuple(kinds), origin)


def _extent(arrays: DescribedArrays, description: Description, axis: str) -> tuple[float, float]:
    """Length and origin of an axis."""
    given = description.grid.get(axis, [0.0, 1.0])
    if isinstance(given, str):
        points = arrays.values(given, f"grid.{axis}")
        if points.shape[-1:] != (arrays.sizes[axis],):
            raise arrays.wrong(
                f"grid.{axis}: {given!r} must have {arrays.sizes[axis]} points; got shape "
                f"{points.shape}"
            )
        return extent(arrays.path, axis, points)
    if len(given) != 2 or not given[1] > given[0]:
        raise arrays.wrong(f"grid.{axis}: two ends, low and high; got {given}")
    return float(given[1] - given[0]), float(given[0])
