"""Times of an `xarray.Dataset`, numbers or dates, in an operator's unit of time; and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import xarray
from jaxtyping import Float64

from .units import conversion, unit_of

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
        if values.dtype.kind == "m" or (values.dtype.kind == "O" and _are_gaps(values)):
            scale = self.scale if self.dated else _per_second(self.unit)
            return tuple((scale * _seconds(values)).tolist())
        if not self.dated:
            raise ValueError(
                f"times such as {values.flat[0]} were asked for, and the data's times are numbers: "
                "give lead times as numbers"
            )
        dates = [moment(value, origin) for value in values.tolist()] if (
            values.dtype.kind != "M") else values  # fmt: skip
        return tuple(self.since(np.array(dates), origin).tolist())


def moment(given: Any, like: Any) -> Any:
    """A date as a user gives it (text, `datetime`, pandas'), as the data have their dates.

    Args:
        given: the date.
        like: one of the data's times; numbers are left alone.

    Raises:
        ValueError: it is no date.
    """
    try:
        if isinstance(like, np.datetime64):
            return np.datetime64(given) if isinstance(given, (str, date)) else given
        found = datetime.fromisoformat(given) if isinstance(given, str) else given
    except ValueError:
        raise ValueError(f"{given!r} is no date, such as {like}") from None
    if isinstance(found, datetime) and not isinstance(like, (int, float, np.number)):
        parts = ("year", "month", "day", "hour", "minute", "second", "microsecond")
        return like.replace(**{part: getattr(found, part) for part in parts})
    return given


def clock_of(time: xarray.DataArray | None, unit: str) -> Clock:
    """How the times of data go with an operator's unit of time.

    Args:
        time: the data's times; None: they have none.
        unit: the operator's; "" if unknown.

    Raises:
        ValueError: the data have dates and the operator's unit is unknown, or units of the two
            cannot be converted.
    """
    if time is not None:
        _require_times(time)
    if time is not None and (time.dtype.kind in "MmO"):
        return Clock(True, _per_second(unit), unit)
    own = "" if time is None else unit_of(time.attrs)
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


def _require_times(time: xarray.DataArray) -> None:
    """Refuse what is neither numbers nor dates."""
    values = np.atleast_1d(time.values)
    good = values.dtype.kind in "iufMm"
    if values.dtype.kind == "O" and len(values):
        try:
            good = len(_seconds(values - values[0])) == len(values)
        except (TypeError, AttributeError):
            good = False
    if not good and len(values):
        raise ValueError(
            f"{time.name} must hold numbers or dates; got {time.dtype}, such as {values[0]!r}: "
            f"data.assign_coords({time.name}=pandas.to_datetime(data[{str(time.name)!r}]))"
        )


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
