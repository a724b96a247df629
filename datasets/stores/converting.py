"""A source in other units, where a recipe or a command asks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64

from ..base.config import nearest
from ..fields.units import conversion, is_unit
from ..layouts.source import Header, Source

Change = tuple[float, float]  # scale and offset
SAME: Change = (1.0, 0.0)
MEASURES = ("time", "length")


class Converted(Source):
    """The trajectories of a source in other units.

    Fields, constant fields, parameters, times and lengths are converted in double precision; what
    the file gives no unit for is only said to have the one that is asked for.

    Args:
        source: in the units of its file.
        units: name of a field, constant field, parameter, "time" or "length" -> unit.

    Raises:
        ValueError: there is nothing of a name, or a unit cannot be converted to the other.
    """

    def __init__(self, source: Source, units: Mapping[str, str]) -> None:
        self.path, self._source = source.path, source
        header = source.header
        known = [*header.fields, *header.constant_fields, *header.parameter_names, *header.series]
        for name in units:
            if name not in (*known, *MEASURES):
                raise ValueError(
                    f"{source.path}: units: no field or parameter {name!r}"
                    f"{nearest(name, known)}; there are: {', '.join((*known, *MEASURES))}"
                )
        changes = {name: _change(source, name, unit) for name, unit in units.items()}
        subtracted = header.provenance.get("subtracted", {})
        for name in set(changes) & set(subtracted):  # a difference has no origin
            changes[name] = changes[name][0], 0.0
        self._fields = [changes.get(name, SAME) for name in header.fields]
        self._constants = [changes.get(name, SAME) for name in header.constant_fields]
        self.header = _header(header, units, changes)

    def read(
        self, trajectory: int, frames: slice, channels: Sequence[int]
    ) -> Float32[np.ndarray, "T C *S"]:
        """The given frames and channels of a trajectory."""
        if all(self._fields[channel] == SAME for channel in channels):
            return self._source.read(trajectory, frames, channels)
        with np.errstate(over="ignore"):  # what is too large is named by the store
            return self.read_exactly(trajectory, frames, channels).astype(np.float32)

    def read_exactly(
        self, trajectory: int, frames: slice, channels: Sequence[int]
    ) -> Float64[np.ndarray, "T C *S"]:
        """The same in double precision."""
        values = self._source.read_exactly(trajectory, frames, channels)
        for place, channel in enumerate(channels):
            values[:, place] = _of(values[:, place], self._fields[channel])
        return values

    def constants(self, trajectory: int) -> Float32[np.ndarray, "K *S"]:
        """The constant fields of a trajectory."""
        values = self._source.constants(trajectory)
        changed = [_of(each.astype(np.float64), change) for each, change in
                   zip(values, self._constants, strict=True)]  # fmt: skip
        return np.stack(changed).astype(np.float32) if changed else values

    def mask(self, trajectory: int) -> Bool[np.ndarray, "C *S"] | None:
        """Where the fields of a trajectory are predicted; None: everywhere."""
        return self._source.mask(trajectory)

    def close(self) -> None:
        """Give the file back; the next access opens it again."""
        self._source.close()


def converted(source: Source, units: Mapping[str, str]) -> Source:
    """The source in other units; itself where none are asked for.

    Raises:
        ValueError: as `Converted`.
    """
    return Converted(source, units) if units else source


def _change(source: Source, name: str, unit: str) -> Change:
    stated = source.header.units.get(name, "")
    if not is_unit(unit):
        raise ValueError(f"units.{name}: {unit!r} is no unit; write one such as m/s, K or hours")
    if not stated or not is_unit(stated):
        return SAME
    found = conversion(stated, unit)
    if found is None:
        raise ValueError(
            f"{source.path}: units: the file has {name!r} in {stated!r}, which cannot be converted "
            f"to {unit!r}; ask for a unit of the same kind, or leave it out"
        )
    return found if name not in MEASURES else (found[0], 0.0)


def _of(values: np.ndarray, change: Change) -> np.ndarray:
    return values if change == SAME else values * change[0] + change[1]


def _header(header: Header, units: Mapping[str, str], changes: Mapping[str, Change]) -> Header:
    """What the trajectories are, in the new units."""
    columns = [
        _of(column, changes.get(name, SAME))
        for name, column in zip(header.parameter_names, header.parameters.T, strict=True)
    ]
    stretch = changes.get("length", SAME)[0]
    lengths, origin = (
        tuple(stretch * value for value in values)
        for values in (header.grid.lengths, header.grid.origin)
    )
    provenance: dict[str, Any] = {**header.provenance, "units": dict(units)}
    if "subtracted" in provenance:
        provenance["subtracted"] = {
            name: value * changes.get(name, SAME)[0]
            for name, value in header.provenance["subtracted"].items()
        }
    return replace(
        header,
        units={**header.units, **units},
        times=_of(header.times, changes.get("time", SAME)),
        grid=replace(header.grid, lengths=lengths, origin=origin),
        parameters=np.stack(columns, 1) if columns else header.parameters,
        series={k: _of(values, changes.get(k, SAME)) for k, values in header.series.items()},
        mask_fill={k: value * changes.get(k, SAME)[0] + changes.get(k, SAME)[1]
                   for k, value in header.mask_fill.items()},
        provenance=provenance,
    )  # fmt: skip
