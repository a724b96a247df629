"""Files that predicted frames are written into, block by block, in constant memory.

All that is known before is written first: names, coordinates, and room for every value. In NetCDF
the values of a variable are one block, whose place in the file is known, and are written there:
HDF5 itself is not at work when the process is killed. In Zarr a block is a chunk.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import numpy as np
import xarray
from jaxtyping import Float32

from ...datasets.files.disk import written
from ...datasets.files.netcdf_written import write_netcdf

ZARR = ".zarr"
_BYTES = 4  # single precision


@dataclass(frozen=True)
class Variable:
    """A variable to be written.

    Attributes:
        name: of it.
        dims: dimensions: those that count samples, time, space.
        shape: their sizes.
        samples: how many of them count samples.
        attributes: of it.
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    samples: int
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes."""
        return _BYTES * math.prod(self.shape)


class FrameFile(ABC):
    """A file that frames are written into."""

    @abstractmethod
    def write(
        self, name: str, sample: tuple[int, ...], start: int, frames: Float32[np.ndarray, "T *S"]
    ) -> None:
        """Frames of one sample from `start` on; blocks of frames are begun at their multiples."""

    @abstractmethod
    def read(
        self, name: str, sample: tuple[int, ...], start: int, stop: int
    ) -> Float32[np.ndarray, "T *S"]:
        """Frames that were written."""

    @abstractmethod
    def flush(self) -> None:
        """Wait until all is on disk."""

    @abstractmethod
    def finish(self, attributes: Mapping[str, str]) -> None:
        """Add attributes and close."""


def create(path: Path, labels: xarray.Dataset, variables: Sequence[Variable], block: int) -> None:
    """A file with labels and room for variables.

    Args:
        path: new; with the suffix .zarr a Zarr store, else NetCDF 4.
        labels: coordinates and attributes.
        variables: what will be written.
        block: frames that are written at a time.
    """
    if path.suffix == ZARR:
        _create_zarr(path, labels, variables, block)
        return
    write_netcdf(labels, path)
    with written(path, new=False) as disk, h5netcdf.File(disk, "a") as file:
        for variable in variables:
            made = file.create_variable(
                variable.name, variable.dims, np.float32, fillvalue=np.float32(np.nan)
            )
            made.attrs.update(variable.attributes)
            made[(0,) * len(variable.shape)] = np.float32(np.nan)  # gives it its place


def opened(path: Path, variables: Sequence[Variable]) -> FrameFile:
    """A file that `create` made, to be written into."""
    return _Zarr(path) if path.suffix == ZARR else _NetCDF(path, variables)


class _NetCDF(FrameFile):
    def __init__(self, path: Path, variables: Sequence[Variable]) -> None:
        self.path, self.variables = path, {v.name: v for v in variables}
        with h5py.File(path, "r") as file:
            places = {name: _dataset(file, name).id.get_offset() for name in self.variables}
        assert None not in places.values(), "room was made for all"
        self.places: dict[str, int] = {name: int(place or 0) for name, place in places.items()}
        self.descriptor = os.open(path, os.O_RDWR)

    def write(
        self, name: str, sample: tuple[int, ...], start: int, frames: Float32[np.ndarray, "T *S"]
    ) -> None:
        """At its place in the file."""
        left = memoryview(np.ascontiguousarray(frames, np.float32).tobytes())
        place = self._at(name, sample, start)
        while left:
            written = os.pwrite(self.descriptor, left, place)
            left, place = left[written:], place + written

    def read(
        self, name: str, sample: tuple[int, ...], start: int, stop: int
    ) -> Float32[np.ndarray, "T *S"]:
        """From its place in the file."""
        variable = self.variables[name]
        shape = (stop - start, *variable.shape[variable.samples + 1 :])
        count = _BYTES * math.prod(shape)
        found = os.pread(self.descriptor, count, self._at(name, sample, start))
        return np.frombuffer(found, np.float32).reshape(shape)

    def flush(self) -> None:
        """Wait for the disk."""
        os.fdatasync(self.descriptor)

    def finish(self, attributes: Mapping[str, str]) -> None:
        """Close, and add the attributes."""
        os.close(self.descriptor)
        with written(self.path, new=False) as disk, h5netcdf.File(disk, "a") as file:
            file.attrs.update(attributes)

    def _at(self, name: str, sample: tuple[int, ...], start: int) -> int:
        variable = self.variables[name]
        outer, frames = variable.shape[: variable.samples], variable.shape[variable.samples]
        row = int(np.ravel_multi_index(sample, outer))
        points = math.prod(variable.shape[variable.samples + 1 :])
        return self.places[name] + _BYTES * points * (row * frames + start)


class _Zarr(FrameFile):
    def __init__(self, path: Path) -> None:
        import zarr  # an extra

        self.group = zarr.open_group(path, mode="r+")
        self.path = path

    def write(
        self, name: str, sample: tuple[int, ...], start: int, frames: Float32[np.ndarray, "T *S"]
    ) -> None:
        """As chunks."""
        array: Any = self.group[name]
        array[(*sample, slice(start, start + len(frames)))] = frames

    def read(
        self, name: str, sample: tuple[int, ...], start: int, stop: int
    ) -> Float32[np.ndarray, "T *S"]:
        """From chunks."""
        array: Any = self.group[name]
        return np.asarray(array[(*sample, slice(start, stop))])

    def flush(self) -> None:
        """Every chunk is a file that was closed."""

    def finish(self, attributes: Mapping[str, str]) -> None:
        """Add the attributes, and the index of the metadata."""
        import zarr

        self.group.attrs.update(attributes)
        zarr.consolidate_metadata(self.path)


def _create_zarr(
    path: Path, labels: xarray.Dataset, variables: Sequence[Variable], block: int
) -> None:
    try:
        import zarr
    except ImportError:
        raise ValueError(
            "writing Zarr needs the package zarr: pip install 'pelagos[zarr]', or name a .nc file"
        ) from None
    labels.to_zarr(path, mode="w", zarr_format=2, consolidated=False)
    group = zarr.open_group(path, mode="r+")
    for variable in variables:
        frames, space = variable.shape[variable.samples], variable.shape[variable.samples + 1 :]
        made = group.create_array(
            variable.name,
            shape=variable.shape,
            chunks=((1,) * variable.samples + (min(block, frames), *space)),
            dtype="float32",
            fill_value=float("nan"),
        )
        made.attrs.update({**variable.attributes, "_ARRAY_DIMENSIONS": list(variable.dims)})


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    found = file[name]
    assert isinstance(found, h5py.Dataset), "it was made so"
    return found
