"""What the files of one store must have in common, and what follows from that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..fields.units import unlike
from ..layouts.description import FILE
from ..layouts.source import Source


def check_sources(sources: Sequence[Source]) -> None:
    """Refuse names that cannot be printed, and sources that disagree with the first."""
    _check_names(sources[0])
    for source in sources[1:]:
        check_agreement(sources[0], source)


def _check_names(source: Source) -> None:
    """Refuse names that would steer a terminal."""
    header = source.header
    names = [header.name, *header.fields, *header.constant_fields, *header.parameter_names]
    for name in [*names, *header.axes, *header.series, *header.units, *header.units.values()]:
        if not name.isprintable():
            raise ValueError(f"{source.path}: the name {name!r} cannot be printed; rename it")


_NAMES = ("name", "axes", "fields", "constant_fields", "parameter_names", "prescribed")


def check_agreement(first: Source, other: Source, names: Sequence[str] = _NAMES) -> None:
    """Raise a ValueError that names both files and what differs."""
    one, two = first.header, other.header
    differences = [(name, getattr(one, name), getattr(two, name)) for name in names]
    for name in ("shape", "boundary"):
        differences.append((f"grid {name}", getattr(one.grid, name), getattr(two.grid, name)))
    for name in ("lengths", "origin"):
        a, b = getattr(one.grid, name), getattr(two.grid, name)
        size = 1e-5 * np.array(one.grid.lengths)
        close = len(a) == len(b) and bool((np.abs(np.subtract(a, b)) <= size).all())
        differences.append((f"grid {name}", a, a if close else b))
    offsets = one.provenance.get("subtracted"), two.provenance.get("subtracted")
    if "fields" in names and offsets[0] != offsets[1]:
        raise ValueError(
            f"{first.path} has the offsets {offsets[0]} subtracted, {other.path} {offsets[1]}; "
            f"give numbers that hold for all files: `subtract: {{name: number}}`"
        )
    other_units = unlike(one.units, two.units)
    if other_units:
        name = other_units[0]
        raise ValueError(
            f"files of one store must agree: {first.path} has {name} in the units "
            f"{one.units[name]}, {other.path} in {two.units[name]}; convert them: units: "
            f"{{{name}: {one.units[name]}}} in a description.yaml or a recipe's data, --units "
            f"{name}={one.units[name]} on the command line"
        )
    if "fields" in names and set(one.units) != set(two.units):
        differences.append(("units", one.units, two.units))
    for name, a, b in differences:
        if a != b:
            apart = name == "fields" and not set(a) & set(b)
            way = "as datasets of their own"
            if apart:
                way += f", or as one by `join: fields` in a {FILE} that names all fields"
            raise ValueError(
                f"files of one store must agree: {first.path} has {name} {a}, "
                f"{other.path} has {b}; open them one by one, {way}"
            )
