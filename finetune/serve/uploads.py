"""Files from anyone, read as stored datasets are: nothing outside of them, no more than they hold.

NetCDF and zipped Zarr name their dimensions, and are read as they are; a file of another layout
(The Well, PDEBench, …) as `open_store` reads it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from ...datasets.files import guard
from ...datasets.files.containers import Container, kind, open_container
from ...datasets.files.conventions import CODING, plain
from ...datasets.stores.opening import open_store
from ...datasets.stores.xarray_view import to_xarray
from .refusals import TooLarge
from .unpacking import unpack

KINDS = ("hdf5", "netcdf", "zarr")
MOST_VARIABLES = 256
UNPACKED = 4  # times the upload that a zip file may unpack to
_KEPT = (int, float, str, np.number)


def opened(path: Path, fields: tuple[str, ...], most: int) -> xarray.Dataset:
    """The variables of an uploaded file.

    Args:
        path: the file, under any name, in a folder of its own.
        fields: of which one must be there.
        most: numbers that its arrays may have together.

    Raises:
        ValueError: it is damaged, too large, of an unknown kind, or names what lies outside of it.
    """
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    if zipped:
        folder = path.parent / "unpacked.zarr"
        folder.mkdir()
        path = unpack(path, folder, UNPACKED * 4 * most)
    if kind(path) not in KINDS:
        raise ValueError("this file is neither NetCDF, HDF5 nor a zipped Zarr folder")
    container = open_container(path)
    try:
        data = _variables(container, most)
    finally:
        container.close()
    if any(name in data for name in fields):
        return data
    return _of_a_layout(path, fields, most, list(map(str, data)))


def _variables(container: Container, most: int) -> xarray.Dataset:
    """The arrays of numbers whose dimensions have names, and what they are decoded by CF."""
    shapes = {name: shape for name, shape in container.shapes().items() if "/" not in name}
    if len(shapes) > MOST_VARIABLES:
        raise TooLarge(f"the file has {len(shapes)} arrays, and may have {MOST_VARIABLES}")
    found: dict[str, Any] = {}
    left = most
    for name, shape in shapes.items():
        dims = container.dimensions(name)
        if len(dims) != len(shape) or "" in dims:
            continue
        left -= math.prod(shape)
        if left < 0:
            raise TooLarge(f"the file holds more than the {most:,} numbers that it may")
        array = container.array(name)
        if array.dtype.kind in "fiub":
            about = _attributes(container, name)
            found[name] = xarray.Variable(dims, np.asarray(array[...]), about)
    try:
        data = xarray.Dataset(found, attrs=_attributes(container, ""))
        return xarray.decode_cf(data, mask_and_scale=False, decode_timedelta=False)
    except Exception as error:  # whatever xarray makes of names and units from anywhere
        raise ValueError(f"the file is not as CF has it ({error!s:.150})") from None


def _attributes(container: Container, name: str) -> dict[str, Any]:
    """Numbers and texts, without those by which values were decoded already."""
    known = {key: plain(value) for key, value in container.attributes(name).items()}
    return {
        key: str(value) if isinstance(value, str) else value  # not NumPy's, which is not written
        for key, value in known.items()
        if isinstance(value, _KEPT) and key not in CODING
    }


def _of_a_layout(path: Path, fields: tuple[str, ...], most: int, seen: list[str]) -> xarray.Dataset:
    """A file of one of the layouts of datasets."""
    try:
        store = open_store(path)
    except ValueError:
        store = None
    if store is None or not any(name in store.fields for name in fields):
        has = ", ".join(store.fields if store else seen) or "no arrays with named dimensions"
        raise ValueError(
            f"the file has no {' or '.join(fields)}; it has {guard.one_line(has)}. Rename "
            "what they are called in it"
        )
    data = to_xarray(store)
    if sum(data[name].size for name in store.fields) > most:
        raise TooLarge(f"the file holds more than the {most:,} numbers that it may")
    return data
