"""What the files of one store must have in common, and what follows from that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..fields.grid import spacing
from ..fields.units import unlike
from ..layouts.source import Source

SHORTEST = 5  # frames of a trajectory whose first interval may differ


def check_names(source: Source) -> None:
    """Refuse names that would steer a terminal."""
    header = source.header
    names = [header.name, *header.fields, *header.constant_fields, *header.parameter_names]
    for name in [*names, *header.axes, *header.series, *header.units, *header.units.values()]:
        if not name.isprintable():
            raise ValueError(f"{source.path}: the name {name!r} cannot be printed; rename it")


def check_agreement(first: Source, other: Source) -> None:
    """Raise a ValueError that names both files and what differs."""
    names = ("name", "axes", "fields", "constant_fields", "parameter_names")
    one, two = first.header, other.header
    differences = [(name, getattr(one, name), getattr(two, name)) for name in names]
    for name in ("shape", "boundary"):
        differences.append((f"grid {name}", getattr(one.grid, name), getattr(two.grid, name)))
    for name in ("lengths", "origin"):
        a, b = getattr(one.grid, name), getattr(two.grid, name)
        size = 1e-5 * np.array(one.grid.lengths)
        close = len(a) == len(b) and bool((np.abs(np.subtract(a, b)) <= size).all())
        differences.append((f"grid {name}", a, a if close else b))
    if set(one.units) != set(two.units) or unlike(one.units, two.units):
        differences.append(("units", one.units, two.units))
    for name, a, b in differences:
        if a != b:
            raise ValueError(
                f"files of one store must agree: {first.path} has {name} {a}, "
                f"{other.path} has {b}; open them one by one, as datasets of their own"
            )


def common_spacing(sources: Sequence[Source]) -> tuple[int, float | None]:
    """The first of the frames that are uniform in time, and their distance."""
    rows = [times for source in sources for times in np.atleast_2d(source.header.times)]
    step = _same([spacing(times) for times in rows])
    if step is None and all(len(times) >= SHORTEST and times[0] < times[1] for times in rows):
        step = _same([spacing(times[1:]) for times in rows])
        return (0 if step is None else 1), step
    return 0, step


def _same(steps: Sequence[float | None]) -> float | None:
    first = steps[0]
    if first is None or any(s is None or abs(s - first) > 1e-5 * first for s in steps):
        return None
    return first
