"""How a quantity transforms under the symmetries of space, by its name."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..fields.vocabulary import AXIAL, EVEN, ODD, component

COORDINATE = "coordinate_"  # how the names of constant fields begin that stay where they are


@dataclass(frozen=True)
class Kind:
    """What a quantity is.

    Attributes:
        stem: its name without axes.
        indices: its tensor indices: () for a scalar, (1,) for `velocity_y`.
        odd: whether it is multiplied by the determinant once more.
    """

    stem: str
    indices: tuple[int, ...] = ()
    odd: bool = False

    def turned(self, alike: Sequence[Sequence[int]]) -> list[Kind]:
        """The quantities that a rotation among `alike` axes may put in its place."""
        choices = [next((axes for axes in alike if i in axes), [i]) for i in self.indices]
        return [replace(self, indices=indices) for indices in itertools.product(*choices)]


def kind_of(name: str, axes: Sequence[str], parity: Mapping[str, str]) -> Kind | None:
    """What a quantity is; None if nothing says so.

    Args:
        name: of the quantity.
        axes: names of the space axes.
        parity: "even" or "odd" for scalars whose names do not say it.
    """
    if name in parity:
        return Kind(name, odd=parity[name] == "odd")
    if name.startswith(COORDINATE):
        return Kind(name)
    stem, indices = component(name, axes)
    if indices:
        return Kind(stem, indices, stem in AXIAL)
    scalar_u = name == "u" and len(axes) > 1
    if name in ODD or name in EVEN or name.endswith("_mask") or scalar_u:
        return Kind(name, odd=name in ODD)
    return None
