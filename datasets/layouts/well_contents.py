"""What one file of The Well holds, by its metadata: a header, and where every channel lies."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from ..fields.grid import BOUNDARIES, Grid, spacing
from ..files.hdf5 import Node, strings, text
from .arrays import check_numeric, check_times
from .source import Header, require_prescribed
from .well import MASK, PRESCRIBED

MAX_TRAJECTORIES = 2**24  # of a file; more is damage

Reader: TypeAlias = Callable[[str], Any]  # path in the file -> array, read where it is indexed


@dataclass(frozen=True)
class StoredField:
    """A stored field: where it lies and along what it varies."""

    path: str
    order: int
    sample_varying: bool
    time_varying: bool
    dim_varying: tuple[bool, ...]

    @property
    def name(self) -> str:
        """Its name in its group."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def components(self) -> int:
        """Number of components: 1, D or D²."""
        return len(self.dim_varying) ** self.order

    def block(self, read: Reader, trajectory: int, frames: slice) -> np.ndarray:
        """Values ([T,] *S, components) as stored: axes along which they do not vary have size 1."""
        index = (trajectory,) * self.sample_varying + (frames,) * self.time_varying
        values = np.asarray(read(self.path)[index])
        for axis, varies in enumerate(self.dim_varying, start=int(self.time_varying)):
            if not varies:
                values = np.expand_dims(values, axis)
        space = values.shape[: len(self.dim_varying) + self.time_varying]
        return values.reshape(*space, self.components)


Channel: TypeAlias = tuple[StoredField, int]  # a component of a stored field


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        header: what its trajectories are.
        stored: the fields as they are stored.
        channels, constants: where the fields and the constant fields of the header lie.
        mask: names of the fields of the mask, in its order; empty if there is none.
    """

    header: Header
    stored: tuple[StoredField, ...]
    channels: tuple[Channel, ...]
    constants: tuple[Channel, ...]
    mask: tuple[str, ...]


def contents_of(file: Node, read: Reader) -> Contents:
    """Look at the metadata of a file.

    Args:
        file: its root.
        read: gives its arrays.

    Raises:
        ValueError: they do not fit together, or say what cannot be read.
    """
    header, uneven = _header(file)
    header = _with_scalars(header, file["scalars"], file.attrs)
    stored = tuple(_stored_fields(file, header))
    channels, constants, units = _channels(file, header, stored)
    if not channels:
        raise ValueError(f"{file.path} holds no field that varies in time")
    constants |= _coordinates(file, header, uneven)
    for name, mask in _interior_masks(file, header):
        if not _known(mask, constants.values(), read):
            constants[f"{name}_mask"] = (mask, 0)
    prescribed = strings(file.attrs[PRESCRIBED]) if PRESCRIBED in file.attrs else ()
    if not {*prescribed} & {*channels, *header.series}:
        prescribed = ()  # somebody else's attribute of that name
    require_prescribed(str(file.path), channels, header.series, prescribed)
    header = replace(
        header,
        fields=tuple(channels),
        constant_fields=tuple(constants),
        prescribed=tuple(prescribed),
        units=units,
    )
    mask = _read_mask(file, (len(header.rows), len(channels), *header.grid.shape))
    return Contents(header, stored, (*channels.values(),), (*constants.values(),), mask)


def _header(file: Node) -> tuple[Header, list[int]]:
    """What a file says of its trajectories; axes whose coordinates are to be constant fields."""
    dimensions = file["dimensions"]
    axes = strings(dimensions.attrs["spatial_dims"])
    boundary = _boundary(dict(file.get("boundary_conditions", {}).items()), axes)
    curved = text(file.attrs.get("grid_type", "cartesian")).lower() != "cartesian"
    extents = [_extent(dimensions, name, curved) for name in axes]
    shape, lengths, origin, even = zip(*extents, strict=True)
    grid = Grid(shape, lengths, tuple(boundary), origin)
    count = int(file.attrs["n_trajectories"])
    if not 1 <= count <= MAX_TRAJECTORIES:
        raise ValueError(f"{file.path} cannot hold {count} trajectories")
    times = dimensions["time"].numbers()
    check_times(file.path, times)
    header = Header(
        name=text(file.attrs["dataset_name"]),
        axes=axes,
        grid=grid,
        times=times,
        rows=range(count),
        units=_units({"time": dimensions["time"], "length": dimensions[axes[0]]}),
        provenance=_provenance(file.attrs.get("provenance", "{}")),
    )
    return header, [axis for axis, is_even in enumerate(even) if not is_even]


def _extent(dimensions: Node, name: str, curved: bool) -> tuple[int, float, float, bool]:
    """Points, length and origin of an axis, and whether its points are evenly spaced."""
    points = dimensions[name].numbers()
    rows = points.reshape(-1, points.shape[-1])  # one, or one per trajectory
    even = spacing(rows[0]) if rows.shape[1] > 1 else 1.0
    step = even
    if step is None and curved and np.isfinite(rows).all() and (np.diff(rows[0]) > 0).all():
        step = float(rows[0, -1] - rows[0, 0]) / (rows.shape[1] - 1)
    if step is None or (rows != rows[0]).any():
        raise ValueError(
            f"{dimensions.path}: axis {name!r} must be uniform, increasing and the same for all "
            f"trajectories; resample the data to such a grid"
        )
    length = dimensions[name].attrs.get("length", rows.shape[1] * step)
    return rows.shape[1], float(length), float(rows[0, 0]), even is not None


def _with_scalars(header: Header, group: Node, shared: Node) -> Header:
    """With the scalars of a file: parameters, and series where they vary in time."""
    count = len(header.rows)
    columns: dict[str, np.ndarray] = {}
    series: dict[str, np.ndarray] = {}
    for name in strings(group.attrs["field_names"]):
        values = group[name].numbers()
        if group[name].attrs["time_varying"]:
            series[name] = values
        elif group[name].attrs["sample_varying"]:
            columns[name] = values.reshape(count)
        else:  # the root attribute has the same value in double precision
            value = shared.get(name, values)
            columns[name] = np.full(count, float(np.asarray(value).reshape(())))
    units = _units({name: group[name] for name in [*columns, *series]})
    return replace(
        header,
        parameter_names=tuple(columns),
        parameters=np.array([*columns.values()]).reshape(-1, count).T,
        series=series,
        units=header.units | units,
    )


def _stored_fields(file: Node, header: Header) -> Iterator[StoredField]:
    for order in range(3):
        group = file[f"t{order}_fields"]
        for name in strings(group.attrs["field_names"]):
            flags = group[name].attrs
            stored = StoredField(
                f"t{order}_fields/{name}",
                order,
                bool(flags["sample_varying"]),
                bool(flags["time_varying"]),
                tuple(bool(varies) for varies in flags["dim_varying"]),
            )
            _check_shape(file, stored, header)
            check_numeric(file.path, stored.path, group[name].dtype)
            yield stored


def _check_shape(file: Node, stored: StoredField, header: Header) -> None:
    shape, grid = file[stored.path].shape, header.grid
    varying = zip(grid.shape, stored.dim_varying, strict=True)
    lead = (
        *(len(header.rows),) * stored.sample_varying,
        *(header.n_frames,) * stored.time_varying,
        *(n for n, varies in varying if varies),
    )
    tail = (grid.ndim,) * stored.order
    if shape not in ((*lead, *tail), (*lead, stored.components)):
        raise ValueError(
            f"{file.path}: {stored.path} must have shape {(*lead, *tail)} by its flags; got {shape}"
        )


def _channels(
    file: Node, header: Header, stored: Sequence[StoredField]
) -> tuple[dict[str, Channel], dict[str, Channel], dict[str, str]]:
    """Name -> channel of what varies in time and of what does not, and the units of all."""
    channels: dict[bool, dict[str, Channel]] = {True: {}, False: {}}
    units = dict(header.units)
    for item in stored:
        for component, axes in enumerate(itertools.product(header.axes, repeat=item.order)):
            name = "_".join([item.name, "".join(axes)] if axes else [item.name])
            channels[item.time_varying][name] = (item, component)
            units.update(_units({name: file[item.path]}))
    return channels[True], channels[False], units


def _coordinates(file: Node, header: Header, uneven: Sequence[int]) -> dict[str, Channel]:
    """The coordinates of uneven axes, as constant fields."""
    found = {}
    for axis in uneven:
        along = tuple(i == axis for i in range(header.grid.ndim))
        stored = StoredField(f"dimensions/{header.axes[axis]}", 0, False, False, along)
        _check_shape(file, stored, header)
        found[f"coordinate_{header.axes[axis]}"] = (stored, 0)
    return found


def _interior_masks(file: Node, header: Header) -> Iterator[tuple[str, StoredField]]:
    """Boundaries that are described on more than one axis, as fields."""
    for name, group in file.get("boundary_conditions", {}).items():
        associated = strings(group.attrs["associated_dims"])
        if len(associated) > 1 and not group.attrs["time_varying"]:
            varying = tuple(axis in associated for axis in header.axes)
            path = f"boundary_conditions/{name}/mask"
            mask = StoredField(path, 0, bool(group.attrs["sample_varying"]), False, varying)
            _check_shape(file, mask, header)
            yield name, mask


def _known(mask: StoredField, constants: Iterable[Channel], read: Reader) -> bool:
    """Whether a constant field equals `mask` (compared in the first trajectory)."""
    values = mask.block(read, 0, slice(None))
    return any(
        stored.order == 0 and np.array_equal(stored.block(read, 0, slice(None)), values)
        for stored, _ in constants
    )


def _boundary(groups: Mapping[str, Node], axes: Sequence[str]) -> list[str]:
    """The kind per axis: "open" where nothing is said, "low-high" where the ends differ."""
    ends = {axis: ["open", "open"] for axis in axes}
    for name, group in groups.items():
        kind = text(group.attrs["bc_type"]).lower()
        if kind not in BOUNDARIES:
            raise ValueError(
                f"{group.path}: boundary {name!r} has type {kind!r}; known: {', '.join(BOUNDARIES)}"
            )
        associated = strings(group.attrs["associated_dims"])
        mask = group["mask"][()]
        mask = mask.reshape(-1, *mask.shape[mask.ndim - len(associated) :]).all(axis=0)
        for position, axis in enumerate(axis for axis in axes if axis in associated):
            for end, face in enumerate((0, -1)):
                if np.take(mask, face, axis=position).all():
                    ends[axis][end] = kind
    return [
        "periodic" if "periodic" in pair else "-".join(dict.fromkeys(pair))
        for pair in ends.values()
    ]


def _read_mask(file: Node, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Names of the fields of the mask, in its order; empty if there is none."""
    if MASK not in file:
        return ()
    if file[MASK].shape != shape:
        raise ValueError(f"{file.path}: {MASK} must have shape {shape}; got {file[MASK].shape}")
    return strings(file[MASK].attrs["field_names"])


def _units(items: Mapping[str, Node]) -> dict[str, str]:
    return {k: text(item.attrs["units"]) for k, item in items.items() if "units" in item.attrs}


def _provenance(stored: Any) -> dict[str, Any]:
    """Our JSON object, or whatever another program wrote under this name."""
    try:
        value = json.loads(stored)
    except (TypeError, ValueError):
        value = None
    return value if isinstance(value, dict) else {"text": text(stored)}
