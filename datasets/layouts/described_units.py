"""The units of a described file: as its attributes say, converted where the description asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from ..fields.grid import Grid
from ..fields.units import conversion, is_unit
from .arrays import TIME, Variable
from .described_arrays import DescribedArrays
from .described_grid import Space
from .described_times import Times
from .description import Description


class Units:
    """Brings what a file holds into the units of its description.

    Attributes:
        units: name of a field or parameter, `time` or `length` -> unit.
    """

    def __init__(self, arrays: DescribedArrays, description: Description) -> None:
        self._arrays, self._asked, self._given = arrays, description.units, description
        self.units = dict(description.units)

    def field(self, name: str, text: str, variable: Variable) -> Variable:
        """A field, whose array `text` says its unit."""
        array = text if text in self._arrays.shapes else text.partition("[")[0]
        stated = self._arrays.attribute(array, "units")
        scale, offset = self._conversion(name, stated)
        return replace(variable, scale=scale, offset=offset)

    def parameters(
        self, names: Sequence[str], table: Float64[np.ndarray, "n P"]
    ) -> Float64[np.ndarray, "n P"]:
        """The parameters; the arrays of those that have one say their units."""
        columns = table.copy()
        for place, name in enumerate(names):
            given = self._given.parameters[name]
            if isinstance(given, str) and "@" not in given:
                scale, offset = self._conversion(name, self._arrays.attribute(given, "units"))
                columns[:, place] = columns[:, place] * scale + offset
        return columns

    def grid(self, space: Space) -> Grid:
        """The grid, in the unit of length."""
        scale, _ = self._conversion("length", space.unit)
        if scale == 1:
            return space.grid
        lengths = tuple(scale * length for length in space.grid.lengths)
        origin = tuple(scale * start for start in space.grid.origin)
        return replace(space.grid, lengths=lengths, origin=origin)

    def times(self, times: Times) -> Float64[np.ndarray, "*n T"]:
        """The times, in the unit of time."""
        scale, _ = self._conversion(TIME, times.unit)
        return times.values if scale == 1 else times.values * scale

    def _conversion(self, name: str, stated: str) -> tuple[float, float]:
        """Scale and offset from the unit of the file to the one that is asked for."""
        asked = self._asked.get(name)
        if stated and asked is None:
            self.units[name] = stated
        if not stated or asked is None or not is_unit(stated):  # then the description says it
            return 1.0, 0.0
        found = conversion(stated, asked)
        if found is None:
            raise self._arrays.wrong(
                f"units: the file has {name!r} in {stated!r}, which cannot be converted to "
                f"{asked!r}; ask for a unit of the same kind, or leave it out"
            )
        return found
