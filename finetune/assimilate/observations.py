"""Files of observations: sensors, values and their standard deviations, one time after another.

CSV with a header: `time`, a coordinate per axis (`x`, `y`, `z`, or as the dataset of the start
names them: `lat`, `lon`), `field`, `value` and, if known, `std` (empty where unknown) and `unit`
(of value and std; empty: the fields'). Times are numbers, or dates where that dataset counts
since one.
NetCDF: variables of the same names along one dimension; the unit may be that of `value`. Rows are
in order of time, and rows of one time are one measurement. Files are read row by row; of each row
only the time is kept.
"""

from __future__ import annotations

import csv
import math
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...datasets.base.config import nearest
from ...datasets.fields.grid import Grid
from ...datasets.fields.units import conversion
from ...operators.assimilation.measurement import interpolation
from ...operators.core.observation import Sensors

_SHOWN = 5  # problems that an error names
_DATES = ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S")


class InvalidRows(ValueError):
    """Rows of a file cannot be used.

    Args:
        reason: which, and why; an attribute, for those whose people never saw the file.
        message: with the file and what to do.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Reading:
    """What one sensor measured at one time; `std` is NaN where it is unknown."""

    time: float
    position: tuple[float, ...]
    field: str
    value: float
    std: float


@dataclass(frozen=True)
class Dates:
    """How the times of a dataset count: since a date, from its first frame on.

    Attributes:
        units: such as "hours since 2000-01-01".
        calendar: as CF names it.
        first: the first frame's time in these units.
        scale: of the unit of the dataset's times per one of these.
    """

    units: str
    calendar: str
    first: float
    scale: float = 1.0

    def time(self, text: str) -> float:
        """The time of a date.

        Raises:
            ValueError: it is none.
        """
        import cftime  # on use: few files have dates

        calendar, plain = self.calendar.lower(), text.strip().removesuffix("Z").replace(" ", "T")
        for form in _DATES:
            try:
                date = cftime.datetime.strptime(plain, form, calendar=calendar)
                number = cftime.date2num(date, self.units, calendar)
            except (ValueError, OverflowError, TypeError):
                continue
            return float(number - self.first) * self.scale
        raise ValueError(f"time must be a number or a date such as 2020-01-31T06:00; got {text!r}")


@dataclass(frozen=True)
class Domain:
    """What a reading can be of.

    Attributes:
        fields: names of the fields.
        grid: the domain.
        start: time of the state; readings must not be earlier.
        reach: how far a time may lie from the one before it.
        axes: names of the coordinates, beside x, y, z.
        units: of the fields, as the operator takes them.
        dates: how dates become times; None: times are numbers.
        mask: (C, *S) where fields are predicted; None: everywhere.
    """

    fields: tuple[str, ...]
    grid: Grid
    start: float
    reach: float = math.inf
    axes: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    dates: Dates | None = None
    mask: Tensor | None = None

    def sees(self, name: str, position: Sequence[float]) -> bool:
        """Whether a field is predicted at all points by which a position is interpolated."""
        if self.mask is None:
            return True
        own = self.mask[self.fields.index(name)].flatten()
        if not own.any():  # masked entirely: it never varied in training
            return True
        place = torch.tensor([position], dtype=torch.float64)
        index, weights = interpolation(self.grid, place)
        return bool(own[index][weights > 0].all())


class ObservationFile:
    """A file of observations, checked as a whole before anything is done with it.

    Args:
        path: CSV, or NetCDF (`.nc`).
        domain: what it may speak about.
        skip_invalid: leave rows out that are wrong, instead of refusing the file.

    Attributes:
        problems: what is wrong, with the line (CSV) or index (NetCDF) of each.
        count: usable rows.
        end: time of the last usable row.

    Raises:
        ValueError: the file is missing or lacks a column; a row is wrong (and `skip_invalid` is
            not set); or no row is usable.
    """

    def __init__(self, path: Path, domain: Domain, *, skip_invalid: bool = False) -> None:
        if not path.is_file():
            raise ValueError(f"no such file of observations: {path}")
        self.path, self.domain = path, domain
        self.problems: list[str] = []
        self.end = domain.start
        times = array("d", (reading.time for _, reading in self._readings(self.problems)))
        unordered = _out_of_order(times)
        far = _out_of_reach(times, unordered, domain)
        self._dropped = unordered | far
        if self._dropped:
            for i, (where, reading) in enumerate(self._readings([])):
                if i in self._dropped:
                    problem = "is out of order: sort the rows by time"
                    if i in far:
                        problem = (
                            f"is more than {domain.reach:g} after the one before it, which the "
                            "operator does not reach: check the time and its unit"
                        )
                    self.problems.append(f"{where}: time {reading.time:g} {problem}")
        self.count = len(times) - len(self._dropped)
        self.end = max((t for i, t in enumerate(times) if i not in self._dropped), default=self.end)
        if self.problems and not skip_invalid:
            shown = "; ".join(self.problems[:_SHOWN])
            more = len(self.problems) - _SHOWN
            rest = f"; and {more} more" if more > 0 else ""
            raise InvalidRows(
                f"{shown}{rest}",
                f"{path}: {shown}{rest}. Correct these rows, or leave them out (--skip-invalid); "
                f"the other {self.count} are usable",
            )
        if not self.count:
            raise ValueError(f"{path} holds no usable observation")

    def __iter__(self) -> Iterator[tuple[float, Sensors]]:
        """Times and measurements, in order; constant memory."""
        usable = (
            reading for i, (_, reading) in enumerate(self._readings([])) if i not in self._dropped
        )
        for time, rows in groupby(usable, key=lambda reading: reading.time):
            yield time, sensors_of(list(rows))

    def _readings(self, problems: list[str]) -> Iterator[tuple[str, Reading]]:
        """Where each reading stands, and it; rows that are none go to the problems."""
        for where, row in _rows(self.path, self.domain):
            try:
                yield where, _reading(row, self.domain)
            except ValueError as error:
                problems.append(f"{where}: {error}")


def sensors_of(readings: Sequence[Reading]) -> Sensors:
    """The readings of one time as one measurement, (1, N)."""
    return Sensors(
        values=torch.tensor([[reading.value for reading in readings]], dtype=torch.float64),
        positions=torch.tensor([reading.position for reading in readings], dtype=torch.float64),
        fields=tuple(reading.field for reading in readings),
        noise=torch.tensor([[reading.std for reading in readings]], dtype=torch.float64),
    )


def _out_of_order(times: Sequence[float]) -> set[int]:
    """The fewest entries without which the others never decrease.

    So one time that is far too late costs its own row, not all that follow.
    """
    smallest: list[float] = []  # last time of the best sequence of each length so far
    lengths = []
    for time in times:
        length = bisect_right(smallest, time)
        smallest[length : length + 1] = [time]
        lengths.append(length)
    wanted, limit, dropped = len(smallest) - 1, math.inf, set[int]()
    for i in range(len(times) - 1, -1, -1):
        if lengths[i] == wanted and times[i] <= limit:
            wanted, limit = wanted - 1, times[i]
        else:
            dropped.add(i)
    return dropped


def _out_of_reach(times: Sequence[float], unordered: set[int], domain: Domain) -> set[int]:
    """The entries, among those in order, that lie too far from the one before them."""
    last, far = domain.start, set[int]()
    for i, time in enumerate(times):
        if i in unordered:
            continue
        if time - last > domain.reach:
            far.add(i)
        else:
            last = time
    return far


def _reading(row: dict[str, Any], domain: Domain) -> Reading:
    axes = "xyz"[: domain.grid.ndim]
    time, value = _time(row, domain), _number(row, "value")
    position = tuple(_number(row, axis) for axis in axes)
    name = str(row.get("field") or "").strip()
    if name not in domain.fields:
        raise ValueError(f"unknown field {name!r}{nearest(name, domain.fields)}")
    text = row.get("std")
    unknown = text is None or (isinstance(text, str) and not text.strip())
    std = math.nan if unknown else _number(row, "std")
    if std <= 0:
        raise ValueError(f"std must be positive (empty where unknown); got {std:g}")
    if not time >= domain.start:
        raise ValueError(f"time {time:g} is before that of the state, {domain.start:g}")
    _check_inside(position, domain.grid, axes)
    if not domain.sees(name, position):
        where = ", ".join(f"{x:g}" for x in position)
        raise ValueError(f"{name} is masked at ({where}) or beside it (land, obstacles)")
    scale, offset = _conversion(row, name, domain)
    return Reading(time, position, name, scale * value + offset, abs(scale) * std)


def _time(row: dict[str, Any], domain: Domain) -> float:
    text = row.get("time")
    if domain.dates is not None and isinstance(text, str) and "-" in text.strip()[1:]:
        return domain.dates.time(text)
    return _number(row, "time")


def _conversion(row: dict[str, Any], name: str, domain: Domain) -> tuple[float, float]:
    """Scale and offset from the row's unit to that of the field."""
    given, wanted = str(row.get("unit") or "").strip(), domain.units.get(name, "")
    if not given or not wanted:
        return 1.0, 0.0
    found = conversion(given, wanted)
    if found is None and "1" in (given, wanted):  # simulated data have no units
        return 1.0, 0.0
    if found is None:
        raise ValueError(f"{name} is in {wanted!r}, and {given!r} cannot be converted into it")
    return found


def _check_inside(position: Sequence[float], grid: Grid, axes: str) -> None:
    for axis, x, low, length in zip(axes, position, grid.origin, grid.lengths, strict=True):
        if not low - 1e-9 * length <= x <= low + length * (1 + 1e-9):
            raise ValueError(f"{axis} = {x:g} lies outside the domain [{low:g}, {low + length:g}]")


def _number(row: dict[str, Any], name: str) -> float:
    text = row.get(name)
    try:
        if isinstance(text, str) and "_" in text:  # which Python takes for a separator
            raise ValueError
        value = float(text)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number; got {text!r}") from None
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite; got {value:g}")
    return value


def _rows(path: Path, domain: Domain) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where each row stands, and its values by column, coordinates as x, y, z."""
    if path.suffix.lower() in (".nc", ".nc4", ".h5"):
        yield from _netcdf_rows(path, domain)
        return
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
            columns = _columns(path, domain, list(reader.fieldnames))
            for row in reader:
                if None in row:
                    raise ValueError(
                        f"{path}, line {reader.line_num}: it has more cells than the header has "
                        "columns; quote a text that holds a comma"
                    )
                yield f"line {reader.line_num}", {k: row[name] for k, name in columns.items()}
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV text: {error}") from None


def _netcdf_rows(path: Path, domain: Domain) -> Iterator[tuple[str, dict[str, Any]]]:
    import h5netcdf  # slow to import, and only needed here

    try:
        file = h5netcdf.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} is no NetCDF 4 file: {error}") from None
    with file:
        variables = file.variables
        columns = _columns(path, domain, list(variables))
        sizes = {variables[name].shape for name in columns.values()}
        if len(sizes) > 1 or len(next(iter(sizes))) != 1:
            raise ValueError(f"{path}: {', '.join(columns)} need the same single dimension")
        unit = _plain(variables["value"].attrs.get("units", ""))
        total, block = next(iter(sizes))[0], 4096
        for start in range(0, total, block):
            stop = start + block
            values = {key: variables[name][start:stop] for key, name in columns.items()}
            for i in range(min(block, total - start)):
                row = {"unit": unit} | {key: _plain(column[i]) for key, column in values.items()}
                if isinstance(row.get("std"), float) and math.isnan(row["std"]):
                    row["std"] = None
                yield f"index {start + i}", row


def _columns(path: Path, domain: Domain, found: Sequence[str]) -> dict[str, str]:
    """What is read -> the column that has it.

    Raises:
        ValueError: a column is there twice, or missing.
    """
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise ValueError(f"{path} has the column(s) {', '.join(twice)} twice; keep one of each")
    axes = tuple("xyz"[: domain.grid.ndim])
    own = domain.axes if domain.axes and set(domain.axes) <= set(found) else axes
    needed = ("time", *own, "field", "value")
    missing = [name for name in needed if name not in found]
    if missing:
        also = f" (or {', '.join(domain.axes)})" if domain.axes and domain.axes != axes else ""
        raise ValueError(
            f"{path} lacks the column(s) {', '.join(missing)}{also}; it has "
            f"{', '.join(found) or 'none'}"
        )
    others = {name: name for name in ("time", "field", "value")}
    others |= {name: name for name in ("std", "unit") if name in found}
    return others | dict(zip(axes, own, strict=True))


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, str) else float(value)
