"""The arrays that a description names: where they lie, their axes and sizes."""

from __future__ import annotations

import difflib
import fnmatch
import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files.containers import Container, listing, open_container
from ..files.conventions import NO_VARIABLE, texts
from .arrays import NUMERIC, TIME, TRAJECTORY, Variable
from .description import Description
from .dimensions import CHANNEL, contradiction, role

INDEXED = re.compile(r"(.+)\[(\d+)\]")
SHORT = 2**24  # numbers of an array that is read at once


class DescribedArrays:
    """The arrays of a file, found by the names and axes of its description.

    Attributes:
        path: the file.
        shapes: names and shapes of its arrays.
        file: reads them.
        groups: those of the trajectories, where each has its own.
        sizes: axis -> number of points, of the arrays asked for so far.
        coordinates: axis -> the array with its coordinates, "" if the file names none.
    """

    def __init__(self, path: Path, where: Path, description: Description) -> None:
        self.path, self.where, self._axes_given = path, where, description.axes
        self.shapes = listing(path)
        self.file: Container = open_container(path)
        self.groups: tuple[str, ...] = ()
        self.sizes: dict[str, int] = {}
        self.coordinates: dict[str, str] = {}

    def variable(self, text: str, constant: bool) -> Variable:
        """Where the field `text` lies, a `name`, `name[channel]` or `groups*/name`.

        Raises:
            ValueError: there is no such array or channel, or its shape does not fit the axes.
        """
        name, channel = text, None
        found = INDEXED.fullmatch(text)
        if text not in self.shapes and found:
            name, channel = found[1], int(found[2])
        inner, shape = self.locate(name)
        key = self.key(name)
        names = self.file.dimensions(key)
        axes = self._axes_of(name, shape, constant, names)
        wrong = contradiction(axes, names, lambda dim: self.role_of(key, dim)) if names else None
        if wrong is not None:
            raise self.wrong(
                f"axes: the file calls the axes of {name!r} ({', '.join(names)}), which "
                f"contradicts {list(axes)} at {wrong!r}; write them in the order of the file"
            )
        for axis, dim in zip(axes, names, strict=False):
            self.coordinates.setdefault(axis, self.coordinate(key, dim))
        if (CHANNEL in axes) != (channel is not None):
            remedy = f"{name}[0]" if channel is None else name
            raise self.wrong(f"{text!r} and the axes {list(axes)} do not fit; write {remedy!r}")
        for axis, n in zip(axes, shape, strict=True):
            if axis == CHANNEL:
                if channel is not None and channel >= n:
                    raise self.wrong(f"{name!r} has channels 0 to {n - 1}; got {channel}")
            elif self.sizes.setdefault(axis, n) != n:
                raise self.wrong(
                    f"axis {axis!r} has {self.sizes[axis]} points in one array and {n} in {name!r}"
                )
        at = () if channel is None else ((CHANNEL, channel),)
        return Variable(inner, axes, at)

    def locate(self, name: str) -> tuple[str, tuple[int, ...]]:
        """An array's name (within its trajectory's group) and shape."""
        if "*" not in name:
            if name not in self.shapes:
                raise self._unknown(name)
            return name, self.shapes[name]
        star = name.find("/", name.rfind("*"))
        pattern, inner = name[:star], name[star + 1 :]
        groups = self.matching(pattern) if star > 0 else ()
        shapes = {group: self.shapes.get(f"{group}/{inner}") for group in groups}
        first = next(iter(shapes.values()), None)
        if first is None:
            raise self._unknown(name)
        other = next((group for group, shape in shapes.items() if shape != first), None)
        if other is not None:
            raise self.wrong(
                f"{name!r} must have one shape in all groups; {next(iter(shapes))!r} has {first}, "
                f"{other!r} {shapes[other] or 'none'}: cut longer ones, or keep a file of each"
            )
        return inner, first

    def matching(self, pattern: str) -> tuple[str, ...]:
        """The groups of a pattern, run2 before run10: one for each trajectory."""
        depth = pattern.count("/") + 1
        parts = (key.split("/") for key in self.shapes)
        groups = {"/".join(part[:depth]) for part in parts if len(part) > depth}
        found = tuple(sorted((g for g in groups if fnmatch.fnmatchcase(g, pattern)), key=_natural))
        if found and self.groups and self.groups != found:
            raise self.wrong("all arrays and attributes with '*' must lie in the same groups")
        self.groups = found or self.groups
        return found

    def key(self, name: str) -> str:
        """The full name of an array; of a pattern that of its first group."""
        inner, _ = self.locate(name)
        return f"{self.groups[0]}/{inner}" if "*" in name else inner

    def coordinate(self, key: str, dim: str) -> str:
        """The array with the coordinates of a dimension of an array; "" if there is none."""
        folder = key.rpartition("/")[0]
        places = [f"{folder}/{dim}", dim] if folder else [dim]
        known = (place for place in places if dim and len(self.shapes.get(place, ())) == 1)
        found = next(known, "")
        if found and NO_VARIABLE in texts(self.file.attributes(found)).get("NAME", ""):
            return ""
        return found

    def role_of(self, key: str, dim: str) -> str:
        """What a dimension of an array is, see `dimensions.role`."""
        coordinate = self.coordinate(key, dim)
        return role(dim, self.file.attributes(coordinate) if coordinate else {})

    def attribute(self, name: str, key: str) -> str:
        """An attribute of an array that is text; "" if it has none."""
        return texts(self.file.attributes(self.key(name))).get(key, "").strip()

    def _axes_of(
        self, name: str, shape: Sequence[int], constant: bool, names: Sequence[str]
    ) -> tuple[str, ...]:
        """The axes of an array: as given for it, or those of `axes` that it can have."""
        given = self._axes_given
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
        fitting = [axes for axes in choices if len(axes) == len(shape) and self._fits(axes, shape)]
        for axes in fitting:  # the first that the file's own names do not contradict
            if not names or contradiction(axes, names, lambda dim: role(dim, {})) is None:
                return axes
        if fitting:
            return fitting[0]
        raise self.wrong(
            f"{name!r} has shape {tuple(shape)}, which does not fit the axes {list(choices[0])}; "
            f"if this array has other axes, map names of arrays to lists of axes under `axes`"
        )

    def _fits(self, axes: Sequence[str], shape: Sequence[int]) -> bool:
        known = zip(axes, shape, strict=True)
        return all(self.sizes.get(axis, n) == n or axis == CHANNEL for axis, n in known)

    def values(self, name: str, what: str) -> np.ndarray:
        """A small array, of trajectories in groups one row for each; integers stay integers."""
        inner, shape = self.locate(name)
        keys = [f"{group}/{inner}" for group in self.groups] if "*" in name else [name]
        arrays = [self.file.array(key) for key in keys]
        numeric = all(array.dtype.kind in NUMERIC for array in arrays)
        if not numeric or len(keys) * math.prod(shape) > SHORT:
            raise self.wrong(f"{what}: {name!r} must be a short array of numbers; got {shape}")
        rows = [np.asarray(array[(slice(None),) * len(shape)]) for array in arrays]
        rows = [row.astype(np.int64 if row.dtype.kind in "iub" else np.float64) for row in rows]
        return np.stack(rows) if "*" in name else rows[0]

    def wrong(self, what: str) -> ValueError:
        """The error that says what does not fit, in which description and file."""
        own = self.where == self.path  # a file that needs no description
        return ValueError(f"{self.path if own else f'{self.where} for {self.path.name}'}: {what}")

    def _unknown(self, name: str) -> ValueError:
        near = difflib.get_close_matches(name, self.shapes, 1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        shown = ", ".join(f"{key} {shape}" for key, shape in [*self.shapes.items()][:8])
        return self.wrong(f"no array {name!r}{hint} There are: {shown or 'none'}")


def _natural(name: str) -> list[Any]:
    """A key that sorts run2 before run10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
