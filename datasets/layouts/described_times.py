"""The times of the frames, as a description says."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from .described_arrays import DescribedArrays
from .description import Description, Steps


def times(
    arrays: DescribedArrays, description: Description, count: int, frames: int
) -> Float64[np.ndarray, "*n T"]:
    """Times of the frames, for all trajectories or for each.

    Raises:
        ValueError: none are given, or not for every frame.
    """
    time = description.time
    if time is None:
        if frames > 1:
            raise arrays.wrong(
                f"time: {frames} frames need times; name an array, or write {{start: 0, step: 0.1}}"
            )
        return np.zeros(1)
    if isinstance(time, Steps):
        if time.step <= 0:
            raise arrays.wrong(f"time.step must be positive; got {time.step}")
        return time.start + time.step * np.arange(frames)
    values = arrays.values(time, "time")
    if "*" in time and len(values) and (values == values[0]).all():
        values = values[0]
    if values.shape not in ((frames,), (count, frames)):
        raise arrays.wrong(
            f"time: {time!r} must have shape {(frames,)} or {(count, frames)}; got {values.shape}"
        )
    return values
