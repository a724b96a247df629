"""Gains between two learning curves, as Poseidon's authors define them (arXiv 2405.19101).

A curve is an error E for every number of training trajectories M. With those of a model and of a
baseline, for a number of trajectories S:

    accuracy gain  AG(S) = E_baseline(S) / E_model(S)
    sample gain    EG(S) = S / (trajectories with which the model reaches E_baseline(S))

The model's trajectories are found in two ways: between the measured numbers, on straight lines in
log–log coordinates through the best error with at most so many trajectories; and on a power law
E ≈ C · M^(−a) fitted to all of them. What lies outside of the measured numbers is a bound.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

Relation = Literal["=", ">", "<"]
Errors = Float[np.ndarray, "n"]  # of one curve; infinite where predictions were not finite
BOUNDS = (0.05, 0.95)  # of the interval of bootstrapped values
MOST = 2000  # resamples, where all of them are more
_FLIPPED: dict[Relation, Relation] = {"=": "=", ">": "<", "<": ">"}
_ORDER = {"<": 0, "=": 1, ">": 2}


@dataclass(frozen=True)
class Value:
    """A number, or what it is known to lie above or below.

    Attributes:
        number: the number.
        relation: "=", or ">" or "<" where it is a bound.
    """

    number: float
    relation: Relation = "="

    def __str__(self) -> str:
        return f"{'' if self.relation == '=' else f'{self.relation} '}{self.number:.3g}"

    def dividing(self, number: float) -> Value:
        """`number` over this."""
        return Value(number / self.number, _FLIPPED[self.relation])


@dataclass(frozen=True)
class PowerLaw:
    """E(M) = factor · M^(−rate).

    Attributes:
        factor: the error with one trajectory.
        rate: how fast it falls.
        residual: root mean square of the natural logarithms' errors: 0.1 is about 10 %.
        points: how many errors it was fitted to.
    """

    factor: float
    rate: float
    residual: float
    points: int

    def error(self, count: int) -> float:
        """The error with so many trajectories."""
        return self.factor * count**-self.rate

    def needed(self, target: float, counts: Sequence[int]) -> Value | None:
        """With how many trajectories an error is reached: a bound outside of those measured.

        None where errors do not fall.
        """
        if self.rate <= 0:
            return None
        # Far outside, the number itself may be beyond what a float holds.
        log = (math.log(self.factor) - math.log(target)) / self.rate
        if log < math.log(counts[0]):
            return Value(float(counts[0]), "<")
        if log > math.log(counts[-1]):
            return Value(float(counts[-1]), ">")
        return Value(math.exp(log))


@dataclass(frozen=True)
class Gain:
    """A gain with its interval.

    Attributes:
        value: of the curves of all seeds; None: not known, as an error is not finite, or none of
            the curves falls.
        low, high: 5th and 95th percentile over resampled seeds; None: as for the value.
    """

    value: Value | None
    low: Value | None
    high: Value | None


def curve(errors: Float[np.ndarray, "k n"]) -> Errors:
    """One curve of those of several seeds: the geometric mean, infinite where one of them is."""
    with np.errstate(divide="ignore"):
        return np.exp(np.log(errors).mean(axis=0))


def fit(counts: Sequence[int], errors: Errors) -> PowerLaw | None:
    """The least squares fit in log–log coordinates; None of fewer than two finite errors."""
    kept = np.isfinite(errors) & (errors > 0)
    if kept.sum() < 2:
        return None
    x, y = np.log(np.asarray(counts, float)[kept]), np.log(errors[kept])
    slope, intercept = np.polyfit(x, y, 1)
    residual = float(np.sqrt(np.square(y - slope * x - intercept).mean()))
    return PowerLaw(math.exp(intercept), -float(slope), residual, int(kept.sum()))


def needed(counts: Sequence[int], errors: Errors, target: float) -> Value:
    """With how many trajectories an error is reached, between those measured."""
    best = np.minimum.accumulate(errors)
    reached = np.flatnonzero(best <= target)
    if not len(reached):
        return Value(float(counts[-1]), ">")
    k = int(reached[0])
    if best[k] == target:
        return Value(float(counts[k]))
    if k == 0 or not math.isfinite(best[k - 1]):
        return Value(float(counts[k]), "<")
    share = math.log(best[k - 1] / target) / math.log(best[k - 1] / best[k])
    return Value(counts[k - 1] ** (1 - share) * counts[k] ** share)


def sample_gain(counts: Sequence[int], model: Errors, baseline: Errors, place: int) -> Value | None:
    """EG at `counts[place]`, between the measured numbers.

    The baseline's error is the best with at most so many trajectories, as the model's.
    """
    target = float(np.min(baseline[: place + 1]))
    if not math.isfinite(target) or not np.isfinite(model).any():
        return None
    return needed(counts, model, target).dividing(float(counts[place]))


def sample_gain_of_fits(
    counts: Sequence[int], model: Errors, baseline: Errors, place: int
) -> Value | None:
    """EG at `counts[place]`, on the power laws of both."""
    ours, theirs = fit(counts, model), fit(counts, baseline)
    if ours is None or theirs is None:
        return None
    found = ours.needed(theirs.error(counts[place]), counts)
    return None if found is None else found.dividing(float(counts[place]))


def accuracy_gain(
    counts: Sequence[int], model: Errors, baseline: Errors, place: int
) -> Value | None:
    """AG at `counts[place]`, of the measured errors."""
    ratio = float(baseline[place] / model[place]) if model[place] > 0 else math.inf
    return Value(ratio) if math.isfinite(ratio) and np.isfinite(model[place]) else None


Measure = Callable[[Sequence[int], Errors, Errors, int], Value | None]


def gain(
    measure: Measure,
    counts: Sequence[int],
    model: Float[np.ndarray, "k n"],
    baseline: Float[np.ndarray, "k n"],
    place: int,
) -> Gain:
    """A gain at `counts[place]`, bootstrapped over seeds.

    Args:
        measure: which gain.
        counts: numbers of trajectories, increasing.
        model, baseline: errors by seed and number of trajectories. A seed stands for the same
            trajectories in both, and is resampled in both.
        place: of S among the counts.
    """

    def of(seeds: Int[np.ndarray, " k"] | slice) -> Value | None:
        return measure(counts, curve(model[seeds]), curve(baseline[seeds]), place)

    found = [of(seeds) for seeds in resamples(len(model))]
    known = sorted(
        (value for value in found if value is not None),
        key=lambda value: (value.number, _ORDER[value.relation]),
    )
    if len(known) < len(found) or len(model) < 2:
        return Gain(of(slice(None)), None, None)
    low, high = (known[round(share * (len(known) - 1))] for share in BOUNDS)
    return Gain(of(slice(None)), low, high)


def resamples(seeds: int) -> Int[np.ndarray, "r k"]:
    """Draws of as many seeds as there are, with replacement: all of them, or `MOST` by chance."""
    if seeds**seeds <= MOST * 2:
        return np.array([*itertools.product(range(seeds), repeat=seeds)])
    return np.random.default_rng(0).integers(seeds, size=(MOST, seeds))
