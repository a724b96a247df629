"""Parameters by the names and patterns that people write, and by the parts of an operator."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

from ....datasets.base.config import nearest
from ....operators.core.operator import Operator
from ....operators.core.parts import Parts


def matching(names: Collection[str], parts: Sequence[str], key: str) -> list[str]:
    """The names that are, or lie in, what the parts name; in order.

    Raises:
        ValueError: a part names nothing.
    """
    for part in parts:
        if not any(_matches(name, part) for name in names):
            outermost = [*dict.fromkeys(name.split(".")[0] for name in names)]
            raise ValueError(f"{key}: no module or parameter {part!r}{nearest(part, outermost)}")
    return [name for name in names if any(_matches(name, part) for part in parts)]


def _matches(name: str, part: str) -> bool:
    part = part.removesuffix(".")
    return fnmatchcase(name, part) or fnmatchcase(name, f"{part}.*")


def parts_of(operator: Operator, asking: str) -> Parts:
    """The parts of an operator that says which they are.

    Args:
        operator: whose.
        asking: what needs to know them, for the message.

    Raises:
        ValueError: it does not say.
    """
    parts = operator.parts()
    if not parts.blocks:
        raise ValueError(
            f"{asking} needs an operator that names its parts, and {operator.name!r} does not "
            "(Operator.parts); use method.name full, freeze or lora, which go by parameters"
        )
    return parts
