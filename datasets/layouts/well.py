"""The Well's HDF5 layout, 1D to 3D: the native layout, and how its files are written.

A dataset is a folder `NAME/data/{train,valid,test}/*.hdf5` with `NAME/stats.yaml`. A file holds n
trajectories on one grid, as scalar (`t0_fields`), vector (`t1_fields`) and tensor fields
(`t2_fields`), each with flags that say whether it varies between trajectories, in time, and along
each axis. Our files add optional attributes that other readers ignore: `units` on every quantity,
`length` on the axes, `provenance` (JSON) and `prescribed` (names of what varies in time and is not
predicted) at the root, and the dataset `prediction_mask` where fields are not predicted everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from ..base.appearing import appearing_file
from ..fields.grid import Grid
from ..fields.vocabulary import AXES, tensors
from ..files.disk import written
from .arrays import NUMERIC
from .source import require_prescribed

MASK = "prediction_mask"  # where the fields are predicted (n, C, *S); ours alone
PRESCRIBED = "prescribed"  # attribute: names of what varies in time and is not predicted
PAGE = 4096  # large arrays start on a page, so that they can be mapped into memory


@dataclass(frozen=True)
class WellData:
    """The contents of one file: n trajectories of T frames on one grid.

    Attributes:
        dataset: name of the dataset that the file belongs to.
        grid: the spatial grid.
        times: physical time of each frame, increasing: (T,), or (n, T) where trajectories have
            their own.
        fields: channel name -> (n, T, *S), here and below arrays of numpy, tensors, or what numpy
            makes arrays of. Components that are complete for the grid's axes
            (`velocity_x`, `velocity_y`; `D_xx`, `D_xy`, `D_yx`, `D_yy`) are stored as one vector or
            tensor field; every other name as a scalar. Scalars come first when the file is read.
        constant_fields: name -> (n, *S).
        parameters: name -> () where all trajectories share the value, else (n,).
        series: scalars that vary in time, name -> (n, T).
        prescribed: names of the fields and series that are known at all times, and not predicted.
        mask: (n, C, *S), true where the fields are predicted; None: everywhere.
        units: name of a field or parameter, "time" or "length" -> unit.
        provenance: how the data were made; anything that JSON can hold.
    """

    dataset: str
    grid: Grid
    times: Any
    fields: dict[str, Any]
    constant_fields: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    series: dict[str, Any] = field(default_factory=dict)
    prescribed: Sequence[str] = ()
    mask: Any = None
    units: dict[str, str] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in ("fields", "constant_fields", "parameters", "series"):
            plain = {name: _array(name, values) for name, values in getattr(self, key).items()}
            object.__setattr__(self, key, plain)
        object.__setattr__(self, "times", _array("times", self.times).astype(np.float64))
        names = (self.prescribed,) if isinstance(self.prescribed, str) else self.prescribed
        object.__setattr__(self, "prescribed", tuple(names))
        if self.mask is not None:
            object.__setattr__(self, "mask", _array("mask", self.mask))


def write_file(path: str | Path, data: WellData) -> None:
    """Write one file; equal data give equal bytes. Fields are stored in single precision.

    The file appears under its name only when it is complete and on disk.

    Raises:
        ValueError: the path exists, a shape is wrong, a value is NaN or infinite.
    """
    for name, values in {**data.fields, **data.constant_fields}.items():
        _check_finite(name, values)
    with create_file(Path(path), data) as write:
        for i in range(len(next(iter(data.fields.values())))):
            write(i, 0, np.stack([values[i] for values in data.fields.values()], axis=1))


@contextmanager
def create_file(path: Path, data: WellData) -> Iterator[Callable[[int, int, np.ndarray], None]]:
    """Write one file whose fields do not fit into memory, block by block.

    Of `data.fields` the names and shapes count, not the values (`np.broadcast_to` makes an array
    of any shape that takes no memory). Gives a function of (trajectory, first frame, values
    (T, C, *S)), which must be called for all frames. The file appears under its name only when the
    block has succeeded and the file is on disk.

    Raises:
        ValueError: the path exists, a shape is wrong, a value is NaN or infinite, the disk is full.
    """
    if path.exists():
        raise ValueError(f"{path} exists already; choose another name or delete it")
    _check(data)
    with (
        appearing_file(path) as draft,
        written(draft) as disk,
        h5py.File(disk, "w", alignment_threshold=PAGE, alignment_interval=PAGE) as file,
    ):
        _write_root(file, data)
        _write_dimensions(file.create_group("dimensions"), data)
        _write_boundary(file.create_group("boundary_conditions"), data.grid)
        _write_scalars(file.create_group("scalars"), data)
        stored = _create_fields(file, data)

        def write(trajectory: int, first: int, values: np.ndarray) -> None:
            with np.errstate(over="ignore"):
                values = np.asarray(values, dtype=np.float32)
            for dataset, channels in stored:
                block = values[:, channels]
                _check_finite(str(dataset.name).rsplit("/", 1)[-1], block)
                shape = (len(block), *dataset.shape[2:])
                last = np.moveaxis(block, 1, -1).reshape(shape)
                dataset[trajectory, first : first + len(block)] = last

        yield write


def _check(data: WellData) -> None:
    """Raise a ValueError unless names, shapes and values of `data` fit together."""
    lead = next((values.shape[:1] for values in data.fields.values()), ())
    if lead in ((), (0,)):
        raise ValueError("a file needs at least one field and one trajectory; got none")
    frames = data.times.shape[-1:]
    for name, values in data.fields.items():
        _check_shape(name, values, (*lead, *frames, *data.grid.shape))
    for name, values in data.constant_fields.items():
        _check_shape(name, values, (*lead, *data.grid.shape))
    for name, values in data.parameters.items():
        _check_shape(name, values, lead if values.ndim else ())
        _check_finite(name, values)
    for name, values in data.series.items():
        _check_shape(name, values, (*lead, *frames))
    if data.mask is not None:
        _check_shape("mask", data.mask, (*lead, len(data.fields), *data.grid.shape))
    _check_times(data.times, lead)
    names = [*data.fields, *data.constant_fields, *data.parameters, *data.series]
    for name in names:
        if names.count(name) > 1 or not name or "/" in name:
            raise ValueError(f"names must be unique, not empty and without '/'; got {name!r}")
    require_prescribed("the file", data.fields, data.series, data.prescribed)
    unknown = set(data.units) - {*names, "time", "length"}
    if unknown:
        raise ValueError(f"units are given for unknown names: {', '.join(sorted(unknown))}")


def _array(name: str, values: Any) -> np.ndarray:
    """A plain array of numpy.

    Raises:
        ValueError: values are masked.
    """
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().numpy()
    if isinstance(values, np.ma.MaskedArray):
        if np.ma.getmaskarray(values).any():
            raise ValueError(
                f"{name!r} is a masked array; give {name}.filled(0), and where values count as "
                f"`mask`, true there, of shape (n, C, *S)"
            )
        return values.data
    return np.asarray(values)


def _check_times(times: np.ndarray, lead: tuple[int, ...]) -> None:
    if times.ndim > 1:
        _check_shape("times", times, (*lead, times.shape[-1]))
    if not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
        raise ValueError("times must be finite and increase from frame to frame")


def _check_shape(name: str, values: np.ndarray, shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise ValueError(f"{name!r} must have shape {shape}; got {values.shape}")


def _check_finite(name: str, values: np.ndarray) -> None:
    if values.dtype.kind not in NUMERIC:
        raise ValueError(f"{name!r} must hold real numbers; got the type {values.dtype}")
    with np.errstate(over="ignore"):
        if not np.isfinite(np.asarray(values, dtype=np.float32)).all():
            raise ValueError(f"{name!r} holds NaN, infinite or too large values")


def _write_root(file: h5py.File, data: WellData) -> None:
    shared = [name for name, values in data.parameters.items() if values.ndim == 0]
    file.attrs["dataset_name"] = data.dataset
    file.attrs["grid_type"] = "cartesian"
    file.attrs["n_spatial_dims"] = data.grid.ndim
    file.attrs["n_trajectories"] = len(next(iter(data.fields.values())))
    file.attrs["simulation_parameters"] = _texts(shared)
    for name in shared:
        file.attrs[name] = float(data.parameters[name])
    if data.prescribed:
        file.attrs[PRESCRIBED] = _texts(data.prescribed)
    file.attrs["provenance"] = json.dumps(data.provenance, sort_keys=True)


def _write_dimensions(group: h5py.Group, data: WellData) -> None:
    axes = AXES[: data.grid.ndim]
    group.attrs["spatial_dims"] = _texts(axes)
    time = group.create_dataset("time", data=data.times)
    _set_flags(time, data.times.ndim > 1, True, data.units.get("time"))
    coordinates = data.grid.coordinates()
    for name, values, length in zip(axes, coordinates, data.grid.lengths, strict=True):
        axis = group.create_dataset(name, data=values.numpy())
        _set_flags(axis, False, False, data.units.get("length"))
        axis.attrs["length"] = length


def _write_boundary(group: h5py.Group, grid: Grid) -> None:
    """One group per axis and kind, with a mask that is true at the ends of that kind."""
    for name, n, kinds in zip(AXES, grid.shape, grid.boundary, strict=False):
        ends = kinds.split("-")
        for kind in sorted(set(ends)):
            mask = np.zeros(n, dtype=bool)
            mask[0] |= ends[0] == kind
            mask[-1] |= ends[-1] == kind
            part = group.create_group(f"{name}_{kind}")
            part.attrs["associated_dims"] = _texts([name])
            part.attrs["associated_fields"] = _texts([])
            part.attrs["bc_type"] = kind.upper()
            _set_flags(part, False, False)
            part.create_dataset("mask", data=mask)


def _write_scalars(group: h5py.Group, data: WellData) -> None:
    group.attrs["field_names"] = _texts([*data.parameters, *data.series])
    for name, values in data.parameters.items():
        scalar = group.create_dataset(name, data=values, dtype="f4")
        _set_flags(scalar, values.ndim == 1, False, data.units.get(name))
    for name, values in data.series.items():
        scalar = group.create_dataset(name, data=values, dtype="f4")
        _set_flags(scalar, True, True, data.units.get(name))


def _create_fields(file: h5py.File, data: WellData) -> list[tuple[h5py.Dataset, list[int]]]:
    """The datasets of all fields, with the channels of each; constant fields are written."""
    fields = tensors([*data.fields], data.grid.ndim)
    constants = tensors([*data.constant_fields], data.grid.ndim)
    channels = {name: channel for channel, name in enumerate(data.fields)}
    stored = []
    for order in range(3):
        group = file.create_group(f"t{order}_fields")
        mine = {k: names for k, (rank, names) in fields.items() if rank == order}
        fixed = {k: names for k, (rank, names) in constants.items() if rank == order}
        group.attrs["field_names"] = _texts([*mine, *fixed])
        tail = (data.grid.ndim,) * order
        for name, names in mine.items():
            shape = (*data.fields[names[0]].shape, *tail)
            dataset = group.create_dataset(name, shape, dtype="f4")
            _set_field_flags(dataset, data, names, time=True)
            stored.append((dataset, [channels[component] for component in names]))
        for name, names in fixed.items():
            values = np.stack([data.constant_fields[component] for component in names], axis=-1)
            values = values.reshape(*values.shape[:-1], *tail)
            _check_finite(name, values)
            dataset = group.create_dataset(name, data=values, dtype="f4")
            _set_field_flags(dataset, data, names, time=False)
    if data.mask is not None:
        file.create_dataset(MASK, data=data.mask).attrs["field_names"] = _texts(data.fields)
    return stored


def _set_field_flags(
    dataset: h5py.Dataset, data: WellData, names: Sequence[str], *, time: bool
) -> None:
    _set_flags(dataset, True, time, _shared_unit(data.units, names))
    dataset.attrs["dim_varying"] = np.ones(data.grid.ndim, dtype=bool)


def _shared_unit(units: Mapping[str, str], names: Sequence[str]) -> str | None:
    found = {units.get(name) for name in names}
    if len(found) > 1:
        raise ValueError(f"the components {', '.join(names)} must share one unit; got {found}")
    return found.pop()


def _set_flags(item: h5py.HLObject, samples: bool, time: bool, unit: str | None = None) -> None:
    item.attrs["sample_varying"] = samples
    item.attrs["time_varying"] = time
    if unit is not None:
        item.attrs["units"] = unit


def _texts(names: Any) -> np.ndarray:
    return np.array(list(names), dtype=h5py.string_dtype())
