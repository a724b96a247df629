"""Times of an `xarray.Dataset`, numbers or dates, in an operator's unit of time; and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import xarray
from jaxtyping import Float64

from .units import conversion

SECOND = "s"


@dataclass(frozen=True)
class Clock:
    """How times of the data and the operator's go together.

    Attributes:
        dated: whether the data have dates (`datetime64`, or cftime's).
        scale: one unit of the data's numbers (of dates: a second) in the operator's unit.
        unit: of the operator's time; "" if unknown.
    """

    dated: bool
    scale: float
    unit: str = ""

    def since(self, times: Any, origin: Any) -> Float64[np.ndarray, " T"]:
        """Operator's time from `origin` to times of the data."""
        gaps = np.atleast_1d(np.asarray(times)) - origin
        return self.scale * _seconds(gaps) if self.dated else self.scale * gaps.astype(np.float64)

    def after(self, origin: Any, leads: Sequence[float]) -> np.ndarray:
        """The data's times that are so much of the operator's time after `origin`."""
        if not self.dated:
            return origin + np.asarray(leads, np.float64) / self.scale
        seconds = [lead / self.scale for lead in leads]
        if isinstance(origin, np.datetime64):
            return np.array([origin + np.timedelta64(round(s * 1e9), "ns") for s in seconds])
        return np.array([origin + timedelta(seconds=s) for s in seconds])

    def leads(self, times: Any, origin: Any) -> tuple[float, ...]:
        """Lead times as a user gives them: numbers, timedeltas, or dates after `origin`.

        Raises:
            ValueError: dates for data without, or a unit of time is needed and unknown.
        """
        values = np.atleast_1d(np.asarray(times))
        if values.dtype.kind in "iuf":
            return tuple(values.astype(np.float64).tolist())
        if values.dtype.kind == "M" or (values.dtype.kind == "O" and not _are_gaps(values)):
            if not self.dated:
                raise ValueError(
                    "dates were asked for, and the data's times are numbers: give lead times as "
                    "numbers"
                )
            return tuple(self.since(values, origin).tolist())
        scale = self.scale if self.dated else _per_second(self.unit)
        return tuple((scale * _seconds(values)).tolist())


def clock_of(time: xarray.DataArray | None, unit: str) -> Clock:
    """How the times of data go with an operator's unit of time.

    Args:
        time: the data's times; None: they have none.
        unit: the operator's; "" if unknown.

    Raises:
        ValueError: the data have dates and the operator's unit is unknown, or units of the two
            cannot be converted.
    """
    if time is not None and (time.dtype.kind in "MmO"):
        return Clock(True, _per_second(unit), unit)
    own = "" if time is None else str(time.attrs.get("units", ""))
    if " since " in own:
        raise ValueError(
            f"{time.name if time is not None else 'time'} counts {own!r}: open the data with "
            "decode_times=True, or use xarray.decode_cf(data)"
        )
    if not own or not unit or "1" in (own, unit):
        return Clock(False, 1.0, unit)
    found = conversion(own, unit)
    if found is None:
        raise ValueError(f"time is in {own!r} and the operator's in {unit!r}")
    return Clock(False, found[0], unit)


def _per_second(unit: str) -> float:
    found = conversion(SECOND, unit) if unit else None
    if found is None:
        said = f"is {unit!r}, which is no time" if unit else "is not known"
        raise ValueError(
            f"there are dates, and the operator's unit of time {said}: give times as numbers "
            "(data.assign_coords(time=…)) in it"
        )
    return found[0]


def _seconds(gaps: np.ndarray) -> Float64[np.ndarray, " T"]:
    if gaps.dtype.kind == "m":
        return gaps / np.timedelta64(1, "s")
    return np.array([gap.total_seconds() for gap in gaps], np.float64)


def _are_gaps(values: np.ndarray) -> bool:
    return all(isinstance(value, timedelta) for value in values)
