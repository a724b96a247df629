"""Mean and variance in one pass over blocks of values, in constant memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float64


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations of D-component values seen so far.

    `a + b` are the moments of both sets together (Chan, Golub and LeVeque's update), so blocks
    may be merged in any order without cancellation.
    """

    count: int
    mean: Float[np.ndarray, " D"]
    deviation: Float[np.ndarray, " D"]

    @staticmethod
    def of(values: Float[np.ndarray, "N D"]) -> Moments:
        """The moments of one block of N values, computed in double precision."""
        mean = values.mean(axis=0, dtype=np.float64)
        deviation = np.square(values - mean, dtype=np.float64).sum(axis=0)
        return Moments(len(values), mean, deviation)

    @staticmethod
    def merged(before: Moments | None, values: Float[np.ndarray, "..."]) -> Moments:
        """The moments of all that was seen before, if anything was, and of one block of numbers."""
        added = Moments.of(values.reshape(-1, 1))
        return added if before is None else before + added

    def __add__(self, other: Moments) -> Moments:
        count = self.count + other.count
        gap = other.mean - self.mean
        return Moments(
            count,
            self.mean + gap * (other.count / count),
            self.deviation + other.deviation + gap**2 * (self.count * other.count / count),
        )

    @property
    def std(self) -> Float[np.ndarray, " D"]:
        """Population standard deviation (divisor N)."""
        return np.sqrt(self.deviation / self.count)

    @property
    def rms(self) -> Float[np.ndarray, " D"]:
        """Root mean square."""
        return np.sqrt(self.deviation / self.count + self.mean**2)


def mean_of_known(
    values: Float64[np.ndarray, "..."], axis: int | tuple[int, ...] | None = None
) -> Any:
    """The mean without NaN, which stands for what is not known; NaN where nothing is."""
    known = ~np.isnan(values)
    if known.all():
        return values.mean(axis=axis)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
