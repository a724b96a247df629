"""Training windows moved by the symmetries of space: flips, rotations, shifts, moving frames.

A symmetry maps solutions to solutions, so a moved window is as good as a simulated one. It acts on
positions and on components alike: with x'_i = s_i x_p(i), signs s and a permutation p of the axes,

    vectors v'_i = s_i v_p(i), tensors likewise in each index, pseudo-scalars (a vorticity in 2D)
    and axial vectors once more times det = ±1.

What a field is follows from its name; what its name does not say must be declared. Constant
fields, parameters and masks move with the fields; coordinates (`coordinate_x`, …) stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..fields.window import Window
from ..stores.store import Store
from .motion import Motion, Mover, sign_of
from .moving_frame import rms_speed, seen_moving
from .symmetries import Symmetries

AUGMENTATIONS = ("flip", "rotate", "roll", "galilean")


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
        self.names = tuple(names)
        self._grid, self._axes = store.grid, store.axes
        self._symmetries = Symmetries(store, fields, parity or {})
        for name in self.names:
            self._symmetries.checks[name]()
        self.move = Mover(self._symmetries.kinds)

    def __call__(self, window: Window, generator: np.random.Generator) -> Window:
        """The window, moved as the generator says."""
        if "galilean" in self.names:
            window = self._from_a_moving_frame(window, generator)
        return self.move(window, self._draw(generator))

    def _draw(self, generator: np.random.Generator) -> Motion:
        ndim = self._grid.ndim
        order, signs, shifts = [*range(ndim)], [1] * ndim, [0] * ndim
        if "rotate" in self.names:
            for axes in self._symmetries.alike:
                turned = generator.permutation(axes).tolist()
                flips = generator.choice((-1, 1), len(axes))
                if sign_of(turned) * flips.prod() < 0:
                    flips[0] = -flips[0]
                for i, axis in enumerate(axes):
                    order[axis], signs[axis] = turned[i], int(flips[i])
        if "flip" in self.names:
            for axis in self._symmetries.flippable:
                signs[axis] *= int(generator.choice((-1, 1)))
        if "roll" in self.names:
            for axis in self._symmetries.periodic:
                shifts[axis] = int(generator.integers(self._grid.shape[axis]))
        return Motion(tuple(order), tuple(signs), tuple(shifts))

    def _from_a_moving_frame(self, window: Window, generator: np.random.Generator) -> Window:
        periodic = self._symmetries.periodic
        channels = {i: window.fields.index(f"velocity_{self._axes[i]}") for i in periodic}
        size = rms_speed(window, [*channels.values()])
        drift = {i: size * float(generator.standard_normal()) for i in channels}
        return seen_moving(window, drift, channels)
