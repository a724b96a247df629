"""Numbers as plain data for JSON."""

from __future__ import annotations

from typing import Any

import numpy as np


def numbers(values: Any) -> Any:
    """Floats, nested as the array is: None for what is not finite."""
    array = np.asarray(values, float)
    if array.ndim:
        return [numbers(value) for value in array]
    return float(array) if np.isfinite(array) else None
