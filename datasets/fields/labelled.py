"""Frames of an `xarray.Dataset` as an operator takes them, found by name, in its units.

What the data call a field, a constant field or a parameter is what the operator calls it. Values
come in the operator's units; NaN at the same points of every frame is a mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray
from jaxtyping import Bool, Float
from torch import Tensor

from ..base.paths import shown, there
from .grid import Grid
from .labelled_axes import Dims, find_dims, grid_of
from .labelled_prescribed import Place, prescribed_in, require_numbers, scale_of
from .labelled_times import Clock, clock_of
from .prescribed import Needs, Prescribed
from .units import unit_of
from .window import Context

FILL = "mask_fill"  # attribute of a variable: the value that stands where it is masked


@dataclass(frozen=True)
class Wanted:
    """What an operator takes of labelled data.

    Attributes:
        fields, inputs, constant_fields, parameters, units, fill, grid, axes: as its description's.
        ndim: number of space axes.
        given: parameters that hold for all samples, in the operator's units.
        prescribed: as its description's.
    """

    fields: tuple[str, ...]
    ndim: int
    inputs: tuple[str, ...] = ()
    constant_fields: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    fill: Mapping[str, float] = field(default_factory=dict)
    grid: Grid | None = None
    axes: tuple[str, ...] = ()
    given: Mapping[str, float] = field(default_factory=dict)
    prescribed: tuple[str, ...] = ()

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the history's channels."""
        return self.inputs or self.fields


@dataclass(frozen=True)
class Labelled:
    """Data whose dimensions, units and times are understood.

    Attributes:
        data: the dataset.
        wanted: what is read of it.
        dims: dimensions of its fields.
        grid: on which they lie.
        clock: how its times go with the operator's.
        times: of the frames, as the data have them; None where they say none.
        scales: name -> scale and offset from the data's unit to the operator's.
    """

    data: xarray.Dataset
    wanted: Wanted
    dims: Dims
    grid: Grid
    clock: Clock
    times: np.ndarray | None
    scales: Mapping[str, tuple[float, float]]

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.data.sizes[self.dims.time] if self.dims.time else 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions that count samples."""
        return tuple(self.data.sizes[dim] for dim in self.dims.samples)

    @property
    def name(self) -> str:
        """Of the dataset, where it says one."""
        return str(self.data.attrs.get("dataset", ""))

    def step(self) -> float | None:
        """Time between frames in the operator's unit; None for one frame, or where none are told.

        Raises:
            ValueError: frames are not equally spaced.
        """
        if self.times is None or len(self.times) < 2:
            return None
        since = self.clock.since(self.times, self.times[0])
        gaps = np.diff(since)
        if (gaps < 0).all():
            raise ValueError(
                f"the frames go back in time: use data.sortby({self.dims.time or 'time'!r})"
            )
        step = float(since[-1]) / (len(since) - 1)
        if not (gaps > 0).all() or np.abs(gaps - step).max() > 1e-3 * step:
            raise ValueError(
                "a forecast needs equally spaced frames, and these are not; use data.isel(time=…) "
                "or data.interp(time=…)"
            )
        return step

    def history(self, frames: Sequence[int]) -> tuple[Tensor, Bool[Tensor, "N C *S"] | None]:
        """Frames (N, T, C, *S) of all samples, and where they are predicted; None: everywhere.

        Raises:
            ValueError: values are missing in some frames only, or infinite.
        """
        channels, masks = [], []
        for name in self.wanted.channels:
            values, mask = self._channel(name, frames)
            channels.append(values)
            masks.append(mask)
        mask = np.stack(masks, 1)
        history = torch.from_numpy(np.stack(channels, 2))
        return history, None if mask.all() else torch.from_numpy(mask)

    def context(self, mask: Tensor | None, dt: float | None) -> Context:
        """What stays the same along the trajectories, with a batch axis.

        Args:
            mask: from `history`.
            dt: time between history frames.
        """
        wanted, count = self.wanted, int(np.prod(self.shape))
        constants = [self._constant(name, mask) for name in wanted.constant_fields]
        numbers = [self._parameter(name) for name in wanted.parameters]
        return Context(
            wanted.fields,
            self.grid,
            dt,
            self.name,
            torch.stack(constants, 1) if constants else None,
            wanted.constant_fields,
            torch.stack(numbers, 1).reshape(count, -1) if numbers else None,
            wanted.parameters,
            None if wanted.inputs else mask,
            wanted.inputs,
        )

    def prescribed(
        self, origin: Any, until: float, data: xarray.Dataset | None = None
    ) -> Prescribed | None:
        """What is prescribed from the initial time until the last lead time.

        Args:
            origin: the initial time, as the data have it.
            until: the last lead time, in the operator's unit.
            data: has it; None: these data.

        Raises:
            ValueError: as `prescribed_in`.
        """
        wanted = self.wanted
        samples = {dim: self.data.sizes[dim] for dim in self.dims.samples}
        units = dict(wanted.units)
        if units.get("time", "") in ("", "1") and self.dims.time in self.data.coords:
            units["time"] = unit_of(self.data.coords[self.dims.time].attrs)
        needs = Needs(wanted.prescribed, units, wanted.fill)
        place = Place(self.grid, self.dims.space, samples, self.clock.scale)
        return prescribed_in(self.data if data is None else data, needs, place, origin, until)

    def _channel(
        self, name: str, frames: Sequence[int]
    ) -> tuple[Float[np.ndarray, "N T *S"], Bool[np.ndarray, "N *S"]]:
        """One channel of the history with 0 (or its fill) where it is masked, and its mask."""
        shape = (int(np.prod(self.shape)), len(frames), *self.grid.shape)
        if name not in self.data:
            values = np.full(shape, self.wanted.fill[name], np.float32)
            return values, np.zeros((shape[0], *shape[2:]), bool)
        found = self.data[name]
        if self.dims.time and self.dims.time in found.dims:
            found = found.isel({self.dims.time: list(frames)})
        time = (self.dims.time,) if self.dims.time in found.dims else ()
        found = found.transpose(*self.dims.samples, *time, *self.dims.space)
        values = np.asarray(found.values)
        values = self._converted(name, values.reshape(shape[0], -1, *shape[2:]))
        values = np.broadcast_to(values, shape).astype(np.float32)  # a copy
        missing = np.isnan(values)
        if (missing != missing[:, :1]).any() or np.isinf(values).any():
            raise ValueError(
                f"{name} has NaN in some of the given frames only, or is infinite: fill it "
                f"(data.interpolate_na) or choose other frames"
            )
        missing = missing[:, 0]
        if missing.all():
            raise ValueError(f"{name} is NaN everywhere in the given frame(s)")
        fill = self._converted(name, np.float64(found.attrs[FILL])) if FILL in found.attrs else 0.0
        values[np.broadcast_to(missing[:, None], shape)] = fill
        return values, ~missing

    def _constant(self, name: str, mask: Tensor | None) -> Float[Tensor, "N *S"]:
        found = self.data[name]
        sizes = {dim: self.data.sizes[dim] for dim in (*self.dims.samples, *self.dims.space)}
        _require_dims(found, f"the constant field {name}", sizes)
        found = found.broadcast_like(_empty(sizes)).transpose(*sizes)
        values = self._converted(name, np.asarray(found.values)).astype(np.float32)
        tensor = torch.from_numpy(values.reshape(-1, *self.grid.shape).copy())
        if mask is not None:
            tensor = torch.where(tensor.isnan() & ~mask.any(1), 0.0, tensor)
        if not tensor.isfinite().all():
            raise ValueError(f"the constant field {name} holds NaN or infinite values; fill it")
        return tensor

    def _parameter(self, name: str) -> Float[Tensor, " N"]:
        count = int(np.prod(self.shape))
        if name in self.wanted.given:
            return torch.full((count,), float(self.wanted.given[name]))
        key = parameter_key(self.data, name)
        assert key is not None, "asked before"
        if key in self.data.variables:
            sizes = {dim: self.data.sizes[dim] for dim in self.dims.samples}
            _require_dims(self.data[key], f"the parameter {name}", sizes)
            values = self.data[key].broadcast_like(_empty(sizes)).transpose(*sizes).values
        else:
            values = self.data.attrs[key]
        values = self._converted(name, np.asarray(values, np.float64))
        tensor = torch.from_numpy(np.broadcast_to(values.reshape(-1), count).copy()).float()
        if not tensor.isfinite().all():
            raise ValueError(f"the parameter {name} is not finite")
        return tensor

    def _converted(self, name: str, values: Any) -> Any:
        scale, offset = self.scales.get(name, (1.0, 0.0))
        return values if (scale, offset) == (1.0, 0.0) else values * scale + offset


def labelled(data: xarray.Dataset, wanted: Wanted) -> Labelled:
    """Data whose dimensions, units and times are understood, and which have all that is wanted.

    Raises:
        ValueError: a field or condition is missing, of another unit that cannot be converted, or
            on other dimensions; or as in `find_dims`, `grid_of` and `clock_of`.
    """
    _require(data, wanted)
    for name in (*wanted.channels, *wanted.constant_fields, *wanted.parameters):
        require_numbers(data, name)
    there = [name for name in wanted.channels if name in data]
    dims = find_dims(data, there[0], wanted.ndim, wanted.axes)
    for name in there[1:]:
        if set(map(str, data[name].dims)) - {dims.time} != set(dims.order) - {dims.time}:
            raise ValueError(
                f"{name} has the dimensions {', '.join(map(str, data[name].dims))}, and "
                f"{there[0]} {', '.join(dims.order)}: give all fields the same"
            )
    time = data.coords[dims.time] if dims.time and dims.time in data.coords else None
    if time is None and dims.time is None:
        time = next((data.coords[k] for k in ("time", "t") if k in data.coords), None)
    return Labelled(
        data,
        wanted,
        dims,
        grid_of(data, dims.space, wanted.units.get("length"), wanted.grid),
        clock_of(time, wanted.units.get("time", "")),
        None if time is None else np.atleast_1d(time.values),
        _scales(data, wanted),
    )


def open_labelled(path: str | Path) -> xarray.Dataset:
    """A NetCDF or Zarr file as it is.

    Raises:
        ValueError: it is not there, or cannot be read.
    """
    try:
        if "://" not in str(path) and not there(path):  # xarray warns of each of its libraries
            raise FileNotFoundError
        return xarray.open_dataset(path)
    except (OSError, ValueError) as error:
        why = "it is damaged, or neither NetCDF nor Zarr"
        if isinstance(error, OSError):
            why = " ".join(str(error).split())
        why = why if there(path) else "there is no such file"
        raise ValueError(f"{shown(path)} cannot be read: {why}") from None


def parameter_key(data: xarray.Dataset, name: str) -> str | None:
    """Under which name the data have a parameter: a variable, coordinate or attribute."""
    keys = (name, f"{name}_parameter")
    return next((key for key in keys if key in data.variables or key in data.attrs), None)


def _require_dims(found: xarray.DataArray, what: str, known: Mapping[str, int]) -> None:
    """Refuse what varies along more than it may."""
    others = [str(dim) for dim in found.dims if dim not in known]
    if others:
        raise ValueError(
            f"{what} has the dimension(s) {', '.join(others)}, and may vary along "
            f"{', '.join(known) or 'none'}: choose one value of each (data.isel)"
        )


def _require(data: xarray.Dataset, wanted: Wanted) -> None:
    missing = [n for n in wanted.channels if n not in data and n not in wanted.fill]
    if missing or not any(name in data for name in wanted.channels):
        raise ValueError(
            f"the data have no {', '.join(missing or wanted.channels)}; they have "
            f"{', '.join(map(str, data.data_vars)) or 'no variables'}. Rename them to the "
            "operator's fields: data.rename({…})"
        )
    lacking = [name for name in wanted.constant_fields if name not in data]
    if lacking:
        raise ValueError(
            f"this operator takes the constant field(s) {', '.join(lacking)} as extra inputs, and "
            f"the data have none of that name: data.assign({lacking[0]}=…)"
        )
    unknown = [name for name in wanted.given if name not in wanted.parameters]
    if unknown:
        raise ValueError(
            f"this operator takes no parameter {', '.join(unknown)}; it takes "
            f"{', '.join(wanted.parameters) or 'none'}"
        )
    absent = [
        name
        for name in wanted.parameters
        if name not in wanted.given and parameter_key(data, name) is None
    ]
    if absent:
        raise ValueError(
            f"this operator takes the parameter(s) {', '.join(absent)}, which the data do not say; "
            f"give parameters={{{absent[0]!r}: …}}, on the command line --parameter {absent[0]}=…"
        )


def _scales(data: xarray.Dataset, wanted: Wanted) -> dict[str, tuple[float, float]]:
    """Scale and offset of every variable whose unit is another than the operator's."""
    found = {}
    for name in (*wanted.channels, *wanted.fields, *wanted.constant_fields, *wanted.parameters):
        key = name if name in data.variables else parameter_key(data, name)
        if key in data.variables:
            change = scale_of(wanted.units.get(name), name, data[key])
            if change != (1.0, 0.0):
                found[name] = change
    return found


def _empty(sizes: Mapping[str, int]) -> xarray.DataArray:
    """An array of these dimensions without memory of its own, to broadcast to."""
    values: Any = np.broadcast_to(np.float32(0), tuple(sizes.values()))
    return xarray.DataArray(values, dims=tuple(sizes))
