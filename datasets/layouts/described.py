"""Any HDF5, NetCDF, MATLAB or Zarr file, read in place by a description of a few lines.

`description.yaml` lies beside the data, or its path is given as `open_store(path, layout=…)`:

    axes: [trajectory, time, x, y]           # of every array, in the order of the file
    fields: {velocity_x: u, velocity_y: v}   # name: array; `name: state[2]` is channel 2 of one
    time: t                                  # an array, or {start: 0, step: 0.1}
    boundary: periodic                       # or periodic, wall, open for each axis
    grid: {x: [0, 1], y: y}                  # ends of an axis, or its coordinates; [0, 1] if absent

Frames are read with their axes as (x, y, z), or in the order of the file if they are called
otherwise. An array with channels has an axis `channel`. Where arrays differ in their axes, `axes`
maps the names of arrays to theirs. An array may lack `trajectory` (the file holds one, or all share
it); `name: "*/data"` reads one group for each trajectory, and so may `time` and parameters. A
single frame of a steady problem needs neither a `time` axis nor `time`.

Further keys: `constants` (fields that do not vary in time, written as `fields`), `parameters`
(name: number, array, `@attribute` of the file, or `*@attribute` of each group), `units` (of a
field, a parameter, `time` or `length`), `splits` (name: fraction or number of trajectories, in the
order of the file) and `name`.
"""

from __future__ import annotations

import difflib
import fnmatch
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..base.config import read
from ..fields.grid import BOUNDARIES, Grid
from ..fields.vocabulary import AXES, SPLITS
from ..files.containers import Container, kind, listing, open_container
from ..files.hdf5 import metadata
from .arrays import NUMERIC, TIME, TRAJECTORY, ArraySource, Variable, divide, extent, number
from .layout import Layout
from .source import Header

FILE = "description.yaml"
CHANNEL = "channel"
INDEXED = re.compile(r"(.+)\[(\d+)\]")
SHORT = 2**24  # numbers of an array that is read at once
# What other projects call the axes that are not space.
SYNONYMS = {
    **dict.fromkeys(("sample", "samples", "batch", "traj", "trajectories", "run"), TRAJECTORY),
    **dict.fromkeys(("t", "times", "timestep", "frame", "frames", "step"), TIME),
    **dict.fromkeys(("channels", "component", "components", "variable"), CHANNEL),
}


@dataclass(frozen=True)
class Steps:
    """Uniform times."""

    step: float
    start: float = 0.0


@dataclass(frozen=True)
class Description:
    """What a file says in `description.yaml`; see the module."""

    axes: list[str] | dict[str, list[str]]
    fields: dict[str, str]
    time: str | Steps | None = None
    boundary: str | list[str] = "open"
    grid: dict[str, str | list[float]] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, float | str] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    splits: dict[str, float] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        if not self.fields:
            raise ValueError("fields: name at least one field; got none")
        names = [*self.fields, *self.constants, *self.parameters]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"fields, constants and parameters: {name!r} is there twice")
        unknown = set(self.units) - {*names, TIME, "length"}
        if unknown:
            raise ValueError(
                f"units: no field, constant or parameter {', '.join(sorted(unknown))}; there are: "
                f"{', '.join(names)}, {TIME}, length"
            )
        for axes in self.axes.values() if isinstance(self.axes, dict) else [self.axes]:
            for axis in axes:
                if axis in SYNONYMS:
                    raise ValueError(f"axes: write {SYNONYMS[axis]!r} for {axis!r}; got {axes}")
            space = [a for a in axes if a not in (TRAJECTORY, TIME, CHANNEL)]
            if len(set(axes)) < len(axes) or not 1 <= len(space) <= 3:
                raise ValueError(
                    f"axes: one to three space axes, each named once, beside {TRAJECTORY!r}, "
                    f"{TIME!r} and {CHANNEL!r}; got {axes}"
                )


def find(path: Path) -> Path | None:
    """The description of a file: beside it, or at the root of its dataset."""
    folder = path.parent
    places = [folder]
    if folder.name in SPLITS:
        places += (
            [folder.parent, folder.parent.parent]
            if folder.parent.name == "data"
            else [folder.parent]
        )
    return next((place / FILE for place in places if (place / FILE).is_file()), None)


def matches(path: Path) -> bool:
    """Whether a file is described."""
    return find(path) is not None


def open_file(path: Path, split: str, variant: str = "") -> Mapping[str, ArraySource]:
    """The sources of a file by split; `variant` is the path of its description, if not beside it.

    Raises:
        ValueError: the description is wrong, or does not fit the file.
    """
    where = Path(variant) if variant else find(path)
    if where is None:
        raise ValueError(f"{path} has no {FILE} beside it")
    description = read(Description, where)
    source = _Reader(path, where, description).source()
    if split in SPLITS or not description.splits:
        return {split: source}
    return divide(source, description.splits, where)


class _Reader:
    """Fits a description to a file."""

    def __init__(self, path: Path, where: Path, description: Description) -> None:
        self.path, self.where, self.given = path, where, description
        self.shapes = listing(path)
        self.file: Container = open_container(path)
        self.groups: tuple[str, ...] = ()
        self.sizes: dict[str, int] = {}

    def source(self) -> ArraySource:
        given = self.given
        fields = {name: self._variable(text, False) for name, text in given.fields.items()}
        constants = {name: self._variable(text, True) for name, text in given.constants.items()}
        space = tuple(
            axis
            for axis in next(iter(fields.values())).axes
            if axis not in (TRAJECTORY, TIME, CHANNEL)
        )
        if set(space) <= set(AXES):  # however the file orders them, x is the first axis
            space = tuple(sorted(space))
        frames = self.sizes.get(TIME, 1)
        count = len(self.groups) or self.sizes.get(TRAJECTORY, 1)
        names, table = self._parameters(count)
        source = ArraySource(
            file=self.file,
            header=Header(
                name=given.name,
                axes=space,
                grid=self._grid(space),
                times=self._times(count, frames),
                rows=range(count),
                parameter_names=names,
                parameters=table,
                units=dict(given.units),
                provenance={"source": "described", "description": self.where.name},
            ),
            channels=fields,
            constant_channels=constants,
            groups=self.groups,
        )
        self.file.close()
        return source

    # ------------------------------------------------------------ arrays

    def _variable(self, text: str, constant: bool) -> Variable:
        name, channel = text, None
        found = INDEXED.fullmatch(text)
        if text not in self.shapes and found:
            name, channel = found[1], int(found[2])
        inner, shape = self._locate(name)
        self._refuse_packed(f"{self.groups[0]}/{inner}" if "*" in name else name)
        axes = self._axes(name, shape, constant)
        if (CHANNEL in axes) != (channel is not None):
            remedy = f"{name}[0]" if channel is None else name
            raise self._wrong(f"{text!r} and the axes {list(axes)} do not fit; write {remedy!r}")
        for axis, n in zip(axes, shape, strict=True):
            if axis == CHANNEL:
                if channel is not None and channel >= n:
                    raise self._wrong(f"{name!r} has channels 0 to {n - 1}; got {channel}")
            elif self.sizes.setdefault(axis, n) != n:
                raise self._wrong(
                    f"axis {axis!r} has {self.sizes[axis]} points in one array and {n} in {name!r}"
                )
        at = () if channel is None else ((CHANNEL, channel),)
        return Variable(inner, axes, at)

    def _locate(self, name: str) -> tuple[str, tuple[int, ...]]:
        """An array's name (within its trajectory's group) and shape."""
        if "*" not in name:
            if name not in self.shapes:
                raise self._unknown(name)
            return name, self.shapes[name]
        star = name.find("/", name.rfind("*"))
        pattern, inner = name[:star], name[star + 1 :]
        groups = self._matching(pattern) if star > 0 else ()
        shapes = {group: self.shapes.get(f"{group}/{inner}") for group in groups}
        first = next(iter(shapes.values()), None)
        if first is None:
            raise self._unknown(name)
        other = next((group for group, shape in shapes.items() if shape != first), None)
        if other is not None:
            raise self._wrong(
                f"{name!r} must have one shape in all groups; {next(iter(shapes))!r} has {first}, "
                f"{other!r} {shapes[other] or 'none'}: cut longer ones, or keep a file of each"
            )
        return inner, first

    def _matching(self, pattern: str) -> tuple[str, ...]:
        """The groups of a pattern, run2 before run10: one for each trajectory."""
        depth = pattern.count("/") + 1
        parts = (key.split("/") for key in self.shapes)
        groups = {"/".join(part[:depth]) for part in parts if len(part) > depth}
        found = tuple(sorted((g for g in groups if fnmatch.fnmatchcase(g, pattern)), key=_natural))
        if found and self.groups and self.groups != found:
            raise self._wrong("all arrays and attributes with '*' must lie in the same groups")
        self.groups = found or self.groups
        return found

    def _refuse_packed(self, name: str) -> None:
        """Refuse numbers that stand for others by the conventions of NetCDF."""
        if kind(self.path) != "hdf5":
            return
        with metadata(self.path) as root:
            attributes = root[name].attrs
            for key, neutral in (("scale_factor", 1), ("add_offset", 0)):
                if key in attributes and np.any(attributes[key] != neutral):
                    raise self._wrong(
                        f"{name!r} is packed ({key} {attributes[key]}); store its values unpacked, "
                        f"as xarray.open_dataset reads them"
                    )

    def _axes(self, name: str, shape: Sequence[int], constant: bool) -> tuple[str, ...]:
        """The axes of an array: as given for it, or those of `axes` that it can have."""
        given = self.given.axes
        if isinstance(given, dict):
            if name not in given:
                raise self._wrong(f"axes: say those of {name!r} as well, or a list for all arrays")
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
        for axes in choices:
            if len(axes) == len(shape) and self._fits(axes, shape):
                return axes
        raise self._wrong(
            f"{name!r} has shape {tuple(shape)}, which does not fit the axes {list(choices[0])}; "
            f"if this array has other axes, map names of arrays to lists of axes under `axes`"
        )

    def _fits(self, axes: Sequence[str], shape: Sequence[int]) -> bool:
        known = zip(axes, shape, strict=True)
        return all(self.sizes.get(axis, n) == n or axis == CHANNEL for axis, n in known)

    # ------------------------------------------------------------ what belongs to them

    def _times(self, count: int, frames: int) -> np.ndarray:
        time = self.given.time
        if time is None:
            if frames > 1:
                raise self._wrong(
                    f"time: {frames} frames need times; name an array, or write "
                    "{start: 0, step: 0.1}"
                )
            return np.zeros(1)
        if isinstance(time, Steps):
            if time.step <= 0:
                raise self._wrong(f"time.step must be positive; got {time.step}")
            return time.start + time.step * np.arange(frames)
        values = self._values(time, "time")
        if "*" in time and len(values) and (values == values[0]).all():
            values = values[0]
        if values.shape not in ((frames,), (count, frames)):
            raise self._wrong(
                f"time: {time!r} must have shape {(frames,)} or {(count, frames)}; got "
                f"{values.shape}"
            )
        return values

    def _values(self, name: str, what: str) -> np.ndarray:
        """A small array in double precision; of trajectories in groups one row for each."""
        inner, shape = self._locate(name)
        keys = [f"{group}/{inner}" for group in self.groups] if "*" in name else [name]
        arrays = [self.file.array(key) for key in keys]
        numeric = all(array.dtype.kind in NUMERIC for array in arrays)
        if not numeric or len(keys) * math.prod(shape) > SHORT:
            raise self._wrong(f"{what}: {name!r} must be a short array of numbers; got {shape}")
        rows = [np.asarray(array[(slice(None),) * len(shape)], np.float64) for array in arrays]
        return np.stack(rows) if "*" in name else rows[0]

    def _grid(self, space: Sequence[str]) -> Grid:
        given = self.given
        unknown = set(given.grid) - set(space)
        if unknown:
            raise self._wrong(f"grid: no axis {', '.join(sorted(unknown))}; there are {space}")
        lengths, origin = zip(*(self._extent(axis) for axis in space), strict=True)
        kinds = given.boundary
        kinds = [kinds] * len(space) if isinstance(kinds, str) else kinds
        if len(kinds) != len(space):
            raise self._wrong(f"boundary: one of {BOUNDARIES} for each axis {space}; got {kinds}")
        counts = tuple(self.sizes[axis] for axis in space)
        return Grid(counts, lengths, tuple(kinds), origin)

    def _extent(self, axis: str) -> tuple[float, float]:
        """Length and origin of an axis."""
        given = self.given.grid.get(axis, [0.0, 1.0])
        if isinstance(given, str):
            points = self._values(given, f"grid.{axis}")
            if points.shape[-1:] != (self.sizes[axis],):
                raise self._wrong(
                    f"grid.{axis}: {given!r} must have {self.sizes[axis]} points; got shape "
                    f"{points.shape}"
                )
            return extent(self.path, axis, points)
        if len(given) != 2 or not given[1] > given[0]:
            raise self._wrong(f"grid.{axis}: two ends, low and high; got {given}")
        return float(given[1] - given[0]), float(given[0])

    def _parameters(self, count: int) -> tuple[tuple[str, ...], np.ndarray]:
        columns = {}
        for name, given in self.given.parameters.items():
            if isinstance(given, str) and ("@" not in given or given in self.shapes):
                values = self._values(given, f"parameters.{name}")
                if values.size not in (1, count):
                    raise self._wrong(
                        f"parameters.{name}: {given!r} must have one entry or {count}; got shape "
                        f"{values.shape}"
                    )
                columns[name] = np.broadcast_to(values.reshape(-1), (count,))
                continue
            found = self._attributes(given) if isinstance(given, str) else [given]
            entries = [number(self.path, name, value) for value in found]
            columns[name] = np.broadcast_to(np.array(entries), (count,))
        return tuple(columns), np.array([*columns.values()]).reshape(-1, count).T

    def _attributes(self, text: str) -> list[Any]:
        """`@name` of the file, `place@name` of a group or array, `*@name` of each group."""
        place, _, name = text.rpartition("@")
        places = self._matching(place) if "*" in place else [place]
        found = []
        with metadata(self.path) as root:
            for each in places:
                item = root if not each else root.get(each)
                if item is None or name not in item.attrs:
                    known = ", ".join(item.attrs) if item is not None else ""
                    raise self._wrong(f"no attribute {each}@{name}; there are: {known or 'none'}")
                found.append(item.attrs[name])
        if not found:
            raise self._wrong(f"no group {place!r}, whose attribute {name!r} could be read")
        return found

    # ------------------------------------------------------------ errors

    def _wrong(self, what: str) -> ValueError:
        return ValueError(f"{self.where} for {self.path.name}: {what}")

    def _unknown(self, name: str) -> ValueError:
        near = difflib.get_close_matches(name, self.shapes, 1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        shown = ", ".join(f"{key} {shape}" for key, shape in [*self.shapes.items()][:8])
        return self._wrong(f"no array {name!r}{hint} There are: {shown or 'none'}")


def _natural(name: str) -> list[Any]:
    """A key that sorts run2 before run10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


LAYOUT = Layout("described", matches, open_file, None)
