"""Error bands of predictions, calibrated on trajectories that training never saw.

Split conformal prediction: with the scores s₁ … s_n of n held-out trajectories, a new one of the
same kind has a score of at most the ⌈(n + 1) c⌉-th smallest with probability c or more, whatever
the operator does. The score of a trajectory is the c-quantile over points of |error|, per field and
lead time; so the statement is: with probability c, a share c of all points is within the band.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Calibration:
    """Error bands by lead time.

    Attributes:
        coverage: c, the stated probability.
        trajectories: how many were held out.
        dataset: their name.
        leads: lead times, in the operator's unit, increasing.
        bands: field -> half width of the band at each of them, in the field's unit.
    """

    coverage: float
    trajectories: int
    dataset: str
    leads: tuple[float, ...]
    bands: dict[str, tuple[float, ...]]

    def band(self, name: str, leads: tuple[float, ...]) -> Float[np.ndarray, " T"]:
        """Half width at lead times: linear between the calibrated ones, NaN beyond the last."""
        known = np.array((0.0, *self.leads)), np.array((0.0, *self.bands[name]))
        found = np.interp(leads, *known)
        return np.where(np.asarray(leads) > self.leads[-1] * (1 + 1e-3), np.nan, found)


def score(error: Float[np.ndarray, "N *S"], coverage: float) -> Float[np.ndarray, " N"]:
    """Of each trajectory: within what |error| a share `coverage` of its points is, NaN left out."""
    size = np.abs(error.reshape(len(error), -1)).astype(np.float64)
    size = np.where(np.isinf(size), np.finfo(np.float64).max, size)
    return np.nanquantile(size, coverage, axis=1, method="higher")


def conformal(scores: Float[np.ndarray, "N *rest"], coverage: float) -> Float[np.ndarray, "*rest"]:
    """The band: the ⌈(n + 1) c⌉-th smallest score.

    Raises:
        ValueError: `coverage` is no probability between 0 and 1, or there are too few trajectories
            to state it.
    """
    if not 0 < coverage < 1:
        raise ValueError(f"coverage must be between 0 and 1; got {coverage:g}")
    count = len(scores)
    rank = math.ceil((count + 1) * coverage - 1e-9)
    if rank > count:
        needed = math.ceil(coverage / (1 - coverage) - 1e-9)
        raise ValueError(
            f"a coverage of {coverage:g} needs at least {needed} held-out trajectories; there are "
            f"{count}"
        )
    return np.asarray(np.sort(scores, axis=0)[rank - 1])
