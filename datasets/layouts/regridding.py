"""Interpolation onto a uniform grid: weights are computed once and used frame by frame.

Every method is a linear map of the values of a frame, along one axis at a time, or along two that
share their coordinates (a curvilinear mesh). A point is missing where one of the points that its
value rests on is, and outside of a mesh.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy  # which loads its parts on use: most files need none of them
from jaxtyping import Bool, Float64

from .meshes import Mesh, corners

Method = Literal["linear", "nearest", "cubic"]
NEIGHBOURS = 4  # points that a cubic rests on, as far as missing ones are concerned


@dataclass(frozen=True)
class Line:
    """The points of one axis of the new grid: `low + j · length / count`."""

    count: int
    low: float
    length: float

    @property
    def points(self) -> Float64[np.ndarray, " n"]:
        """Their coordinates."""
        return self.low + self.length / self.count * np.arange(self.count)


@dataclass(frozen=True)
class Step:
    """One linear map, along one axis or two.

    Attributes:
        axes: the space axes.
        shape: points along them afterwards.
        matrix: (points after, points before), sparse where few points count.
        rests: the same shape, sparse: not 0 for the points that a value rests on.
        outside: of the points after, those that have no value; None: all have one.
    """

    axes: tuple[int, ...]
    shape: tuple[int, ...]
    matrix: Any
    rests: Any
    outside: Bool[np.ndarray, "..."] | None = None

    def along(self, matrix: Any, values: np.ndarray) -> np.ndarray:
        """A matrix times values (N, *S), along the axes of the step."""
        places = [1 + axis for axis in self.axes]
        first = [*range(len(places))]
        moved = np.moveaxis(values, places, first)
        rest = moved.shape[len(places) :]
        out = matrix @ np.ascontiguousarray(moved).reshape(matrix.shape[1], -1)
        return np.moveaxis(out.reshape(*self.shape, *rest), first, places)


@dataclass(frozen=True)
class Regridding:
    """From the points of a file to those of a uniform grid.

    Attributes:
        method: how.
        steps: one after the other; that of a mesh, which has an outside, is the last.
    """

    method: Method
    steps: tuple[Step, ...]

    def __call__(self, values: Float64[np.ndarray, "N *S"]) -> Float64[np.ndarray, "N *R"]:
        """The values at the points of the new grid, NaN where they are missing."""
        missing = np.isnan(values)
        gaps = bool(missing.any())
        if gaps:
            values = _filled(values, missing) if self.method == "cubic" else np.nan_to_num(values)
            missing = missing.astype(np.float64)
        for step in self.steps:
            values = step.along(step.matrix, values)
            missing = step.along(step.rests, missing) if gaps else missing
        if gaps:
            values[missing > 0] = np.nan
        for step in self.steps:
            if step.outside is not None:
                places = [1 + axis for axis in step.axes]
                np.moveaxis(values, places, [-2, -1])[..., step.outside] = np.nan
        return values


def _filled(values: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """The nearest value in place of what is missing, which a spline would spread everywhere."""
    out = np.nan_to_num(values)
    for frame, gaps in zip(out, missing, strict=True):
        if gaps.any() and not gaps.all():
            found: Any = scipy.ndimage.distance_transform_edt(gaps, None, False, True)
            frame[:] = frame[tuple(found)]  # the indices of the nearest one
    return out


def along_axis(
    axis: int,
    points: Float64[np.ndarray, " n"],
    line: Line,
    method: Method,
    period: float | None = None,
) -> Step:
    """The step along an axis with coordinates of its own.

    Args:
        axis: number of the space axis.
        points: where the values are, increasing.
        line: where they are wanted, between the first and the last point.
        method: how to interpolate.
        period: after which the axis begins again; None: it ends at its last point.

    Raises:
        ValueError: there are too few points for the method.
    """
    n = len(points)
    least = NEIGHBOURS if method == "cubic" else 2
    if n < least:
        raise ValueError(f"method {method} needs {least} points along each axis; got {n}")
    fold: Any = scipy.sparse.eye_array(n, format="csr")
    if period is not None:  # the first point once more, at the end
        points = np.append(points, points[0] + period)
        fold = scipy.sparse.vstack([fold, fold[:1]], format="csr")
    wanted = np.clip(line.points, points[0], points[-1])  # the ends, up to rounding
    near = _linear(points, wanted)
    if method == "linear":
        rests = matrix = near
    elif method == "nearest":
        middle = (points[1:] + points[:-1]) / 2
        rests = matrix = _ones(np.searchsorted(middle, wanted)[:, None], len(points))
    else:
        closed = "periodic" if period is not None else None
        spline: Any = scipy.interpolate.make_interp_spline(points, fold.toarray(), bc_type=closed)
        return Step((axis,), (line.count,), spline(wanted), _wider(near, period is not None) @ fold)
    return Step((axis,), (line.count,), matrix @ fold, rests @ fold)


def _linear(points: np.ndarray, wanted: np.ndarray) -> Any:
    """Weights of the two points on either side; of one where it is met."""
    knots = np.concatenate([points[:1], points, points[-1:]])
    weights = scipy.interpolate.BSpline.design_matrix(wanted, knots, 1).tocsr()
    weights.data = np.where(
        np.abs(weights.data - np.rint(weights.data)) < 1e-9, np.rint(weights.data), weights.data
    )
    weights.eliminate_zeros()
    return weights


def _wider(near: Any, periodic: bool) -> Any:
    """Two points on either side in place of one; still one where a point is met."""
    met = np.diff(near.indptr) == 1
    first = near.indices[near.indptr[:-1]]
    n = near.shape[1]
    around = first[:, None] + np.arange(-1, 3)
    around = around % (n - 1) if periodic else np.clip(around, 0, n - 1)
    return _ones(np.where(met[:, None], first[:, None], around), n)


def _ones(columns: np.ndarray, n: int) -> Any:
    """A sparse matrix of n columns that is 1 in the given columns of each row."""
    rows = np.repeat(np.arange(len(columns)), columns.shape[1])
    ones = scipy.sparse.coo_array(
        (np.ones(columns.size), (rows, columns.ravel())), (len(columns), n)
    )
    found = ones.tocsr()
    found.data[:] = 1.0
    return found


def over_mesh(axes: tuple[int, int], mesh: Mesh, lines: tuple[Line, Line], method: Method) -> Step:
    """The step along two axes whose points lie on a curvilinear mesh.

    In each cell the values are linear in each of two triangles; the nearest point is that of all.

    Args:
        axes: numbers of the space axes.
        mesh: where the values are.
        lines: where they are wanted.
        method: linear or nearest.

    Raises:
        ValueError: the method is another one, which meshes have not.
    """
    if method == "cubic":
        raise ValueError(
            "method cubic needs coordinates of each axis of its own; these are curvilinear: write "
            "linear or nearest"
        )
    counts = lines[0].count, lines[1].count
    size, n = counts[0] * counts[1], mesh.x.size
    found = [*corners(mesh, lines[0].points, lines[1].points)]
    places, index, weights = (np.concatenate(parts) for parts in zip(*found, strict=True))
    places, once = np.unique(places, return_index=True)  # neighbours share their edges
    index, weights = index[once], weights[once]
    outside = np.ones(size, bool)
    outside[places] = False
    if method == "nearest":
        wanted = np.stack(np.meshgrid(lines[0].points, lines[1].points, indexing="ij"), -1)
        index = mesh.nearest(wanted.reshape(-1, 2)[places])[:, None]
        weights = np.ones(index.shape)
    rows = np.repeat(places, index.shape[1])
    matrix = scipy.sparse.coo_array((weights.ravel(), (rows, index.ravel())), (size, n)).tocsr()
    matrix.eliminate_zeros()
    return Step(axes, counts, matrix, abs(matrix), outside.reshape(counts))


def blocks(count: int, values: int, most: int) -> Iterator[slice]:
    """Slices of `count` frames of `values` each, at most `most` values at a time."""
    step = max(1, most // max(values, 1))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
