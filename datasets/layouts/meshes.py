"""Curvilinear meshes: points x[i, j], y[i, j] and the cells between neighbours.

Values are known in the cells alone: what lies in a hole of a mesh, or in a bay of its outline, is
outside. Longitudes may jump by a whole turn from one point to the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy  # which loads its parts on use
from jaxtyping import Float64, Int64

CHUNK = 2**16  # triangles that are looked at together
FLAT = 1e-12  # area of a triangle over that of its box that is none
EDGE = 1e-9  # by how much of a triangle a point on its edge may lie outside, by rounding


@dataclass(frozen=True)
class Mesh:
    """A mesh of points; one whose coordinates are not finite does not exist.

    Attributes:
        x, y: coordinates of the points.
        turn: after which x begins again (longitudes: 360); None: never.
    """

    x: Float64[np.ndarray, "n m"]
    y: Float64[np.ndarray, "n m"]
    turn: float | None = None

    def range(self) -> tuple[float, float, bool]:
        """Lowest and highest x, and whether x goes all around.

        A mesh that crosses the place where longitudes jump has its range across it.
        """
        x = self.x[np.isfinite(self.x)]
        if self.turn is None:
            return float(x.min()), float(x.max()), False
        inside = np.unique(x % self.turn)
        gaps = np.diff(inside, append=inside[0] + self.turn)
        widest = int(gaps.argmax())
        if gaps[widest] <= 2 * self.width():
            return float(x.min()), float(x.min()) + self.turn, True
        low = inside[(widest + 1) % len(inside)]
        shift = self.turn * np.round((x.min() - low) / self.turn)  # as the file counts
        high = inside[widest] + self.turn * (inside[widest] < low)
        return float(low + shift), float(high + shift), False

    def width(self) -> float:
        """The usual extent of a cell along x."""
        steps = [np.abs(self._turned(np.diff(self.x, axis=axis))) for axis in (0, 1)]
        return max(float(np.nanmedian(step)) for step in steps if step.size)

    def triangles(self) -> Int64[np.ndarray, "K 3"]:
        """Numbers of the corners of two triangles in each cell; closed around a turn."""
        number = np.arange(self.x.size).reshape(self.x.shape)
        for axis in (0, 1):
            if self._closes(axis):
                number = np.concatenate([number, number.take([0], axis)], axis)
        a, b = number[:-1, :-1].ravel(), number[1:, :-1].ravel()
        c, d = number[1:, 1:].ravel(), number[:-1, 1:].ravel()
        both = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
        there = np.isfinite(self.x.ravel() + self.y.ravel())
        return both[there[both].all(axis=1)]

    def nearest(self, points: Float64[np.ndarray, "N 2"]) -> Int64[np.ndarray, " N"]:
        """Numbers of the points of the mesh that are nearest to others."""
        own = np.stack([self.x.ravel(), self.y.ravel()], 1)
        turns = (0,) if self.turn is None else (-self.turn, 0, self.turn)
        copies = np.concatenate([own + np.array([turn, 0.0]) for turn in turns])
        there = np.flatnonzero(np.isfinite(copies).all(axis=1))
        _, found = scipy.spatial.KDTree(copies[there]).query(points)
        return there[found] % len(own)

    def unfolded(self, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """x and y (K, 3) of the corners of triangles, x without a jump inside one."""
        x, y = self.x.ravel()[triangles], self.y.ravel()[triangles]
        return x[:, :1] + self._turned(x - x[:, :1]), y

    def _turned(self, steps: np.ndarray) -> np.ndarray:
        """Differences of x the short way around."""
        if self.turn is None:
            return steps
        half = self.turn / 2
        return (steps + half) % self.turn - half

    def _closes(self, axis: int) -> bool:
        """Whether the last points along an axis have the first ones as their neighbours."""
        if self.turn is None or self.x.shape[axis] < 3:
            return False
        over_x, over_y = (np.diff(v.take([-1, 0], axis), axis=axis) for v in (self.x, self.y))
        gaps = np.nanmedian(np.abs(self._turned(over_x))), np.nanmedian(np.abs(over_y))
        near = np.nanmedian(np.abs(np.diff(self.y, axis=axis))) + 1e-6 * np.nanmax(np.abs(self.y))
        return bool(gaps[0] <= 2 * self.width() and gaps[1] <= 2 * near and self.range()[2])


def corners(
    mesh: Mesh, x: Float64[np.ndarray, " n"], y: Float64[np.ndarray, " m"]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The triangles in which the points of a uniform grid lie, piece by piece.

    Yields:
        Numbers of points of the grid (P,), of the corners of the triangle of each (P, 3), and the
        weights (P, 3) of the corners in a linear interpolation.
    """
    triangles = mesh.triangles()
    turns = (0.0,) if mesh.turn is None else (-mesh.turn, 0.0, mesh.turn)
    for start in range(0, max(len(triangles), 1), CHUNK):
        part = triangles[start : start + CHUNK]
        tx, ty = mesh.unfolded(part)
        for turn in turns:
            yield _located(part, tx + turn, ty, x, y)


def _located(
    part: np.ndarray, tx: np.ndarray, ty: np.ndarray, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of the grid within the boxes of triangles, of which those inside are kept."""
    (first, across), (low, up) = _covered(tx, x), _covered(ty, y)
    counts = across * up
    which = np.repeat(np.arange(len(part)), counts)
    inner = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    i = first[which] + inner // np.maximum(up[which], 1)
    j = low[which] + inner % np.maximum(up[which], 1)
    ax, ay = tx[which, 0], ty[which, 0]
    bx, by = tx[which, 1] - ax, ty[which, 1] - ay
    cx, cy = tx[which, 2] - ax, ty[which, 2] - ay
    area = bx * cy - by * cx
    box = np.ptp(tx, axis=1)[which] * np.ptp(ty, axis=1)[which]
    with np.errstate(divide="ignore", invalid="ignore"):
        second = ((x[i] - ax) * cy - (y[j] - ay) * cx) / area
        third = ((y[j] - ay) * bx - (x[i] - ax) * by) / area
    weights = np.stack([1 - second - third, second, third], 1)
    inside = (np.abs(area) > FLAT * box) & (weights >= -EDGE).all(axis=1)
    kept = np.where(np.abs(weights[inside]) < EDGE, 0.0, weights[inside])
    return (i * len(y) + j)[inside], part[which[inside]], kept


def _covered(values: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First number and count of the uniform points in the range of each row of values."""
    step = (points[-1] - points[0]) / (len(points) - 1) if len(points) > 1 else 1.0
    low = np.ceil((values.min(axis=1) - points[0]) / step - EDGE).astype(np.int64)
    high = np.floor((values.max(axis=1) - points[0]) / step + EDGE).astype(np.int64)
    low, high = np.maximum(low, 0), np.minimum(high, len(points) - 1)
    return low, np.maximum(high - low + 1, 0)
