"""Training windows moved by the symmetries of space: flips, rotations, shifts, moving frames.

A symmetry maps solutions to solutions, so a moved window is as good as a simulated one. It acts on
positions and on components alike: with x'_i = s_i x_p(i), signs s and a permutation p of the axes,

    vectors v'_i = s_i v_p(i), tensors likewise in each index, pseudo-scalars (a vorticity in 2D)
    and axial vectors once more times det = ±1.

What a field is follows from its name; what its name does not say must be declared. Constant
fields, parameters and masks move with the fields; coordinates (`coordinate_x`, …) stay.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..fields.vocabulary import AXIAL, EVEN, INVARIANT, ODD, component
from ..fields.window import Context, Window
from ..stores.store import Store

AUGMENTATIONS = ("flip", "rotate", "roll", "galilean")
PARITIES = ("even", "odd")

# What a moving frame leaves alone.
_AT_REST = {*INVARIANT} - {"energy"} | ODD
_PERIODIC, _COORDINATE, _FORCING = "periodic", "coordinate_", "forcing"


@dataclass(frozen=True)
class _Kind:
    """How a quantity transforms: its tensor indices, and whether it is multiplied by det."""

    stem: str
    indices: tuple[int, ...] = ()
    odd: bool = False


@dataclass(frozen=True)
class _Motion:
    """x'_i = signs_i x_order(i), then a shift by `shifts` points."""

    order: tuple[int, ...]
    signs: tuple[int, ...]
    shifts: tuple[int, ...]

    @property
    def determinant(self) -> int:
        """±1."""
        return _parity(self.order) * math.prod(self.signs)

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


class Augmentation:
    """Moves windows of one store at random; see the module's docstring.

    - flip: reflects every axis whose two ends are alike with probability ½.
    - rotate: by multiples of 90°, among axes that are alike in points, length and boundary.
    - roll: shifts periodic axes by a random number of points.
    - galilean: adds a constant velocity U, of the size of the window's own, along periodic axes,
      and looks from the frame that moves along: v'(x, t) = v(x − U t, t) + U. For equations that
      look the same from there; the shift is spectral.

    Args:
        names: which of them; they are combined.
        store: of the windows.
        fields: the fields of the windows.
        parity: "even" or "odd" (changes sign under reflections) for fields, constant fields and
            parameters whose names do not say it. Whoever declares one says, too, that it is the
            same at every place and in every direction.

    Raises:
        ValueError: an unknown name, or a symmetry that the data do not have; says why.
    """

    def __init__(
        self,
        names: Sequence[str],
        store: Store,
        fields: Sequence[str],
        parity: Mapping[str, str] | None = None,
    ) -> None:
        unknown = [name for name in names if name not in AUGMENTATIONS]
        if unknown:
            raise ValueError(
                f"unknown augmentation {', '.join(unknown)}; there are {', '.join(AUGMENTATIONS)}"
            )
        self.names, self.store, self.fields = tuple(names), store, tuple(fields)
        self.parity = dict(parity or {})
        self._check_parity()
        self.kinds = {name: self._kind(name) for name in self._all_names()}
        self._known: dict[tuple[Any, ...], tuple[list[int], Tensor]] = {}
        self._axes = range(store.grid.ndim)
        self._periodic = [i for i in self._axes if store.grid.boundary[i] == _PERIODIC]
        self._flippable = [i for i in self._axes if "-" not in store.grid.boundary[i]]
        self._classes = _alike(store, self._flippable)
        for name in self.names:
            getattr(self, f"_check_{name}")()

    def __call__(self, window: Window, generator: np.random.Generator) -> Window:
        """The window, moved as the generator says."""
        if "galilean" in self.names:
            window = self._moving(window, generator)
        return self._move(window, self._draw(generator))

    # ------------------------------------------------------------------ drawing and moving

    def _draw(self, generator: np.random.Generator) -> _Motion:
        ndim = len(self._axes)
        order, signs, shifts = list(self._axes), [1] * ndim, [0] * ndim
        if "rotate" in self.names:
            for axes in self._classes:
                turned = generator.permutation(axes).tolist()
                flips = generator.choice((-1, 1), len(axes))
                if _parity(turned) * flips.prod() < 0:
                    flips[0] = -flips[0]
                for i, axis in enumerate(axes):
                    order[axis], signs[axis] = turned[i], int(flips[i])
        if "flip" in self.names:
            for axis in self._flippable:
                signs[axis] *= int(generator.choice((-1, 1)))
        if "roll" in self.names:
            for axis in self._periodic:
                shifts[axis] = int(generator.integers(self.store.grid.shape[axis]))
        return _Motion(tuple(order), tuple(signs), tuple(shifts))

    def _move(self, window: Window, motion: _Motion) -> Window:
        context = window.context
        return Window(
            self._channels(window.history, context.channels, motion),
            self._channels(window.target, context.fields, motion),
            window.lead_times,
            self._move_context(context, motion),
        )

    def _move_context(self, context: Context, motion: _Motion) -> Context:
        constants, parameters, mask = context.constants, context.parameters, context.mask
        if constants is not None:
            moved = self._channels(constants, context.constant_fields, motion)
            stays = torch.tensor([k.startswith(_COORDINATE) for k in context.constant_fields])
            shape = (-1, *(1,) * context.grid.ndim)
            constants = torch.where(stays.reshape(shape), constants, moved)
        if parameters is not None:
            source, factor = self._components(context.parameter_names, motion)
            parameters = parameters[source] * factor
        if mask is not None:
            source, _ = self._components(context.fields, motion)
            mask = motion.space(mask[source])
        return replace(context, constants=constants, parameters=parameters, mask=mask)

    def _channels(
        self, values: Float[Tensor, "... C *S"], names: Sequence[str], motion: _Motion
    ) -> Float[Tensor, "... C *S"]:
        """Fields at their new positions, in their new components."""
        axis = values.ndim - 1 - len(self._axes)
        source, factor = self._components(names, motion)
        if source != [*range(len(names))]:
            values = values.index_select(axis, torch.tensor(source))
        moved = motion.space(values)
        if (factor < 0).any():
            moved = moved * factor.reshape(-1, *(1,) * len(self._axes)).to(values)
        return moved

    def _components(self, names: Sequence[str], motion: _Motion) -> tuple[list[int], Tensor]:
        """For each quantity, from which it is taken, and with which sign."""
        key = (tuple(names), motion.order, motion.signs)
        if key not in self._known:
            self._known[key] = self._find_components(names, motion)
        return self._known[key]

    def _find_components(self, names: Sequence[str], motion: _Motion) -> tuple[list[int], Tensor]:
        source, factor = [], []
        for name in names:
            kind = self.kinds[name] or _Kind(name)
            wanted = replace(kind, indices=tuple(motion.order[i] for i in kind.indices))
            same = [k for k, other in enumerate(names) if self.kinds[other] == wanted]
            source.append(same[0] if kind.indices else names.index(name))
            sign = math.prod(motion.signs[i] for i in kind.indices)
            factor.append(sign * (motion.determinant if kind.odd else 1))
        return source, torch.tensor(factor, dtype=torch.float32)

    def _moving(self, window: Window, generator: np.random.Generator) -> Window:
        """The window seen from a frame that moves at a random constant velocity."""
        context, fields = window.context, window.fields
        velocity = {i: fields.index(f"velocity_{self.store.axes[i]}") for i in self._periodic}
        size = window.history[:, [*velocity.values()]].square().mean().sqrt().item()
        drift = {i: size * float(generator.standard_normal()) for i in velocity}
        frames = len(window.history)
        given = torch.arange(1 - frames, 1.0) * (context.dt or 0.0)
        history = self._shifted(window.history, drift, given)
        target = self._shifted(window.target, drift, window.lead_times)
        for i, channel in velocity.items():
            history[:, channel] += drift[i]
            target[:, channel] += drift[i]
        return Window(history, target, window.lead_times, context)

    def _shifted(
        self, values: Float[Tensor, "T C *S"], drift: Mapping[int, float], times: Tensor
    ) -> Float[Tensor, "T C *S"]:
        """v(x − U t) for each frame, by its Fourier series along the periodic axes."""
        dims = [2 + i for i in drift]
        spectrum = torch.fft.fftn(values.double(), dim=dims)
        for i, speed in drift.items():
            n, spacing = self.store.grid.shape[i], self.store.grid.spacing[i]
            k = 2 * math.pi * torch.fft.fftfreq(n, spacing, dtype=torch.float64)
            phase = -k * speed * times.double()[:, None]
            turn = torch.polar(torch.ones_like(phase), phase)
            if n % 2 == 0:  # the highest mode has no sign: it stays real
                turn[:, n // 2] = turn[:, n // 2].real.to(turn.dtype)
            shape = [1] * values.ndim
            shape[0], shape[2 + i] = len(times), n
            spectrum = spectrum * turn.reshape(shape)
        return torch.fft.ifftn(spectrum, dim=dims).real.to(values)

    # ------------------------------------------------------------------ what may be done

    def _all_names(self) -> tuple[str, ...]:
        store = self.store
        names = (*self.fields, *store.inputs, *store.constant_fields, *store.parameter_names)
        return tuple(dict.fromkeys(names))

    def _kind(self, name: str) -> _Kind | None:
        """What a quantity is; None if nothing says so."""
        if name in self.parity:
            return _Kind(name, odd=self.parity[name] == "odd")
        if name.startswith(_COORDINATE):
            return _Kind(name)
        stem, indices = component(name, self.store.axes)
        if indices:
            return _Kind(stem, indices, stem in AXIAL)
        scalar_u = name == "u" and len(self.store.axes) > 1
        if name in ODD or name in EVEN or name.endswith("_mask") or scalar_u:
            return _Kind(name, odd=name in ODD)
        return None

    def _check_parity(self) -> None:
        for name, value in self.parity.items():
            if name not in self._all_names() or value not in PARITIES:
                raise ValueError(
                    f"parity says for names of {self.store.name!r} ({', '.join(self._all_names())})"
                    f" whether they are even or odd; got {name}: {value}"
                )

    def _check_flip(self) -> None:
        if not self._flippable:
            self._refuse("flip", "every axis has two different ends")
        self._require_kinds("flip")

    def _check_rotate(self) -> None:
        if not self._classes:
            grid = self.store.grid
            self._refuse(
                "rotate",
                f"no two axes are alike: {grid.shape} points, lengths {grid.lengths}, boundary "
                f"{grid.boundary}",
            )
        self._require_kinds("rotate")
        self._require_partners()

    def _check_roll(self) -> None:
        if not self._periodic:
            self._refuse("roll", "no axis is periodic")
        self._require_no_forcing("roll")

    def _check_galilean(self) -> None:
        store, names = self.store, self.fields
        velocity = [f"velocity_{store.axes[i]}" for i in self._periodic]
        constants = [k for k in store.constant_fields if not k.startswith(_COORDINATE)]
        others = [n for n in names if n not in (*self.parity, *_AT_REST)]
        others = [n for n in others if not n.startswith("velocity_")]
        if not velocity or any(name not in names for name in velocity):
            wanted = ", ".join(velocity) or "a periodic axis"
            self._refuse("galilean", f"a moving frame needs {wanted}")
        if constants or store.mask(0) is not None:
            held = ", ".join(constants) or "its mask"
            self._refuse("galilean", f"{held} would have to move along")
        if others:
            self._refuse("galilean", f"a moving frame changes {', '.join(others)}")
        self._require_no_forcing("galilean")
        self._require_kinds("galilean", store.parameter_names)

    def _require_kinds(self, augmentation: str, names: Sequence[str] | None = None) -> None:
        self._require_no_forcing(augmentation)
        names = self._all_names() if names is None else names
        unknown = [name for name in names if self.kinds[name] is None]
        if unknown:
            self._refuse(
                augmentation,
                f"it is not known how {', '.join(unknown)} change under a reflection; say so, as "
                f"in parity: {{{unknown[0]}: odd}} (a velocity or advection speed in 1D) or even",
            )

    def _require_no_forcing(self, augmentation: str) -> None:
        forcing = [
            name
            for name in self.store.parameter_names
            if _FORCING in name and name not in self.parity
        ]
        if forcing:
            self._refuse(
                augmentation,
                f"a forcing that is fixed in space ({', '.join(forcing)}) would have to move along",
            )

    def _require_partners(self) -> None:
        """Refuse vectors and tensors of which a rotation would need other components."""
        store = self.store
        for group in (self.fields, store.inputs, store.constant_fields, store.parameter_names):
            kinds = [self.kinds[name] for name in group]
            for name, kind in zip(group, kinds, strict=True):
                for turned in self._turned(kind):
                    if turned not in kinds:
                        axes = "".join(store.axes[i] for i in turned.indices)
                        self._refuse("rotate", f"{name} has no partner {turned.stem}_{axes}")

    def _turned(self, kind: _Kind | None) -> list[_Kind]:
        """The quantities that a rotation may put in the place of one."""
        if kind is None:
            return []
        choices = [next((axes for axes in self._classes if i in axes), [i]) for i in kind.indices]
        return [replace(kind, indices=indices) for indices in itertools.product(*choices)]

    def _refuse(self, augmentation: str, reason: str) -> None:
        raise ValueError(f"{self.store.name!r} cannot be augmented by {augmentation}: {reason}")


def _alike(store: Store, axes: Sequence[int]) -> list[list[int]]:
    """Groups of two or more axes with the same points, length and boundary."""
    grid = store.grid
    groups: dict[tuple[int, float, str], list[int]] = {}
    for i in axes:
        key = (grid.shape[i], float(f"{grid.lengths[i]:.5g}"), grid.boundary[i])
        groups.setdefault(key, []).append(i)
    return [group for group in groups.values() if len(group) > 1]


def _parity(order: Sequence[int]) -> int:
    """The sign of a permutation of distinct numbers."""
    return math.prod(-1 for a, b in itertools.combinations(order, 2) if a > b)
