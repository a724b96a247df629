"""Uniform grids and axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

BOUNDARIES = ("periodic", "wall", "open")


@dataclass(frozen=True)
class Grid:
    """A uniform grid: n_i points along axis i at `origin_i + j · lengths_i / n_i`, j = 0 … n_i − 1.

    Attributes:
        shape: points per axis (1, 2 or 3 axes).
        lengths: extent of the domain per axis, in physical units; the spacing is length / points.
        boundary: per axis "periodic", "wall" or "open"; "low-high" (as in "wall-open") where the
            two ends differ.
        origin: coordinate of the first point per axis; zeros by default.
    """

    shape: tuple[int, ...]
    lengths: tuple[float, ...]
    boundary: tuple[str, ...]
    origin: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.origin:
            object.__setattr__(self, "origin", (0.0,) * len(self.shape))
        if len(self.shape) not in (1, 2, 3):
            raise ValueError(f"a grid has 1, 2 or 3 axes; got shape {self.shape}")
        for name in ("lengths", "boundary", "origin"):
            if len(getattr(self, name)) != len(self.shape):
                raise ValueError(
                    f"grid.{name} needs one entry per axis of shape {self.shape}; "
                    f"got {getattr(self, name)}"
                )
        if any(n < 1 for n in self.shape):
            raise ValueError(f"grid.shape must be positive; got {self.shape}")
        if not all(math.isfinite(v) and v > 0 for v in self.lengths):
            raise ValueError(f"grid.lengths must be positive and finite; got {self.lengths}")
        for kind in self.boundary:
            if not set(kind.split("-", 1)) <= set(BOUNDARIES):
                raise ValueError(f"a boundary is one of {BOUNDARIES} or low-high; got {kind!r}")

    @staticmethod
    def unit(shape: Sequence[int]) -> Grid:
        """The periodic unit box on `shape` points."""
        n = len(shape)
        return Grid(tuple(shape), (1.0,) * n, ("periodic",) * n)

    @property
    def ndim(self) -> int:
        """Number of space axes."""
        return len(self.shape)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance between neighbouring points per axis, in physical units."""
        return tuple(length / n for length, n in zip(self.lengths, self.shape, strict=True))

    @property
    def periodic(self) -> bool:
        """Whether every axis is periodic."""
        return all(kind == "periodic" for kind in self.boundary)

    def coordinates(self) -> tuple[Float[Tensor, " n"], ...]:
        """Physical coordinates of the points, one float64 vector per axis."""
        return tuple(
            start + step * torch.arange(n, dtype=torch.float64)
            for n, start, step in zip(self.shape, self.origin, self.spacing, strict=True)
        )


def spacing(values: Float[np.ndarray, " n"]) -> float | None:
    """The step of an increasing uniform axis; None for any other, or for a single point.

    Files often hold coordinates in single precision, so a step may differ from the mean step by
    one thousandth of it, plus the rounding of the largest value: in single precision where that
    holds all values, else in double. Whole numbers are not rounded, so their steps must be equal:
    seconds of this century in steps of 256 and 512 differ by less than single precision resolves.
    """
    if len(values) < 2 or not np.isfinite(values).all():
        return None
    step = float(values[-1] - values[0]) / (len(values) - 1)
    uniform = np.abs(np.diff(values) - step) <= tolerance(values, step)
    return step if step > 0 and bool(uniform.all()) else None


def tolerance(values: Float[np.ndarray, " n"], step: float) -> float:
    """By how much a step of an axis may differ from another; see `spacing`."""
    if (values == np.rint(values)).all():
        return 0.0
    with np.errstate(over="ignore"):
        single = bool((values == values.astype(np.float32)).all())
    epsilon = np.finfo(np.float32 if single else np.float64).eps
    return 1e-3 * step + 2 * float(epsilon) * float(np.abs(values).max())
