"""One HDF5 file for reading: opened on first use, once per process, without locks."""

from __future__ import annotations

import itertools
import math
import mmap
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from .conventions import CODING, DecodedArray, coding
from .guard import Attributes, Dataset, Group, check_stored, dataset_at, h5a
from .unreadable import Version, require_unchanged, unreadable, version

CACHE = 2**24  # bytes of decoded chunks that a file keeps, or one row of chunks if that is more,
ROW = 2**26  # up to so many, or one chunk if that is more,
CHUNK = 2**28  # up to so many
# Attributes of HDF5 itself, which hold references.
INTERNAL = {"DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "_Netcdf4Dimid", "_Netcdf4Coordinates"}
FEW = 16  # datasets of a file that are found by opening it for each
DEPTH, MOST = 4, 2**17  # groups within each other, and members of a file, that are listed

Node = Any  # a file, group or dataset of h5py, whose types do not tell which one a name holds


class Place(NamedTuple):
    """Where a dataset lies in its file, and how it is read."""

    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int | None  # of values that lie in a row, to be mapped; None: read by HDF5
    cache: tuple[int, int]  # bytes of the cache and of a chunk; (0, 0) unless chunked
    coded: tuple[tuple[str, Any], ...] = ()  # attributes that change what its numbers are


class Hdf5File:
    """Read-only access that survives pickling and forks, and holds nothing until it is used.

    Contiguous, uncompressed numeric datasets are memory-mapped; all others are read by h5py, with
    a cache of decoded chunks that fits theirs (HDF5's own does not hold a chunk larger than it).
    Chunked datasets beyond `CACHE` are given back, the one used longest ago first. Where datasets
    lie is remembered after `close`, so that opening an unchanged file again takes microseconds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[str, Place] = {}
        self._version: Version = (-1, -1, -1)  # of the file that they are of
        self._reset()

    def array(self, name: str) -> np.ndarray | h5py.Dataset | DecodedArray:
        """The dataset `name`: a view of the mapped file, or what reads it. Index it to read."""
        self._own()
        if name not in self._arrays:
            self._arrays[name] = self._open_array(name)
        if name in self._caches:
            self._caches.move_to_end(name)
        return self._arrays[name]

    def require_unchanged(self) -> None:
        """Refuse a file that changed since its first array was opened; see `unreadable`."""
        self._own()
        if self._arrays:
            require_unchanged(self.path, self._version)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the arrays, `DEPTH` groups deep.

        Raises:
            ValueError: the file is damaged.
        """
        with metadata(self.path) as root:
            found = itertools.islice(_members(root, "", DEPTH), MOST)  # groups may hold each other
            return {name: item.shape for name, item in found if isinstance(item, Dataset)}

    def attributes(self, name: str = "") -> dict[str, Any]:
        """Attributes of a dataset or group, by default of the file, without HDF5's own."""
        self._looked += 1
        if self._looked > FEW and self._file is None:  # opened once for all of them
            self._file = open_readonly(self.path)
        with metadata(self.path, file=self._file) as root:
            found = (root[name] if name else root).attrs
            return {key: found[key] for key in found if key not in INTERNAL}

    def stated(self, names: Sequence[str], key: str) -> list[Any]:
        """One attribute of several arrays; None of those without it."""
        with metadata(self.path, file=self._file) as root:
            return [root.stated(name, key) for name in names]

    def dimensions(self, name: str) -> tuple[str, ...]:
        """Names of the dimension scales of a dataset's axes, or their labels."""
        with metadata(self.path) as root:
            return root[name].dimensions()

    def close(self) -> None:
        """Give the file back; the next access opens it again."""
        self._reset()

    def _open_array(self, name: str) -> np.ndarray | h5py.Dataset | DecodedArray:
        if not self._arrays:
            self._forget_if_changed()
        place = self._places.get(name)
        if place is None:
            file = self._file or open_readonly(self.path)
            place = self._places[name] = _place(file, self.path, name)
            if place.offset is None or len(self._places) > FEW:
                self._file = file
            elif self._file is None:  # the map suffices: others may open the file with locks
                file.close()
        raw = self._by_hdf5(name, place) if place.offset is None else self._mapped(name, place)
        return DecodedArray(name, raw, dict(place.coded)) if place.coded else raw

    def _forget_if_changed(self) -> None:
        found = version(self.path)
        if found != self._version:
            self._places, self._version = {}, found

    def _mapped(self, name: str, place: Place) -> np.ndarray:
        if self._bytes is None:
            with self.path.open("rb") as file:
                self._bytes = np.frombuffer(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ), "u1")
        size = math.prod(place.shape) * place.dtype.itemsize
        values = self._bytes[place.offset : (place.offset or 0) + size]
        if len(values) < size:
            raise OSError(f"{name} reaches beyond the end of the file")
        return values.view(place.dtype).reshape(place.shape)

    def _by_hdf5(self, name: str, place: Place) -> h5py.Dataset:
        """A dataset; if chunked with a cache, after others have made room for it."""
        if self._file is None:
            self._file = open_readonly(self.path)
        size, chunk = place.cache
        access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
        if size:
            while self._caches and sum(self._caches.values()) + size > CACHE:
                del self._arrays[self._caches.popitem(last=False)[0]]
            self._caches[name] = size
            access.set_chunk_cache(max(521, 10 * size // max(chunk, 1) | 1), size, 0.75)
        return h5py.Dataset(h5py.h5d.open(self._file.id, name.encode(), access))

    def _own(self) -> None:
        if self._pid != os.getpid():  # an HDF5 handle does not survive a fork
            self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._file: h5py.File | None = None
        self._looked = 0  # how often attributes were asked for
        self._bytes: np.ndarray | None = None
        self._arrays: dict[str, np.ndarray | h5py.Dataset | DecodedArray] = {}
        self._caches: OrderedDict[str, int] = OrderedDict()  # chunked datasets -> bytes

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)


def _place(file: h5py.File, path: Path, name: str) -> Place:
    """Where a dataset lies.

    The handle on it is gone afterwards: HDF5 sizes a cache only when a dataset is opened first.

    Raises:
        ValueError: it lies outside the file, or holds more than it declares.
        KeyError: there is no such dataset.
    """
    found = dataset_at(file, name)
    shape: tuple[int, ...] = found.shape or ()
    dtype, offset = found.dtype, found.get_offset()  # None unless contiguous and in this file
    coded = _coded(found, path, dtype)
    if offset is not None and dtype.kind in "fiub" and math.prod(shape):
        return Place(dtype, shape, offset, (0, 0), coded)
    dataset = h5py.Dataset(found, readonly=True)
    if dataset.chunks is None:
        return Place(dtype, shape, None, (0, 0), coded)
    check_stored(dataset)
    return Place(dtype, shape, None, (cache_size(dataset), _chunk_bytes(dataset)), coded)


def _coded(found: Any, path: Path, dtype: np.dtype) -> tuple[tuple[str, Any], ...]:
    """The attributes of a dataset (its identifier) that change what its numbers are."""
    if not h5a.get_num_attrs(found):
        return ()
    attributes = Attributes(h5py.Dataset(found, readonly=True), path)
    stated = {key: attributes[key] for key in CODING if key in attributes}
    return tuple(coding(stated, dtype).items()) if stated else ()


def cache_size(dataset: Node) -> int:
    """Bytes of the chunks of a dataset that share a range of the first axis, as neighbours do.

    At least 1 MiB, and at most `ROW`, or one chunk of up to `CHUNK` bytes.
    """
    chunk = _chunk_bytes(dataset)
    across = zip(dataset.shape[1:], dataset.chunks[1:], strict=True)
    row = chunk * math.prod(-(-size // part) for size, part in across)
    return max(2**20, min(row, ROW), chunk if chunk <= CHUNK else 0)


def _chunk_bytes(dataset: Node) -> int:
    return math.prod(dataset.chunks) * dataset.dtype.itemsize


def open_readonly(path: Path) -> h5py.File:
    """The file, read-only and without file locks (which many network file systems lack)."""
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        if "locking flag" not in str(error):
            raise
        return h5py.File(path, "r")  # somebody in this process has it open with locks


@contextmanager
def metadata(
    path: Path, layout: str = "its layout", file: h5py.File | None = None
) -> Iterator[Group]:
    """The root group of a file, whose members are followed inside the file only.

    Args:
        path: the file.
        layout: what it should have, for messages.
        file: the same, where it is open already.

    Raises:
        ValueError: inside the block, the file turned out to be truncated or damaged, or a part of
            it is missing or of another kind than expected.
    """
    try:
        with open_readonly(path) if file is None else nullcontext(file) as opened:
            yield Group(opened, path)
    except MemoryError:
        raise ValueError(f"{path} declares more than fits into memory; is it damaged?") from None
    except (OSError, RuntimeError) as error:  # what h5py raises for broken structures
        reason = unreadable(path, error) if isinstance(error, OSError) else None
        if reason:
            raise reason from None
        raise ValueError(
            f"{path} is truncated or damaged ({error}); copy or make it again"
        ) from None
    except (KeyError, AttributeError, TypeError, IndexError, UnicodeDecodeError) as error:
        reason = " ".join(str(error.args[0] if error.args else error).split())
        raise ValueError(f"{path} lacks a part of {layout}: {reason}") from None


def strings(value: Any) -> tuple[str, ...]:
    """A string list attribute, whose items may be bytes, as text."""
    items = np.atleast_1d(value).tolist()
    return tuple(item.decode() if isinstance(item, bytes) else str(item) for item in items)


def text(value: Any) -> str:
    """A string attribute, which may be bytes, as text."""
    return strings(value)[0]


def _members(group: Group, prefix: str, depth: int) -> Iterator[tuple[str, Group | Dataset]]:
    for name, item in group.open_all():
        yield f"{prefix}{name}", item
        if isinstance(item, Group) and depth:
            yield from _members(item, f"{prefix}{name}/", depth - 1)
