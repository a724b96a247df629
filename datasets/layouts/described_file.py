"""The file that a description is of: its arrays by name or pattern, and what its attributes say."""

from __future__ import annotations

import difflib
import fnmatch
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..files.containers import listing, open_container
from ..files.conventions import NO_VARIABLE, texts
from .arrays import NUMERIC
from .dimensions import role
from .staggering import Centred

INDEXED = re.compile(r"(.+)\[(\d+)\]")
SHORT = 2**24  # numbers of an array that is read at once


class DescribedFile:
    """A file whose arrays are asked for by name, or by pattern where groups hold the trajectories.

    Attributes:
        path: the file.
        where: what describes it; the file itself where it is its own description.
        shapes: names and shapes of its arrays.
        file: reads them, also at the centres of cells.
        groups: those of the trajectories, where each has its own.
    """

    def __init__(self, path: Path, where: Path) -> None:
        self.path, self.where = path, where
        self.shapes = listing(path)
        self.file = Centred(open_container(path))
        self.groups: tuple[str, ...] = ()
        self._only: tuple[str, ...] | None = None  # the groups that are looked at; None: all
        self._known: dict[int, tuple[str, ...]] = {}  # groups by depth, which many patterns ask for

    def split(self, text: str) -> tuple[str, int | None]:
        """The array and channel of `name[channel]`."""
        found = INDEXED.fullmatch(text)
        if text in self.shapes or not found:
            return text, None
        return found[1], int(found[2])

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
                f"{name!r} must have one shape in all groups, but for the number of frames; "
                f"{next(iter(shapes))!r} has {first}, {other!r} {shapes[other] or 'none'}: leave "
                f"such groups out by the pattern, as in 'run[1-3]/u', or keep a file of each"
            )
        return inner, first

    def matching(self, pattern: str) -> tuple[str, ...]:
        """The groups of a pattern, run2 before run10: one for each trajectory."""
        found = tuple(g for g in self._members(pattern) if fnmatch.fnmatchcase(g, pattern))
        if found and self.groups and self.groups != found:
            raise self.wrong("all arrays and attributes with '*' must lie in the same groups")
        self.groups = found or self.groups
        return found

    def _members(self, pattern: str) -> Sequence[str]:
        """The groups as deep as a pattern, in their order."""
        if self._only is not None:
            return self._only
        depth = pattern.count("/") + 1
        if depth not in self._known:
            parts = (key.split("/") for key in self.shapes)
            groups = {"/".join(part[:depth]) for part in parts if len(part) > depth}
            self._known[depth] = tuple(sorted(groups, key=_natural))
        return self._known[depth]

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

    def coordinate_of(self, name: str, dim: str) -> str:
        """The same of an array or pattern: of each group its own, where they lie there."""
        found = self.coordinate(self.key(name), dim)
        if "*" not in name or not found.startswith(f"{self.groups[0]}/"):
            return found
        pattern = name[: name.find("/", name.rfind("*"))]
        return pattern + found.removeprefix(self.groups[0])

    def role_of(self, key: str, dim: str) -> str:
        """What a dimension of an array is, see `dimensions.role`."""
        return role(dim, self.attributes_of(key, dim))

    def attributes_of(self, key: str, dim: str) -> Mapping[str, Any]:
        """The attributes of the coordinate of a dimension of an array; {} if it has none."""
        coordinate = self.coordinate(key, dim)
        return self.file.attributes(coordinate) if coordinate else {}

    def attribute(self, name: str, key: str) -> str:
        """An attribute of an array that is text; "" if it has none.

        Raises:
            ValueError: groups of the trajectories differ in it.
        """
        inner, _ = self.locate(name)
        keys = [f"{group}/{inner}" for group in self.groups] if "*" in name else [inner]
        stated = self.file.stated(keys, key)
        found = [texts({key: value}).get(key, "").strip() for value in stated]
        other = next((k for k, value in enumerate(found) if value != found[0]), 0)
        if other:
            raise self.wrong(
                f"{keys[0]} has {key} {found[0]!r}, {keys[other]} {found[other]!r}; give all "
                f"groups the same, or describe them apart ({keys[other].split('/')[0]}/…)"
            )
        return found[0]

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

    @property
    def drafted(self) -> str:
        """Where to say what a file without a description does not say; "" where it has one."""
        if self.where != self.path:
            return ""
        return f" in a description.yaml (pelagos data describe {self.path.name} drafts it)"

    def wrong(self, what: str) -> ValueError:
        """The error that says what does not fit, in which description and file."""
        own = self.where == self.path  # a file that needs no description
        return ValueError(f"{self.path if own else f'{self.where} for {self.path.name}'}: {what}")

    def _unknown(self, name: str) -> ValueError:
        with suppress(KeyError):
            self.file.array(name)  # says where it is, if that is outside of the file
        near = difflib.get_close_matches(name, self.shapes, 1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        shown = ", ".join(f"{key} {shape}" for key, shape in [*self.shapes.items()][:8])
        return self.wrong(f"no array {name!r}{hint} There are: {shown or 'none'}")


def _natural(name: str) -> list[Any]:
    """A key that sorts run2 before run10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
