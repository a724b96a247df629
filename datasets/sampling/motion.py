"""Windows at other positions: what a flip, a rotation or a shift does to all that they hold."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..fields.window import Context, Window
from .kinds import COORDINATE, Kind


@dataclass(frozen=True)
class Motion:
    """x'_i = signs_i x_order(i), then a shift by `shifts` points."""

    order: tuple[int, ...]
    signs: tuple[int, ...]
    shifts: tuple[int, ...]

    @property
    def determinant(self) -> int:
        """±1."""
        return sign_of(self.order) * math.prod(self.signs)

    def space(self, values: Tensor) -> Tensor:
        """Values (…, *S) at their new positions."""
        ndim = len(self.order)
        lead = values.ndim - ndim
        values = values.permute(*range(lead), *(lead + axis for axis in self.order))
        # What does nothing would still copy.
        if reflected := [lead + i for i, sign in enumerate(self.signs) if sign < 0]:
            values = values.flip(reflected)
        if any(self.shifts):
            values = values.roll(self.shifts, tuple(range(lead, lead + ndim)))
        return values


class Mover:
    """Moves windows: positions and components alike.

    Args:
        kinds: what the quantities of the windows are, by name; what is None moves as a scalar.
    """

    def __init__(self, kinds: Mapping[str, Kind | None]) -> None:
        self.kinds = {name: kind or Kind(name) for name, kind in kinds.items()}
        self._known: dict[tuple[Any, ...], tuple[list[int], Tensor]] = {}

    def __call__(self, window: Window, motion: Motion) -> Window:
        """The window after the motion; its coordinates stay."""
        context = window.context
        return Window(
            self._channels(window.history, context.channels, motion),
            self._channels(window.target, context.fields, motion),
            window.lead_times,
            self._context(context, motion),
        )

    def _context(self, context: Context, motion: Motion) -> Context:
        constants, parameters, mask = context.constants, context.parameters, context.mask
        if constants is not None:
            moved = self._channels(constants, context.constant_fields, motion)
            stays = torch.tensor([k.startswith(COORDINATE) for k in context.constant_fields])
            shape = (-1, *(1,) * context.grid.ndim)
            constants = torch.where(stays.reshape(shape), constants, moved)
        if parameters is not None:
            source, factor = self._components(context.parameter_names, motion)
            parameters = parameters[source] * factor
        if mask is not None:
            source, _ = self._components(context.fields, motion)
            mask = motion.space(mask[source])
        given = context.prescribed
        if given is not None:
            moved = self._channels(given.values, given.names, motion)
            given = replace(given, values=moved)
        return replace(
            context, constants=constants, parameters=parameters, mask=mask, prescribed=given
        )

    def _channels(
        self, values: Float[Tensor, "... C *S"], names: Sequence[str], motion: Motion
    ) -> Float[Tensor, "... C *S"]:
        """Fields at their new positions, in their new components."""
        ndim = len(motion.order)
        source, factor = self._components(names, motion)
        if source != [*range(len(names))]:
            values = values.index_select(values.ndim - 1 - ndim, torch.tensor(source))
        moved = motion.space(values)
        if (factor < 0).any():
            moved = moved * factor.reshape(-1, *(1,) * ndim).to(values)
        return moved

    def _components(self, names: Sequence[str], motion: Motion) -> tuple[list[int], Tensor]:
        """For each quantity, from which it is taken, and with which sign."""
        key = (tuple(names), motion.order, motion.signs)
        if key not in self._known:
            self._known[key] = self._find_components(names, motion)
        return self._known[key]

    def _find_components(self, names: Sequence[str], motion: Motion) -> tuple[list[int], Tensor]:
        source, factor = [], []
        for name in names:
            kind = self.kinds[name]
            wanted = replace(kind, indices=tuple(motion.order[i] for i in kind.indices))
            same = [k for k, other in enumerate(names) if self.kinds[other] == wanted]
            source.append(same[0] if kind.indices else names.index(name))
            sign = math.prod(motion.signs[i] for i in kind.indices)
            factor.append(sign * (motion.determinant if kind.odd else 1))
        return source, torch.tensor(factor, dtype=torch.float32)


def sign_of(order: Sequence[int]) -> int:
    """The sign of a permutation of distinct numbers."""
    return math.prod(-1 for a, b in itertools.combinations(order, 2) if a > b)
