"""The times of the frames, as a description and the attributes of a file say."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from .arrays import NUMERIC, TIME
from .described_arrays import DescribedArrays
from .described_parameters import attributes, column
from .description import Description, Steps
from .dimensions import SINCE


class Times(NamedTuple):
    """Times of the frames, for all trajectories or for each.

    Times that the file counts since a date are counted since the first frame, in the same unit.
    """

    values: Float64[np.ndarray, "*n T"]
    unit: str = ""
    origin: Mapping[str, Any] = MappingProxyType({})  # since when the file counts, its first time


def times(arrays: DescribedArrays, description: Description, count: int, frames: int) -> Times:
    """Times of the frames, their unit, and since when they count.

    Raises:
        ValueError: none are given, or not for every frame.
    """
    time = description.time
    if time is None:
        time = _own(arrays, frames)
    if time is None:
        if frames > 1:
            raise arrays.wrong(
                f"time: {frames} frames need times; name an array, or write {{start: 0, step: 0.1}}"
            )
        return Times(np.zeros(1))
    if isinstance(time, Steps):
        return Times(_stepped(arrays, time, count, frames))
    said = "@" in time and time not in arrays.shapes
    values = _said(arrays, time) if said else arrays.values(time, "time")
    if "*" in time and len(values) and (values == values[0]).all():
        values = values[0]
    if values.shape in ((frames, 1), (1, frames)):
        values = values.reshape(-1)
    if values.shape not in ((frames,), (count, frames)):
        raise arrays.wrong(
            f"time: {time!r} must have shape {(frames,)} or {(count, frames)}; got {values.shape}"
        )
    return Times(values) if said else _counted(arrays, time, values)


def _said(arrays: DescribedArrays, text: str) -> Float64[np.ndarray, "*n T"]:
    """Times that are attributes: of the file or an array, or of each group."""
    found = [np.asarray(value) for value in attributes(arrays, text)]
    if any(row.dtype.kind not in NUMERIC or row.shape != found[0].shape for row in found):
        raise arrays.wrong(f"time: {text!r} must be numbers, of each group as many")
    rows = np.stack(found).astype(np.float64)
    return rows if "*" in text else rows[0]


def _stepped(
    arrays: DescribedArrays, time: Steps, count: int, frames: int
) -> Float64[np.ndarray, "*n T"]:
    """Uniform times: the same for all trajectories, or of each by its own start and step."""
    start = column(arrays, "time.start", time.start, count)
    step = column(arrays, "time.step", time.step, count)
    if not (step > 0).all():
        raise arrays.wrong(f"time.step must be positive; got {step.min():g}")
    if (start == start[0]).all() and (step == step[0]).all():
        return start[0] + step[0] * np.arange(frames)
    return start[:, None] + step[:, None] * np.arange(frames)


def _own(arrays: DescribedArrays, frames: int) -> str | None:
    """The array of a file with the coordinates of the time axis."""
    name = arrays.coordinates.get(TIME, "")
    if not name or arrays.locate(name)[1] != (frames,):
        return None
    return name if arrays.file.array(arrays.key(name)).dtype.kind in NUMERIC else None


def _counted(arrays: DescribedArrays, name: str, values: np.ndarray) -> Times:
    units = arrays.attribute(name, "units")
    if SINCE not in units:
        return Times(values.astype(np.float64), units)
    first = values.reshape(-1)[0]
    calendar = arrays.attribute(name, "calendar") or "standard"
    origin = {"units": units, "calendar": calendar, "first": first.item()}
    origin["date"] = _date(first, units, calendar)
    # Differences of integers are exact; in double precision nanoseconds since 1970 are not.
    return Times((values - first).astype(np.float64), units.split(SINCE)[0].strip(), origin)


def _date(value: Any, units: str, calendar: str) -> str:
    """A date by the calendar; "" where there is none, as in the year 0 of the standard one."""
    import cftime  # on use: few files have dates

    try:
        return cftime.num2date(value.item(), units, calendar.lower()).isoformat()
    except (ValueError, OverflowError, TypeError):
        return ""
