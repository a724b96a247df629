"""A store as a lazy `xarray.Dataset`: named axes, coordinates, units; values are read on use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray
from xarray.backends import BackendArray
from xarray.core import indexing

from ..layouts.source import Source

if TYPE_CHECKING:
    from .store import Store


def to_xarray(store: Store) -> xarray.Dataset:
    """Fields (trajectory, time, *axes) and constant fields (trajectory, *axes) of a store.

    Parameters and the split are coordinates along `trajectory`. Where trajectories differ in
    their times, the coordinate `physical_time` (trajectory, time) takes the place of `time`.
    Scalars that vary in time are variables (trajectory, time); what is prescribed is named by the
    attribute `prescribed`. NaN is not an error here: it stands
    where a field is masked (one that is predicted nowhere keeps the values of its file), and where
    a trajectory has ended that is shorter than others, whose times are NaN too.
    """
    frames = _frames(store)
    variables: dict[str, Any] = {}
    for channel, name in enumerate(store.fields):
        values = _FieldArray(store, channel)
        variables[name] = _variable(store, ("trajectory", "time", *store.axes), values, name)
    series, given = _common_series(store), store.prescribed
    for channel, name in enumerate(given.fields if given else ()):
        if name not in series:
            values = _FieldArray(given or store, channel)
            variables[name] = _variable(store, ("trajectory", "time", *store.axes), values, name)
    for channel, name in enumerate(store.constant_fields):
        values = _ConstantArray(store, channel)
        variables[name] = _variable(store, ("trajectory", *store.axes), values, name)
    for name in series:
        values = np.concatenate(
            [_rows(source, source.header.series[name], frames) for source in store.sources]
        )
        variables[name] = _variable(store, ("trajectory", "time"), values, name)
    attributes = {
        "dataset": store.name,
        "boundary": list(store.grid.boundary),
        **({"prescribed": list(given.fields)} if given else {}),
        "provenance": json.dumps(store.provenance, sort_keys=True),
    }
    return xarray.Dataset(variables, _coordinates(store, variables), attributes)


def _coordinates(store: Store, variables: Mapping[str, Any]) -> dict[str, Any]:
    coordinates: dict[str, Any] = {
        axis: _variable(store, (axis,), values.numpy(), "length")
        for axis, values in zip(store.axes, store.grid.coordinates(), strict=True)
    }
    frames = _frames(store)
    times = np.concatenate([_rows(source, source.header.times, frames) for source in store.sources])
    if (times == times[0]).all():
        coordinates["time"] = _variable(store, ("time",), times[0], "time")
    else:
        dims = ("trajectory", "time")
        coordinates["physical_time"] = _variable(store, dims, times, "time")
    for name, values in zip(store.parameter_names, store.parameter_table().T, strict=True):
        taken = name in (*variables, *coordinates, "trajectory", "time", "split")
        key = f"{name}_parameter" if taken else name
        coordinates[key] = _variable(store, ("trajectory",), values, name)
    place = {i: name for name, indices in store.splits.items() for i in indices}
    split = [place[i] for i in range(len(store))]
    return {**coordinates, "split": ("trajectory", split)}


def _variable(store: Store, dims: tuple[str, ...], values: Any, name: str) -> xarray.Variable:
    if isinstance(values, BackendArray):
        values = indexing.LazilyIndexedArray(values)
    about: dict[str, Any] = {"units": store.units[name]} if name in store.units else {}
    fill = store.sources[0].header.mask_fill.get(name) if name in store.fields else None
    if fill:
        about["mask_fill"] = fill  # which stands in windows where the field is masked
    return xarray.Variable(dims, values, about)


def _common_series(store: Store) -> list[str]:
    first, *others = (source.header.series for source in store.sources)
    return [name for name in first if all(name in series for series in others)]


def _frames(store: Store) -> int:
    """Frames of the longest trajectory."""
    return max(source.header.n_frames for source in store.sources)


def _rows(source: Source, values: np.ndarray, frames: int) -> np.ndarray:
    """(n, T) from (T,) or (n, T), with NaN up to the number of frames."""
    rows = np.broadcast_to(values, (len(source), values.shape[-1]))
    missing = frames - rows.shape[1]
    return (
        np.pad(rows.astype(float), ((0, 0), (0, missing)), constant_values=np.nan)
        if missing
        else rows
    )


class _FieldArray(BackendArray):
    """One field of all trajectories, (trajectory, time, *S)."""

    def __init__(self, store: Store, channel: int) -> None:
        self.store, self.channel = store, channel
        self.shape = (len(store), _frames(store), *store.grid.shape)
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        support = indexing.IndexingSupport.BASIC  # integers and slices
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        trajectory, *inner = key
        if not isinstance(trajectory, slice):
            return self._read_one(int(trajectory), inner)
        chosen = range(self.shape[0])[trajectory]
        if not chosen:
            return np.empty((0, *self.shape[1:]), self.dtype)[(slice(None), *inner)]
        return np.stack([self._read_one(i, inner) for i in chosen])

    def _read_one(self, i: int, inner: list[Any]) -> np.ndarray:
        time, *space = inner
        frames = time if isinstance(time, slice) else slice(int(time), int(time) + 1)
        values = self._frames_of(i, frames)
        mask = self.store.mask(i)
        if mask is not None and mask[self.channel].any():
            values = np.where(mask[self.channel].numpy(), values, np.float32(np.nan))
        return values[(slice(None) if isinstance(time, slice) else 0, *space)]

    def _frames_of(self, i: int, frames: slice) -> np.ndarray:
        """Frames of one trajectory, NaN after its end."""
        asked, held = range(self.shape[1])[frames], self.store.n_frames(i)
        if held == self.shape[1]:
            return self.store.read_raw(i, frames, [self.channel])[:, 0]
        out = np.full((len(asked), *self.shape[2:]), np.nan, self.dtype)
        there = sum(frame < held for frame in asked)
        inner = slice(asked.start, asked.start + there * asked.step, asked.step)
        out[:there] = self.store.read_raw(i, inner, [self.channel])[:, 0]
        return out


class _ConstantArray(_FieldArray):
    """One constant field of all trajectories, (trajectory, *S)."""

    def __init__(self, store: Store, channel: int) -> None:
        super().__init__(store, channel)
        self.shape = (len(store), *store.grid.shape)

    def _read_one(self, i: int, inner: list[Any]) -> np.ndarray:
        return self.store.constants_raw(i)[self.channel][tuple(inner)]
