"""What a request prescribes along a forecast, as labelled data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray

from ...datasets.base.config import nearest
from .asked import Along
from .numbers import decoded
from .refusals import TooLarge

TIME = "prescribed_time"
# How to give it, where it is missing.
IN_JSON = (
    'give it, as in "prescribed": {"times": [0, 0.1], "fields": {"NAME": [1.0, 2.0]}} with times '
    "after the last given frame, or ask for a shorter forecast"
)
IN_FILE = (
    "the file must have it along times of its own, as NAME(forcing_time), or name an earlier "
    "initial time (start=…), or ask for a shorter forecast"
)


def along(
    asked: Along, names: Sequence[str], space: dict[str, int], times: Any, most: int
) -> xarray.Dataset:
    """The prescribed fields of a request, each with the dimension `TIME`.

    Args:
        asked: numbers.
        names: what the operator takes.
        space: name -> points, of the axes.
        times: those of the data.
        most: numbers that it may have on the grid.

    Raises:
        ValueError: a name is unknown, numbers have another shape, or times do not increase.
        TooLarge: there are more numbers.
    """
    for name in asked.fields:
        if name not in names:
            remedy = nearest(name, [*names]) if names else "; it takes none"
            raise ValueError(f"this operator takes no {name[:60]!r} as prescribed{remedy}")
    count, points = len(asked.times), tuple(space.values())
    if count * math.prod(points) * len(asked.fields) > most:
        raise TooLarge(f"what is prescribed has more than the {most:,} numbers that it may")
    if not count or not np.isfinite(asked.times).all() or not (np.diff(asked.times) > 0).all():
        raise ValueError("prescribed.times must be finite and increase")
    variables: dict[str, Any] = {}
    for name, given in asked.fields.items():
        values = decoded(name, given, "prescribed.fields")
        if values.shape not in ((count,), (count, *points)):
            raise ValueError(
                f"prescribed.fields.{name} must have shape ({count},) or "
                f"{(count, *points)}; got {values.shape}"
            )
        variables[name] = ((TIME, *space)[: values.ndim], values)
    return xarray.Dataset(variables, {TIME: (TIME, np.asarray(times))})
