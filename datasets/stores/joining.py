"""Sources of several files as one: files that continue each other, files of one field each."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float32, Float64

from ..fields.units import conversion
from ..layouts.arrangement import Join
from ..layouts.failures import naming
from ..layouts.source import Header, Source
from .agreement import check_agreement
from .views import View

OPEN = 4  # files that a run over many of them holds open
_Way: TypeAlias = Callable[[Source, int, slice, Sequence[int]], np.ndarray]  # of reading
SAME = 1e-6  # of a time step, up to which the times of two files are the same


def join(sources: Sequence[Source], what: Sequence[Join]) -> list[Source]:
    """The sources of a folder joined by fields, by time, or by fields and then by time.

    Raises:
        ValueError: files do not go together.
    """
    joined = _on_one_clock(sources) if what and len(sources) > 1 else [*sources]
    if "fields" in what:
        joined = _by_fields(joined)
    if "time" in what and len(joined) > 1:
        return [InTime(joined)]
    return joined


def _by_fields(sources: Sequence[Source]) -> list[Source]:
    """One source of all fields from files that hold some each, in the order of their times."""
    kinds: dict[tuple[str, ...], list[Source]] = {}
    for source in sources:
        kinds.setdefault(source.header.fields, []).append(source)
    if len(kinds) == 1:
        return [*sources]
    first, *others = kinds.values()
    for other in others:
        if len(other) != len(first):
            raise ValueError(
                f"join: fields needs as many files of each field; there are {len(first)} with "
                f"{', '.join(first[0].header.fields)} (such as {first[0].path.name}) and "
                f"{len(other)} with {', '.join(other[0].header.fields)} (such as "
                f"{other[0].path.name})"
            )
    ordered = [sorted(each, key=_start) for each in kinds.values()]
    return [Together(parts) for parts in zip(*ordered, strict=True)]


def _on_one_clock(sources: Sequence[Source]) -> list[Source]:
    """The sources with times since the first frame of the first, where each counts since its own.

    Raises:
        ValueError: some count since a date and others do not, or calendars differ.
    """
    origins = [source.header.provenance.get("time") for source in sources]
    if not any(origins):
        return [*sources]
    first = origins[0]
    moved = []
    for source, origin in zip(sources, origins, strict=True):
        if not first or not origin or first["calendar"] != origin["calendar"]:
            raise ValueError(
                f"{sources[0].path.name} and {source.path.name} cannot be joined: their times "
                f"count by {first and first['calendar']} and {origin and origin['calendar']}; give "
                f"both the units and the calendar of their times"
            )
        times = source.header.times + _apart(first, origin) * _counted(first, sources[0].header)
        whole = View(source, range(len(source)))
        whole.header = replace(whole.header, times=times)
        moved.append(whole)
    return moved


def _apart(first: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """From the first time of one file to that of another, in the unit of the former."""
    start = other["first"]
    if other["units"] != first["units"]:
        import cftime  # on use: few files have dates

        calendar = first["calendar"].lower()
        start = cftime.date2num(
            cftime.num2date(start, other["units"], calendar), first["units"], calendar
        )
    return float(start - first["first"])


def _counted(origin: Mapping[str, Any], header: Header) -> float:
    """From the unit in which a file counts its times to that of its header."""
    counted = str(origin["units"]).split(" since ")[0]
    found = conversion(counted, header.units.get("time") or counted)
    return 1.0 if found is None else found[0]


def _start(source: Source) -> tuple[float, str]:
    return float(source.header.times.flat[0]), str(source.path)


class Joined(Source):
    """A source of several files, which are read in one way or another."""

    def read(
        self, trajectory: int, frames: slice, channels: Sequence[int]
    ) -> Float32[np.ndarray, "T C *S"]:
        """The given frames and channels of a trajectory."""
        return self._read(_plain, np.float32, trajectory, frames, channels)

    def read_exactly(
        self, trajectory: int, frames: slice, channels: Sequence[int]
    ) -> Float64[np.ndarray, "T C *S"]:
        """The same in double precision, as exactly as the files have it."""
        return self._read(_exact, np.float64, trajectory, frames, channels)

    @abstractmethod
    def _read(
        self, way: _Way, dtype: type, trajectory: int, frames: slice, channels: Sequence[int]
    ) -> np.ndarray: ...


class InTime(Joined):
    """A run, or several side by side, that is spread over files in time.

    Attributes:
        parts: the files in the order of their times.

    Raises:
        ValueError: files differ in their fields, grid, units, parameters or constant fields, or
            overlap in time.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.parts = sorted(sources, key=_start)
        first = self.parts[0]
        for part in self.parts[1:]:
            check_agreement(first, part)
            _check_same(first, part)
        self.path = first.path
        self._ends = np.cumsum([part.header.n_frames for part in self.parts])
        self._opened: OrderedDict[int, None] = OrderedDict()
        provenance = {**first.header.provenance, "files": len(self.parts)}
        self.header = replace(
            first.header, times=self._times(), series=self._series(), provenance=provenance
        )

    def _read(
        self, way: _Way, dtype: type, trajectory: int, frames: slice, channels: Sequence[int]
    ) -> np.ndarray:
        asked = range(self.header.n_frames)[frames]
        out = np.empty((len(asked), len(channels), *self.header.grid.shape), dtype=dtype)
        for k, end in enumerate(self._ends.tolist()):
            start = end - self.parts[k].header.n_frames
            # `asked` counts up, so what lies in one file lies side by side.
            low, high = _before(asked, start), _before(asked, end)
            if low < high:
                inner = slice(asked[low] - start, asked[high - 1] - start + 1, asked.step)
                with naming(self.parts[k].path):
                    out[low:high] = way(self._use(k), trajectory, inner, channels)
        return out

    def constants(self, trajectory: int) -> Float32[np.ndarray, "K *S"]:
        """The constant fields of a trajectory, which all files share."""
        return self.parts[0].constants(trajectory)

    def mask(self, trajectory: int) -> Bool[np.ndarray, "C *S"] | None:
        """Where the fields are predicted in every file; None: everywhere."""
        masks = [part.mask(trajectory) for part in self.parts]
        known = [mask for mask in masks if mask is not None]
        return np.logical_and.reduce(known) if known else None

    def close(self) -> None:
        """Give the files back; the next access opens them again."""
        for part in self.parts:
            part.close()
        self._opened.clear()

    def _use(self, k: int) -> Source:
        """A file that is about to be read; of many, the one used longest ago is closed."""
        self._opened[k] = None
        self._opened.move_to_end(k)
        if len(self._opened) > OPEN:
            self.parts[self._opened.popitem(last=False)[0]].close()
        return self.parts[k]

    def _series(self) -> dict[str, np.ndarray]:
        """The prescribed scalars of all files in a row."""
        first, found = self.parts[0].header, {}
        for name in first.prescribed:
            if name in first.series:
                each = [part.header.series[name] for part in self.parts]
                if any(values.ndim > 1 for values in each):
                    count = len(self.parts[0])
                    each = [np.broadcast_to(v, (count, v.shape[-1])) for v in each]
                found[name] = np.concatenate(each, axis=-1)
        return found

    def _times(self) -> np.ndarray:
        """The times of all files in a row."""
        for before, after in zip(self.parts, self.parts[1:], strict=False):
            end, start = before.header.times[..., -1], after.header.times[..., 0]
            if np.any(end >= start):
                raise ValueError(
                    f"join: time needs files that follow each other; {before.path.name} ends at "
                    f"{np.max(end):.10g} and {after.path.name} begins at {np.min(start):.10g}; "
                    f"leave the doubled frames out, or give each file the times of the whole run"
                )
        rows = [part.header.times for part in self.parts]
        if any(times.ndim > 1 for times in rows):
            rows = [np.broadcast_to(times, (len(self.parts[0]), times.shape[-1])) for times in rows]
        return np.concatenate(rows, axis=-1)


class Together(Joined):
    """The same trajectories with the fields of several files.

    Raises:
        ValueError: files differ in their trajectories, times, grid, units or parameters, or two of
            them hold the same field.
    """

    def __init__(self, parts: Sequence[Source]) -> None:
        self.parts = [*parts]
        first = self.parts[0]
        for part in self.parts[1:]:
            check_agreement(first, part, ("name", "axes", "parameter_names"))
            _check_same(first, part, constants=False)
            _check_times(first, part)
        self.path = first.path
        headers = [part.header for part in self.parts]
        self._fields = [(k, c) for k, h in enumerate(headers) for c in range(len(h.fields))]
        fields = [name for header in headers for name in header.fields]
        doubled = next((name for name in fields if fields.count(name) > 1), None)
        if doubled is not None:
            holding = [part.path.name for part in self.parts if doubled in part.header.fields]
            raise ValueError(f"join: fields: {doubled!r} is in {' and in '.join(holding)}")
        self._constants = self._first_of([header.constant_fields for header in headers])
        offsets = {
            name: offset
            for header in headers
            for name, offset in header.provenance.get("subtracted", {}).items()
        }
        provenance = {**first.header.provenance, **({"subtracted": offsets} if offsets else {})}
        self.header = replace(
            first.header,
            fields=tuple(fields),
            constant_fields=tuple(self._constants),
            units=_union([header.units for header in headers], self.parts),
            filled=tuple(name for header in headers for name in header.filled),
            mask_fill={name: v for header in headers for name, v in header.mask_fill.items()},
            series=_union_of_series(headers),
            prescribed=tuple(name for header in headers for name in header.prescribed),
            provenance=provenance,
        )

    def _read(
        self, way: _Way, dtype: type, trajectory: int, frames: slice, channels: Sequence[int]
    ) -> np.ndarray:
        count = len(range(self.header.n_frames)[frames])
        out = np.empty((count, len(channels), *self.header.grid.shape), dtype=dtype)
        for k, part in enumerate(self.parts):
            here = [
                (to, self._fields[c][1]) for to, c in enumerate(channels) if self._fields[c][0] == k
            ]
            if here:
                with naming(part.path):
                    values = way(part, trajectory, frames, [channel for _, channel in here])
                out[:, [to for to, _ in here]] = values
        return out

    def constants(self, trajectory: int) -> Float32[np.ndarray, "K *S"]:
        """The constant fields of a trajectory."""
        if not self._constants:
            return self.parts[0].constants(trajectory)
        known = {k: self.parts[k].constants(trajectory) for k, _ in self._constants.values()}
        return np.stack([known[k][channel] for k, channel in self._constants.values()])

    def mask(self, trajectory: int) -> Bool[np.ndarray, "C *S"] | None:
        """Where the fields of a trajectory are predicted; None: everywhere."""
        masks = [part.mask(trajectory) for part in self.parts]
        if all(mask is None for mask in masks):
            return None
        shape = self.header.grid.shape
        whole = [
            np.ones((len(part.header.fields), *shape), dtype=bool) if mask is None else mask
            for part, mask in zip(self.parts, masks, strict=True)
        ]
        return np.concatenate(whole)

    def close(self) -> None:
        """Give the files back; the next access opens them again."""
        for part in self.parts:
            part.close()

    @staticmethod
    def _first_of(names: Sequence[Sequence[str]]) -> dict[str, tuple[int, int]]:
        """Name -> the first file that holds it, and its channel there."""
        found: dict[str, tuple[int, int]] = {}
        for k, inner in enumerate(names):
            for channel, name in enumerate(inner):
                found.setdefault(name, (k, channel))
        return found


def _plain(
    source: Source, trajectory: int, frames: slice, channels: Sequence[int]
) -> Float32[np.ndarray, "T C *S"]:
    return source.read(trajectory, frames, channels)


def _exact(
    source: Source, trajectory: int, frames: slice, channels: Sequence[int]
) -> Float64[np.ndarray, "T C *S"]:
    return source.read_exactly(trajectory, frames, channels)


def _before(asked: range, frame: int) -> int:
    """How many of the frames that are asked for lie before this one."""
    return min(len(asked), max(0, -(-(frame - asked.start) // asked.step)))


def _check_same(first: Source, other: Source, constants: bool = True) -> None:
    """Refuse files of other trajectories, parameters or constant fields than the first."""
    what = ""
    if len(first) != len(other):
        what = f"{len(first)} and {len(other)} trajectories"
    elif not np.array_equal(first.header.parameters, other.header.parameters, equal_nan=True):
        what = f"different parameters ({', '.join(first.header.parameter_names)})"
    elif constants and first.header.constant_fields:
        same = all(
            np.array_equal(first.constants(i), other.constants(i), equal_nan=True)
            for i in range(len(first))
        )
        other.close()
        what = "" if same else f"different {', '.join(first.header.constant_fields)}"
    if what:
        raise ValueError(
            f"{first.path.name} and {other.path.name} cannot be joined: they have {what}"
        )


def _check_times(first: Source, other: Source) -> None:
    """Refuse files whose frames are of other times."""
    one, two = first.header.times, other.header.times
    if one.shape[-1] == two.shape[-1]:
        step = np.abs(np.diff(one)).min() if one.shape[-1] > 1 else 1.0
        if np.all(np.abs(one - two) <= SAME * step):
            return
    raise ValueError(
        f"join: fields needs files of the same times; {first.path.name} has {one.shape[-1]} from "
        f"{one.min():.10g} to {one.max():.10g}, {other.path.name} {two.shape[-1]} from "
        f"{two.min():.10g} to {two.max():.10g}"
    )


def _union(units: Sequence[Mapping[str, str]], parts: Sequence[Source]) -> dict[str, str]:
    """The units of all files, which must agree where two say some."""
    found: dict[str, str] = {}
    for given, part in zip(units, parts, strict=True):
        for name, unit in given.items():
            if found.setdefault(name, unit) != unit:
                raise ValueError(
                    f"{parts[0].path.name} and {part.path.name} cannot be joined: {name} has the "
                    f"units {found[name]} and {unit}"
                )
    return found


def _union_of_series(headers: Sequence[Header]) -> dict[str, Any]:
    return {name: values for header in headers for name, values in header.series.items()}
