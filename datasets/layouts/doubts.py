"""What in a file speaks against a published layout whose arrays it seems to have."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ..files.containers import Container, listing, open_container
from ..files.conventions import NO_VARIABLE, texts
from .arrays import TIME
from .dimensions import contradiction, role

SHOWN = 4  # arrays that a message names
MOST = 256  # arrays of a file that are looked at


def doubts(path: Path, axes: Mapping[str, Sequence[str]], known: Collection[str]) -> str:
    """What contradicts a layout in the file's own names; "" if nothing does.

    Args:
        path: the file.
        axes: array that the layout has -> its axes, in the order of the file.
        known: further arrays that the layout has.
    """
    shapes = dict(itertools.islice(listing(path).items(), MOST))
    file = open_container(path)
    present = {name: names for name, names in axes.items() if name in shapes}
    for name, expected in present.items():
        own = file.dimensions(name)
        if len(own) == len(expected):
            wrong = contradiction(expected, own, lambda dim: _role(file, shapes, dim))
            if wrong is not None:
                return (
                    f"the file calls the axes of {name!r} ({', '.join(own)}), which are not "
                    f"({', '.join(expected)})"
                )
    alike = {shapes[name] for name in present}
    extra = [
        f"{name} {shape}"
        for name, shape in shapes.items()
        if name not in {*present, *known}
        and (shape in alike or (len(shape) == 1 and _own_axis(file, name)))
    ]
    if not extra:
        return ""
    shown = ", ".join([*extra[:SHOWN], "…"] if len(extra) > SHOWN else extra)
    return f"the layout does not have the file's arrays {shown}"


def _role(file: Container, shapes: Mapping[str, tuple[int, ...]], dim: str) -> str:
    return role(dim, file.attributes(dim) if dim in shapes else {})


def _own_axis(file: Container, name: str) -> bool:
    """Whether an array is a coordinate of time or space, and not the length of a dimension."""
    attributes = file.attributes(name)
    stated = role(name.rsplit("/", 1)[-1], attributes)
    return stated in (TIME, "x", "y", "z") and NO_VARIABLE not in texts(attributes).get("NAME", "")
