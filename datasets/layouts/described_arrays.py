"""The arrays that a description names: where they lie, their axes and sizes."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..fields.vocabulary import AXES
from .arrays import TIME, TRAJECTORY, Variable
from .described_faces import FaceLine, faces_of
from .described_file import DescribedFile
from .description import Description
from .dimensions import CHANNEL, contradiction, forecasts, role

SAME = 1e-3  # of a step, up to which the coordinates of two arrays are the same


class DescribedArrays(DescribedFile):
    """The arrays of a file, found by the names and axes of its description.

    Attributes:
        sizes: axis -> number of points, of the arrays asked for so far.
        coordinates: axis -> the array with its coordinates, "" if the file names none.
        faces: axis -> the array with the coordinates of the faces of cells.
        dims: axis -> the file's name of it, "" if it has none.
        order: the space axes in the order of the file.
    """

    def __init__(self, path: Path, where: Path, description: Description) -> None:
        super().__init__(path, where)
        self._given = description
        self._reset()

    def _reset(self) -> None:
        self.groups = ()
        self.sizes: dict[str, int] = {}
        self.coordinates: dict[str, str] = {}
        self.faces: dict[str, FaceLine] = {}
        self.dims: dict[str, str] = {}
        self.order: tuple[str, ...] = ()

    def of(self, groups: Sequence[str]) -> DescribedArrays:
        """The same for some of the groups alone, before any array was asked for."""
        part = copy.copy(self)
        part._only = tuple(groups)
        part._reset()
        return part

    def variable(self, text: str, constant: bool, centred: Sequence[str] = ()) -> Variable:
        """Where the field `text` lies, a `name`, `name[channel]` or `groups*/name`.

        Args:
            text: as the description has it.
            constant: whether it does not vary in time.
            centred: axes along which its values lie on faces, to be brought to centres.

        Raises:
            ValueError: there is no such array or channel, or its shape does not fit the axes.
        """
        name, channel = self.split(text)
        inner, shape = self.locate(name)
        key = self.key(name)
        names = self.file.dimensions(key)
        choices = self._choices(name, constant, text in self._given.prescribed_texts)
        axes = self._axes_of(name, shape, choices, names, centred)
        known = forecasts(names, lambda dim: self.attributes_of(key, dim))
        wrong = contradiction(axes, known, lambda dim: self.role_of(key, dim)) if names else None
        if wrong is not None:
            raise self.wrong(
                f"axes: the file calls the axes of {name!r} ({', '.join(names)}), which "
                f"contradicts {list(axes)} at {wrong!r}; write them in the order of the file"
            )
        space = [axis for axis in axes if axis not in (TRAJECTORY, TIME, CHANNEL)]
        self.order = self.order or tuple(space)
        dims = dict(zip(axes, names, strict=False))
        for axis in set(dims) - set(centred):
            self._take_coordinates(name, axis, dims[axis])
        if (CHANNEL in axes) != (channel is not None):
            remedy = f"{name}[0]" if channel is None else name
            raise self.wrong(f"{text!r} and the axes {list(axes)} do not fit; write {remedy!r}")
        lying = [
            faces_of(self, name, axes.index(axis), axis, dims.get(axis, "")) for axis in centred
        ]
        counts = [*shape]
        for faces in lying:
            counts[faces.axis] -= faces.surplus
        for axis, n in zip(axes, counts, strict=True):
            if axis == CHANNEL:
                if channel is not None and channel >= n:
                    raise self.wrong(f"{name!r} has channels 0 to {n - 1}; got {channel}")
            elif self.sizes.setdefault(axis, n) != n:
                raise self._unequal(axis, n, name)
        at = () if channel is None else ((CHANNEL, channel),)
        inner = self.file.add(inner, lying) if lying else inner
        return Variable(inner, axes, at, shared="*" not in name)

    def boundary(self, axis: str) -> str:
        """The boundary of a space axis, as the description says."""
        kinds = self._given.boundary
        axes = read_order(self.order)
        if isinstance(kinds, str):
            return kinds
        return dict(zip(axes, kinds, strict=False)).get(axis, "open")

    def points_of(self, axis: str) -> np.ndarray | None:
        """The coordinates of an axis where they are an array; None: the file has none."""
        given = self._given.grid.get(axis, "")
        name = given if isinstance(given, str) and given else self.coordinates.get(axis, "")
        if not name or len(self.locate(name)[1]) != 1:
            return None
        points = self.values(name, f"grid.{axis}")
        return np.asarray(points.reshape(-1, points.shape[-1])[0], np.float64)

    def _take_coordinates(self, name: str, axis: str, dim: str) -> None:
        """The coordinates of an axis of an array; refuse others than those of the arrays before."""
        found = self.coordinate_of(name, dim)
        known = self.coordinates.setdefault(axis, found)
        self.dims.setdefault(axis, dim)
        if not found or not known or found == known or axis in (TRAJECTORY, CHANNEL):
            return
        one, other = (self.values(each, axis) for each in (known, found))
        if one.shape != other.shape:
            return  # told of by its number of points
        size = np.abs(np.diff(one)).max() if one.shape[-1] > 1 else 1.0
        if np.abs(one - other).max() > SAME * size:
            at = ", ".join(f"{each} begins at {v.flat[0]:.6g}" for each, v in
                           ((known, one), (found, other)))  # fmt: skip
            raise self.wrong(
                f"{name!r} has other coordinates along {axis} than the arrays before it ({at}); if "
                f"it lies on the faces of cells, say so: staggered: {{NAME: {axis}}}"
            )

    def _choices(self, name: str, constant: bool, prescribed: bool) -> list[tuple[str, ...]]:
        """The axes that an array can have: as given for it, or some of `axes`."""
        given = self._given.axes
        if isinstance(given, dict):
            if name not in given:
                raise self.wrong(f"axes: say those of {name!r} as well, or a list for all arrays")
            choices = [tuple(given[name])]
        else:
            choices = [tuple(given)]
            dropped = [TIME, CHANNEL, TRAJECTORY] if constant else [CHANNEL, TRAJECTORY, TIME]
            for k in range(1, 4):
                choices += [
                    tuple(axis for axis in given if axis not in left)
                    for left in itertools.combinations(dropped, k)
                ]
        if constant:
            choices = [axes for axes in choices if TIME not in axes] or choices
        if prescribed:  # it may be the same at all points
            rest = (TRAJECTORY, TIME, CHANNEL)
            scalar = [tuple(axis for axis in axes if axis in rest) for axes in choices]
            choices += [axes for axes in dict.fromkeys(scalar) if TIME in axes]
        return choices

    def _axes_of(
        self,
        name: str,
        shape: Sequence[int],
        choices: Sequence[tuple[str, ...]],
        names: Sequence[str],
        centred: Sequence[str] = (),
    ) -> tuple[str, ...]:
        """Those of the choices that fit the array."""
        fitting = [
            axes for axes in choices if len(axes) == len(shape) and self._fits(axes, shape, centred)
        ]
        for axes in fitting:  # the first that the file's own names do not contradict
            if not names or contradiction(axes, names, lambda dim: role(dim, {})) is None:
                return axes
        if fitting:
            return fitting[0]
        for axis, n in zip(choices[0], shape, strict=False):
            if abs(self.sizes.get(axis, n) - n) == 1 and len(choices[0]) == len(shape):
                raise self._unequal(axis, n, name)
        raise self.wrong(
            f"{name!r} has shape {tuple(shape)}, which does not fit the axes {list(choices[0])}; "
            f"if this array has other axes, map names of arrays to lists of axes under `axes`"
        )

    def _fits(self, axes: Sequence[str], shape: Sequence[int], centred: Sequence[str]) -> bool:
        free = (CHANNEL, *centred)
        known = zip(axes, shape, strict=True)
        return all(self.sizes.get(axis, n) == n or axis in free for axis, n in known)

    def _unequal(self, axis: str, n: int, name: str) -> ValueError:
        known = self.sizes[axis]
        told = f"axis {axis!r} has {known} points in one array and {n} in {name!r}"
        if abs(known - n) == 1 and axis not in (TRAJECTORY, TIME):
            more = self._field_of(name) if n > known else self._field_with(known)
            told += (
                f": values on cell faces beside values in cells? Say so, and they are brought to "
                f"cell centres: staggered: {{{more}: {axis}}}"
            )
        return self.wrong(told)

    def _field_of(self, array: str) -> str:
        """The field whose array this is."""
        texts = {**self._given.fields, **self._given.constants}
        return next((name for name, text in texts.items() if self.split(text)[0] == array), array)

    def _field_with(self, points: int) -> str:
        """The first field with an axis of so many points."""
        arrays = {name: self.split(text)[0] for name, text in self._given.fields.items()}
        return next(name for name, array in arrays.items() if points in self.locate(array)[1])


def read_order(axes: Sequence[str]) -> tuple[str, ...]:
    """Space axes as frames are read: x, y, z however the file orders them; else as the file."""
    return tuple(sorted(axes)) if set(axes) <= set(AXES) else tuple(axes)
