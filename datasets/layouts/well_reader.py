"""The Well's files, 1D to 3D, read in place (`well` says what they hold)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from ..fields.grid import BOUNDARIES, Grid, spacing
from ..files.hdf5 import Hdf5File, Node, metadata, strings, text
from .arrays import check_numeric, check_times
from .layout import Layout
from .source import Header, Source
from .well import MASK

MAX_TRAJECTORIES = 2**24  # of a file; more is damage


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


class WellFile(Source):
    """One file of The Well, opened lazily; the metadata are read at once, the values on demand.

    Channels come in file order, scalars, then vectors, then tensors row by row; a component is
    named after its axes (`velocity_x`, `D_xy`). What is not stored along an axis is repeated.
    A field that does not vary in time is a constant field; so is the mask of a boundary inside
    the domain, as `<boundary>_mask`, unless a constant field has the same values.

    An axis of n points with spacing h has length n·h (our `length` attribute where given) and its
    origin at the first point. An axis of a curved grid (`grid_type` spherical or equiangular) may
    be uneven: its points are then numbered at their mean spacing, and its coordinates are the
    constant field `coordinate_<axis>`. An end of an axis has the kind of the boundary whose mask
    covers it entirely, and is "open" where there is none.

    Attributes:
        stored: the fields as they are stored.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = Hdf5File(path)
        with metadata(path, "The Well's layout") as file:
            self._read_header(file)
            self._read_scalars(file["scalars"], file.attrs)
            self._read_fields(file)
            shape = (len(self), len(self.header.fields), *self.header.grid.shape)
            self._mask = _read_mask(file, shape)
        self.close()

    def read(
        self, trajectory: int, frames: slice, channels: Sequence[int]
    ) -> Float32[np.ndarray, "T C *S"]:
        """The given frames and channels of a trajectory, copied once out of the file."""
        count = len(range(self.header.n_frames)[frames])
        chosen = [self._channels[channel] for channel in channels]
        return self._gather(chosen, trajectory, frames, (count,))

    def constants(self, trajectory: int) -> Float32[np.ndarray, "K *S"]:
        """The constant fields of a trajectory."""
        return self._gather(self._constants, trajectory, slice(None), ())

    def mask(self, trajectory: int) -> Bool[np.ndarray, "C *S"] | None:
        """Where the fields of a trajectory are predicted; None: everywhere."""
        if not self._mask:
            return None
        self._file.require_unchanged()
        stored = np.array(self._file.array(MASK)[trajectory], dtype=bool)
        return stored[[self._mask.index(name) for name in self.header.fields]]

    def close(self) -> None:
        """Give the file back; the next access opens it again."""
        self._file.close()

    def _read_header(self, file: Node) -> None:
        dimensions = file["dimensions"]
        axes = strings(dimensions.attrs["spatial_dims"])
        self._grid_type = text(file.attrs.get("grid_type", "cartesian")).lower()
        self._uneven: list[int] = []  # axes whose coordinates are constant fields
        boundary = _boundary(dict(file.get("boundary_conditions", {}).items()), axes)
        grid = Grid(*zip(*self._extents(dimensions, axes, boundary), strict=True))
        count = int(file.attrs["n_trajectories"])
        if not 1 <= count <= MAX_TRAJECTORIES:
            raise ValueError(f"{self.path} cannot hold {count} trajectories")
        times = dimensions["time"].numbers()
        check_times(self.path, times)
        self.header = Header(
            name=text(file.attrs["dataset_name"]),
            axes=axes,
            grid=grid,
            times=times,
            rows=range(count),
            units=_units({"time": dimensions["time"], "length": dimensions[axes[0]]}),
            provenance=_provenance(file.attrs.get("provenance", "{}")),
        )

    def _extents(
        self, dimensions: Node, axes: Sequence[str], boundary: Sequence[str]
    ) -> Iterator[tuple[int, float, str, float]]:
        """Points, length, boundary and origin of each axis."""
        for axis, (name, kind) in enumerate(zip(axes, boundary, strict=True)):
            points = dimensions[name].numbers()
            rows = points.reshape(-1, points.shape[-1])  # one, or one per trajectory
            step = spacing(rows[0]) if rows.shape[1] > 1 else 1.0
            curved = self._grid_type != "cartesian" and np.isfinite(rows).all()
            if step is None and curved and (np.diff(rows[0]) > 0).all():
                step = float(rows[0, -1] - rows[0, 0]) / (rows.shape[1] - 1)
                self._uneven.append(axis)
            if step is None or (rows != rows[0]).any():
                raise ValueError(
                    f"{self.path}: axis {name!r} must be uniform, increasing and the same for all "
                    f"trajectories; resample the data to such a grid"
                )
            length = dimensions[name].attrs.get("length", rows.shape[1] * step)
            yield rows.shape[1], float(length), kind, float(rows[0, 0])

    def _read_scalars(self, group: Node, shared: Node) -> None:
        columns: dict[str, np.ndarray] = {}
        series: dict[str, np.ndarray] = {}
        for name in strings(group.attrs["field_names"]):
            values = group[name].numbers()
            if group[name].attrs["time_varying"]:
                series[name] = values
            elif group[name].attrs["sample_varying"]:
                columns[name] = values.reshape(len(self))
            else:  # the root attribute has the same value in double precision
                value = shared.get(name, values)
                columns[name] = np.full(len(self), float(np.asarray(value).reshape(())))
        units = _units({name: group[name] for name in [*columns, *series]})
        self.header = replace(
            self.header,
            parameter_names=tuple(columns),
            parameters=np.array([*columns.values()]).reshape(-1, len(self)).T,
            series=series,
            units=self.header.units | units,
        )

    def _read_fields(self, file: Node) -> None:
        self.stored = tuple(self._stored_fields(file))
        channels, units, space = {True: {}, False: {}}, dict(self.header.units), self.header.axes
        for stored in self.stored:
            for component, axes in enumerate(itertools.product(space, repeat=stored.order)):
                name = "_".join([stored.name, "".join(axes)] if axes else [stored.name])
                channels[stored.time_varying][name] = (stored, component)
                units.update(_units({name: file[stored.path]}))
        if not channels[True]:
            raise ValueError(f"{self.path} holds no field that varies in time")
        self._channels = list(channels[True].values())
        constants = channels[False]
        for axis in self._uneven:
            along = tuple(i == axis for i in range(self.header.grid.ndim))
            path = f"dimensions/{space[axis]}"
            coordinates = StoredField(path, 0, False, False, along)
            self._check_shape(coordinates, file[path].shape)
            constants[f"coordinate_{space[axis]}"] = (coordinates, 0)
        for name, mask in self._interior_masks(file):
            if not self._known(mask, constants.values()):
                constants[f"{name}_mask"] = (mask, 0)
        self._constants = list(constants.values())
        self.header = replace(
            self.header,
            fields=tuple(channels[True]),
            constant_fields=tuple(constants),
            units=units,
        )

    def _stored_fields(self, file: Node) -> Iterator[StoredField]:
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
                self._check_shape(stored, group[name].shape)
                check_numeric(self.path, stored.path, group[name].dtype)
                yield stored

    def _check_shape(self, stored: StoredField, shape: tuple[int, ...]) -> None:
        varying = zip(self.header.grid.shape, stored.dim_varying, strict=True)
        lead = (
            *(len(self),) * stored.sample_varying,
            *(self.header.n_frames,) * stored.time_varying,
            *(n for n, varies in varying if varies),
        )
        tail = (self.header.grid.ndim,) * stored.order
        if shape not in ((*lead, *tail), (*lead, stored.components)):
            raise ValueError(
                f"{self.path}: {stored.path} must have shape {(*lead, *tail)} by its flags; "
                f"got {shape}"
            )

    def _interior_masks(self, file: Node) -> Iterator[tuple[str, StoredField]]:
        """Boundaries that are described on more than one axis, as fields."""
        for name, group in file.get("boundary_conditions", {}).items():
            associated = strings(group.attrs["associated_dims"])
            if len(associated) > 1 and not group.attrs["time_varying"]:
                varying = tuple(axis in associated for axis in self.header.axes)
                path = f"boundary_conditions/{name}/mask"
                mask = StoredField(path, 0, bool(group.attrs["sample_varying"]), False, varying)
                self._check_shape(mask, group["mask"].shape)
                yield name, mask

    def _known(self, mask: StoredField, constants: Any) -> bool:
        """Whether a constant field equals `mask` (compared in the first trajectory)."""
        values = self._block(mask, 0, slice(None))
        return any(
            stored.order == 0 and np.array_equal(self._block(stored, 0, slice(None)), values)
            for stored, _ in constants
        )

    def _block(self, stored: StoredField, trajectory: int, frames: slice) -> np.ndarray:
        """Values ([T,] *S, components) as stored: axes along which they do not vary have size 1."""
        index = (trajectory,) * stored.sample_varying + (frames,) * stored.time_varying
        values = np.asarray(self._file.array(stored.path)[index])
        for axis, varies in enumerate(stored.dim_varying, start=int(stored.time_varying)):
            if not varies:
                values = np.expand_dims(values, axis)
        space = values.shape[: len(stored.dim_varying) + stored.time_varying]
        return values.reshape(*space, stored.components)

    def _gather(
        self,
        channels: Sequence[tuple[StoredField, int]],
        trajectory: int,
        frames: slice,
        lead: tuple[int, ...],
    ) -> np.ndarray:
        self._file.require_unchanged()
        out = np.empty((*lead, len(channels), *self.header.grid.shape), dtype=np.float32)
        by_channel = out.swapaxes(0, 1) if lead else out
        blocks: dict[str, np.ndarray] = {}
        for position, (stored, component) in enumerate(channels):
            if stored.path not in blocks:
                blocks[stored.path] = self._block(stored, trajectory, frames)
            by_channel[position] = blocks[stored.path][..., component]
        return out


def matches(path: Path) -> bool:
    """Whether a file has The Well's layout, by its contents."""
    try:
        with metadata(path) as file:
            return "dimensions" in file and any(f"t{order}_fields" in file for order in range(3))
    except ValueError:
        return False


def open_file(path: Path, split: str, variant: str = "") -> Mapping[str, WellFile]:
    """The file as the source of its folder's split.

    Raises:
        ValueError: as `WellFile`.
    """
    return {split: WellFile(path)}


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


LAYOUT = Layout("The Well", matches, open_file, folders=True)
