"""Uniform axes: the spacing of coordinates and times, as files store them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def spacing(values: Float[np.ndarray, " n"]) -> float | None:
    """The step of an increasing uniform axis; None for any other, or for a single point.

    Files often hold coordinates in single precision, so a step may differ from the mean step by
    one thousandth of it, plus the rounding of the largest value: in single precision where that
    holds all values, else in double.
    """
    if len(values) < 2 or not np.isfinite(values).all():
        return None
    step = float(values[-1] - values[0]) / (len(values) - 1)
    with np.errstate(over="ignore"):
        single = bool((values == values.astype(np.float32)).all())
    epsilon = np.finfo(np.float32 if single else np.float64).eps
    rounding = 2 * float(epsilon) * float(np.abs(values).max())
    uniform = np.abs(np.diff(values) - step) <= 1e-3 * step + rounding
    return step if step > 0 and bool(uniform.all()) else None
