"""What the files of one store must have in common, and what follows from that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..fields.grid import spacing
from ..layouts.source import Source

SHORTEST = 5  # frames of a trajectory whose first interval may differ


def check_names(source: Source) -> None:
    """Refuse names that would steer a terminal."""
    names = [source.name, *source.fields, *source.constant_fields, *source.parameter_names]
    for name in [*names, *source.axes, *source.series, *source.units, *source.units.values()]:
        if not name.isprintable():
            raise ValueError(f"{source.path}: the name {name!r} cannot be printed; rename it")


def check_agreement(first: Source, other: Source) -> None:
    """Raise a ValueError that names both files and what differs."""
    names = ("name", "axes", "fields", "constant_fields", "parameter_names", "units")
    differences = [(name, getattr(first, name), getattr(other, name)) for name in names]
    for name in ("shape", "boundary"):
        differences.append((f"grid {name}", getattr(first.grid, name), getattr(other.grid, name)))
    for name in ("lengths", "origin"):
        one, two = getattr(first.grid, name), getattr(other.grid, name)
        size = 1e-5 * np.array(first.grid.lengths)
        close = len(one) == len(two) and bool((np.abs(np.subtract(one, two)) <= size).all())
        two = one if close else two
        differences.append((f"grid {name}", one, two))
    for name, one, two in differences:
        if one != two:
            raise ValueError(
                f"files of one store must agree: {first.path} has {name} {one}, "
                f"{other.path} has {two}; open them one by one, as datasets of their own"
            )


def common_spacing(sources: Sequence[Source]) -> tuple[int, float | None]:
    """The first of the frames that are uniform in time, and their distance."""
    rows = [times for source in sources for times in np.atleast_2d(source.times)]
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
