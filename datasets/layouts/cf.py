"""NetCDF and Zarr as xarray and the conventions of CF have them, read without a description.

The file names the dimensions of its arrays. What they are follows from their coordinates
(`axis`, `standard_name`, `units`: "hours since …", "degrees_north") or names (see `dimensions`):
time, space, and, where there are several, trajectories. Then

- fields are the variables with a time and the space axes,
- constant fields those with the space axes alone,
- parameters the numbers of the file, or of each trajectory,

under the file's names, in the file's units. Values are decoded (`_FillValue`, `scale_factor`, …)
and times counted since the first. An axis of one point (a single level) is left out. Longitudes
that go around the sphere are periodic, every other axis is open. What depends on time alone is
left out.

Anything less clear is refused, and asks for a description (see `described`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..fields.grid import BOUNDARIES
from ..fields.vocabulary import SPLITS
from ..files.containers import Container, kind, listing, open_container
from ..files.conventions import NO_VARIABLE, texts
from .arrays import NUMERIC, TIME, TRAJECTORY
from .described import described_sources
from .description import FILE, Description
from .dimensions import CHANNEL, forecasts, role
from .layout import Layout
from .source import Source
from .staggering import centres, place
from .unstructured import REMEDY, counts_places

SPACE = ("x", "y", "z")
BESIDE = {"bounds", "climatology", "grid_mapping", "ancillary_variables", "coordinates"}
ONE = CHANNEL  # an axis of one point is read as the first of its channels
MOST = 256  # variables of a file that is read so
AROUND = 360.0  # degrees


def matches(path: Path) -> bool:
    """Whether the arrays of a file have named dimensions, of which one is time and some space."""
    try:
        return bool(read_variables(path).fields())
    except ValueError:
        return False


def open_file(path: Path, split: str, variant: str = "") -> Mapping[str, Sequence[Source]]:
    """The sources of a file.

    Raises:
        ValueError: the file is damaged, or does not say what its arrays are.
    """
    sources = described_sources(path, path, read_variables(path).description())
    return {split if split in SPLITS else "all": sources}


@dataclass(frozen=True)
class Variables:
    """The variables of a file and what their dimensions are.

    Attributes:
        path: the file.
        dims: variable -> names of its dimensions, for those of numbers that are no coordinates.
        roles: dimension -> what it is.
        lengths: dimension -> number of points.
        lines: the dimensions whose coordinates the file has.
        clocks: arrays of times along other dimensions than one of their name.
        scattered: dimensions along which the file has coordinates of several axes.
        middle: dimension of the faces of cells, or another one of the centres -> that of the
            centres (see `staggering`).
        faces: the dimensions that count faces.
        meshes: coordinates along two dimensions -> what they are, and these dimensions.
    """

    path: Path
    dims: dict[str, tuple[str, ...]]
    roles: dict[str, str]
    lengths: dict[str, int]
    lines: frozenset[str]
    meshes: dict[str, tuple[str, tuple[str, ...]]]
    clocks: dict[str, tuple[str, ...]]
    scattered: frozenset[str]
    middle: dict[str, str]
    faces: frozenset[str]

    def fields(self) -> dict[str, tuple[str, ...]]:
        """The variables with a time and most space axes: name -> space axes."""
        found = {
            name: self.space(dims)
            for name, dims in self.dims.items()
            if TIME in [self.roles[dim] for dim in dims]
        }
        most = max(map(len, found.values()), default=0)
        return {name: axes for name, axes in found.items() if most and len(axes) == most}

    def space(self, dims: tuple[str, ...]) -> tuple[str, ...]:
        """The space axes among dimensions, without those of one point where there are others."""
        axes = tuple(dim for dim in dims if self.roles[dim] in (*SPACE, ""))
        kept = tuple(dim for dim in axes if self.lengths[dim] > 1) or axes
        return tuple(self.middle.get(dim, dim) for dim in kept)

    def times(self) -> str | None:
        """The array with the times, where the time axis has no coordinate of its name."""
        dims = [dim for dim, what in self.roles.items() if what == TIME]
        if any(dim in self.lines for dim in dims):
            return None
        for name, own in self.clocks.items():
            if own[-1] in dims and {self.roles[dim] for dim in own} <= {TRAJECTORY, TIME}:
                return name
        return None

    def staggered(self, name: str) -> list[str]:
        """The space axes along which a variable lies on the faces of cells."""
        return [self.middle[dim] for dim in self.dims[name] if dim in self.faces & set(self.middle)]

    def axes(self, name: str) -> list[str]:
        """The axes of a variable in the words of a description."""
        kept = self.space(self.dims[name])
        words = []
        for dim in self.dims[name]:
            middle, role = self.middle.get(dim, dim), self.roles[dim]
            words.append(middle if middle in kept else ONE if role in (*SPACE, "") else role)
        twice = next((word for word in words if words.count(word) > 1), None)
        if twice is not None:
            pairs = zip(self.dims[name], words, strict=True)
            alike = ", ".join(dim for dim, word in pairs if word == twice)
            raise ValueError(
                f"{self.path}: {name!r} has the dimensions ({', '.join(self.dims[name])}), of "
                f"which {alike} would all be {twice!r}; keep one of each (Dataset.isel), or make "
                "one of them (Dataset.stack, then reset_index), and write the file again"
            )
        return words

    def description(self) -> Description:
        """The description that the file itself gives.

        Raises:
            ValueError: it does not say what its arrays are.
        """
        fields = self.fields()
        if not fields:
            raise self.unclear("no variable has named dimensions of time and space")
        axes = set(map(frozenset, fields.values()))
        ranks = {name: self.space(dims) for name, dims in self.dims.items()}
        smaller = [
            name
            for name, dims in self.dims.items()
            if name not in fields and ranks[name] and TIME in map(self.roles.get, dims)
        ]
        if len(axes) > 1 or smaller or not 1 <= len(next(iter(axes))) <= 3:
            shown = ", ".join(
                f"{name}({', '.join(self.dims[name])})" for name in [*fields, *smaller][:6]
            )
            raise self.unclear(f"its fields have different or too many axes: {shown}")
        space = next(iter(axes))
        mesh = self._meshes(next(iter(fields.values())))
        constants = {
            name: name
            for name, own in ranks.items()
            if name not in fields and frozenset(own) == space
        }
        used = [*fields, *constants]
        order = next(iter(fields.values()))
        return Description(
            axes={name: self.axes(name) for name in used},
            fields=self.named(fields),
            constants=self.named(constants),
            parameters={name: name for name in self.parameters(used)},
            time=self.times(),
            grid=dict(mesh),
            staggered={
                field: axes
                for name in used
                for field in self.named([name])
                if (axes := self.staggered(name))
            },
            boundary=boundaries(self, order),
            name="",
        )

    def unclear(self, what: str) -> ValueError:
        """The error that asks for a description."""
        return ValueError(
            f"{self.path}: {what}; say what belongs together in a {FILE} beside it "
            f"(pelagos data describe {self.path.name} drafts one)"
        )

    def _meshes(self, axes: tuple[str, ...]) -> dict[str, str | list[float]]:
        """The coordinates of axes that have none of their own: axis -> array on a mesh."""
        found: dict[str, str | list[float]] = {}
        for axis in axes:
            if counts_places(axis) or axis in self.scattered:
                raise ValueError(
                    f"{self.path}: {axis!r} counts the places of an unstructured mesh, which is "
                    f"not read: {REMEDY}"
                )
            if axis in self.lines or self._between(axis):
                continue
            mesh = self.mesh(axis)
            if not mesh:
                raise self.unclear(f"the dimension {axis!r} has no coordinates")
            found[axis] = mesh
        return found

    def mesh(self, axis: str) -> str:
        """The coordinates on a mesh of an axis that has none of its own; "" if there are none.

        Where the file does not say what an axis is, the last one of a mesh is x.
        """
        for name, (what, dims) in self.meshes.items():
            own = [self.middle.get(dim, dim) for dim in dims]
            if axis in own:
                known = self.roles[axis] or ("x" if own.index(axis) == 1 else "y")
                if what == known:
                    return name
        return ""

    def _between(self, axis: str) -> bool:
        """Whether the file has the coordinates of an axis at others of its dimensions."""
        others = (dim for dim, middle in self.middle.items() if middle == axis)
        return any(dim in self.lines for dim in others)

    def named(self, names: Iterable[str]) -> dict[str, str]:
        """Field -> how a description writes it: each channel on its own."""
        found = {}
        for name in names:
            words = self.axes(name)
            if CHANNEL not in words:
                found[name] = name
                continue
            n = self.lengths[self.dims[name][words.index(CHANNEL)]]
            found.update({f"{name}_{i}" if n > 1 else name: f"{name}[{i}]" for i in range(n)})
        return found

    def parameters(self, used: Sequence[str]) -> list[str]:
        """The numbers of the file, or of each trajectory where the used variables have some."""
        several = any(TRAJECTORY in map(self.roles.get, self.dims[name]) for name in used)
        kinds = {name: [self.roles[dim] for dim in dims] for name, dims in self.dims.items()}
        return [
            name for name, kind in kinds.items() if not kind or (several and kind == [TRAJECTORY])
        ]

    def read_order(self, order: tuple[str, ...]) -> tuple[str, ...]:
        """Space axes in the order in which frames are read."""
        return tuple(sorted(order)) if set(order) <= set(SPACE) else order


def read_variables(path: Path) -> Variables:
    """The variables of a file; none where its format names no dimensions.

    Raises:
        ValueError: the file is damaged.
    """
    empty = Variables(path, {}, {}, {}, frozenset(), {}, {}, frozenset(), {}, frozenset())
    if kind(path) in ("", "matlab"):
        return empty
    shapes = {name: shape for name, shape in listing(path).items() if "/" not in name}
    if len(shapes) > MOST:
        return empty
    file = open_container(path)
    found = _found(path, file, _stored(file, shapes), shapes)
    file.close()
    return found


def boundaries(of: Variables, order: tuple[str, ...]) -> list[str]:
    """Of every axis in the order of reading: as our own files say them, else by coordinates."""
    told = stated_boundaries(of, order)
    return [told.get(dim) or _boundary(of, dim) for dim in of.read_order(order)]


def stated_boundaries(of: Variables, order: tuple[str, ...]) -> dict[str, str]:
    """Axis -> its boundary as our own files say it; {} for others."""
    file = open_container(of.path)
    kinds = texts(file.attributes("")).get("boundary", "").split(",")
    by_axis = {d: texts(file.attributes(d)).get("boundary", "") for d in order if d in of.lines}
    file.close()
    if len(by_axis) == len(order) and all(_known(kind) for kind in by_axis.values()):
        return by_axis
    kinds = [kind.strip() for kind in kinds]
    known = all(_known(kind) for kind in kinds)
    return dict(zip(order, kinds, strict=True)) if known and len(kinds) == len(order) else {}


def _known(kind: str) -> bool:
    return set(kind.split("-", 1)) <= set(BOUNDARIES)


def _boundary(of: Variables, dim: str) -> str:
    """Periodic for longitudes that go around the sphere."""
    if of.roles[dim] != "x" or dim not in of.lines:
        return "open"
    file = open_container(of.path)
    points = np.asarray(file.array(dim)[:], np.float64)
    degrees = texts(file.attributes(dim)).get("units", "").lower().startswith("degree")
    file.close()
    whole = degrees and len(points) > 2 and np.isfinite(points).all()
    step = (points[-1] - points[0]) / (len(points) - 1) if whole else 0.0
    return "periodic" if abs(abs(step) * len(points) - AROUND) < abs(step) / 2 else "open"


class _Stored(NamedTuple):
    """Variables of numbers, as they are stored.

    Attributes:
        dims: variable -> names of its dimensions, but for coordinates of their own name.
        lines: these coordinates.
        aside: names that others mention as what stands beside them.
        lengths: dimension -> points.
    """

    dims: dict[str, tuple[str, ...]]
    lines: set[str]
    aside: set[str]
    lengths: dict[str, int]


def _stored(file: Container, shapes: Mapping[str, tuple[int, ...]]) -> _Stored:
    found = _Stored({}, set(), set(), {})
    for name, shape in shapes.items():
        names = file.dimensions(name)
        said = texts(file.attributes(name))
        if len(names) != len(shape) or not all(names) or NO_VARIABLE in said.get("NAME", ""):
            continue
        found.aside.update(word for key in BESIDE & set(said) for word in said[key].split())
        found.lengths.update(zip(names, shape, strict=True))
        if file.array(name).dtype.kind not in NUMERIC or "grid_mapping_name" in said:
            continue
        if names == (name,):
            found.lines.add(name)
        else:
            found.dims[name] = names
    return found


def _found(
    path: Path, file: Container, stored: _Stored, shapes: Mapping[str, tuple[int, ...]]
) -> Variables:
    """What the variables and their dimensions are."""
    dims, lengths = stored.dims, stored.lengths
    said = {dim: file.attributes(dim) if dim in shapes else {} for dim in lengths}
    roles = {dim: role(dim, said[dim]) for dim in lengths}
    for names in dims.values():
        known = zip(names, forecasts(names, said.__getitem__), strict=True)
        roles.update({dim: TRAJECTORY for dim, name in known if name != dim})
    what = {name: role(name, file.attributes(name)) for name in dims}
    meshes = {
        name: (what[name], names)
        for name, names in sorted(dims.items())
        if len(names) == 2 and _is_mesh(what[name], [roles[dim] for dim in names])
    }
    single = {name for name in dims if all(roles[dim] == TRAJECTORY for dim in dims[name])}
    numbers = {name for name in single if not what[name]}
    aside = stored.aside | set(meshes)
    kept = {name: names for name, names in dims.items() if name not in aside or name in numbers}
    along = {(names[0], what[name]) for name, names in dims.items() if len(names) == 1}
    several = [dim for dim, axis in along if axis in SPACE and dim not in stored.lines]
    used = {dim for names in kept.values() for dim in names}
    middle = centres({dim: n for dim, n in lengths.items() if dim in used}, said)
    for dim, other in [*middle.items()]:
        roles[other] = roles[other] or place(other, said[other])[0]
        roles[dim] = roles[other] or place(dim, said[dim])[0]
    return Variables(
        path,
        kept,
        roles,
        lengths,
        frozenset(stored.lines),
        meshes,
        clocks={name: dims[name] for name in dims if what[name] == TIME},
        scattered=frozenset(dim for dim in several if several.count(dim) > 1),
        middle=middle,
        faces=frozenset(dim for dim in middle if place(dim, said[dim])[1]),
    )


def _is_mesh(what: str, roles: Sequence[str]) -> bool:
    """Whether a variable along two axes is a coordinate of them; a depth of the sea is none."""
    return what in SPACE and {*roles} <= {*SPACE, ""} and (what != "z" or "z" in roles)


LAYOUT = Layout("CF", matches, open_file)
