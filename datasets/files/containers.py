"""Arrays by name from a file or folder of any format: HDF5, MATLAB 5, NetCDF classic, Zarr.

HDF5 includes NetCDF-4 and MATLAB 7.3. The format is found by the first bytes (of a Zarr folder, by
its metadata). Arrays are read on use; a MATLAB 5 file has no random access, so each of its arrays
is read as a whole once per process and held in single precision while the file is open.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import h5py
import numpy as np
import scipy.io

from .guard import COMPRESSION, METADATA, SLACK, STORED, Dataset, Group
from .hdf5 import Hdf5File, metadata

# The format's numbers for elements, for the classes of arrays and for the types they are stored as.
MATRIX, COMPRESSED = 14, 15
MATLAB_CLASSES = dict(
    zip(range(6, 16), ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"], strict=True)
)
MATLAB_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"} | {
    12: "i8",
    13: "u8",
}
DEPTH, MOST = 4, 2**17  # groups within each other, and members of a file, that are listed
ZARR_METADATA = {"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"}
# Of the filters that Zarr knows, those that only move, pack or check numbers ("pickle" runs code).
ZARR_COMPRESSORS = {"blosc", "zlib", "gzip", "bz2", "lzma", "zstd", "lz4", "lzf"}
ZARR_CODECS = ZARR_COMPRESSORS | {
    *("bytes", "transpose", "sharding_indexed", "shuffle", "delta", "fixedscaleoffset", "quantize"),
    *("bitround", "astype", "packbits", "crc32", "crc32c", "adler32", "fletcher32"),
}


@runtime_checkable
class Container(Protocol):
    """A file that offers arrays by name."""

    path: Path

    def array(self, name: str) -> Any:
        """An array with `shape` and `dtype`; index it with integers and slices to read."""
        ...

    def close(self) -> None:
        """Give the file back; the next access opens it again."""
        ...


def kind(path: Path) -> str:
    """ "hdf5", "matlab", "netcdf" or "zarr" by contents; "" for anything else."""
    if path.is_dir():
        marks = (".zgroup", ".zarray", ".zmetadata", "zarr.json")
        return "zarr" if any((path / mark).is_file() for mark in marks) else ""
    if not path.is_file():  # a pipe would be waited for
        return ""
    with path.open("rb") as file:
        start = file.read(128)
    if h5py.is_hdf5(path):
        return "hdf5"
    if start[:3] == b"CDF" and start[3:4] in (b"\x01", b"\x02", b"\x05"):
        return "netcdf"
    versions = (b"\x00\x01IM", b"\x01\x00MI")  # little and big endian, format 5
    return "matlab" if start[124:128] in versions else ""


def open_container(path: Path) -> Container:
    """The arrays of a file or Zarr folder.

    Raises:
        ValueError: it has no known format, or is damaged.
    """
    classes = {"hdf5": Hdf5File, "matlab": MatFile, "netcdf": NetcdfFile, "zarr": ZarrFolder}
    found = kind(path)
    if not found:
        raise ValueError(f"{path} is neither HDF5, NetCDF, MATLAB nor Zarr")
    return classes[found](path)


def listing(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the arrays of a file, `DEPTH` groups deep (Zarr: one).

    Raises:
        ValueError: it has no known format, or is damaged.
    """
    container = open_container(path)
    if isinstance(container, (MatFile, NetcdfFile, ZarrFolder)):
        shapes = container.shapes()
        container.close()
        return shapes
    with metadata(path) as root:
        found = itertools.islice(_members(root, "", DEPTH), MOST)  # groups may hold each other
        return {name: item.shape for name, item in found if isinstance(item, Dataset)}


def _members(group: Group, prefix: str, depth: int) -> Iterator[tuple[str, Group | Dataset | None]]:
    for name in group:
        item = group.get(name)
        yield f"{prefix}{name}", item
        if isinstance(item, Group) and depth:
            yield from _members(item, f"{prefix}{name}/", depth - 1)


class _Lazy:
    """A container that opens its file on use and again in every process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reset()

    def close(self) -> None:
        """Give the file back; the next access opens it again."""
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._opened: Any = None

    def _own(self) -> None:
        if self._pid != os.getpid():
            self._reset()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)


class MatFile(_Lazy):
    """A MATLAB file of version 5 (the usual one below 2 GB), of whose variables the real arrays.

    Read here and not by SciPy, whose reader can crash the process on a damaged file.
    """

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the arrays."""
        return {name: array.shape for name, array in self._arrays().items()}

    def array(self, name: str) -> MatArray:
        """An array, not read yet."""
        return self._arrays()[name]

    def _arrays(self) -> dict[str, MatArray]:
        self._own()
        if self._opened is None:
            try:
                self._opened = dict(_matlab_arrays(self.path))
            except (struct.error, zlib.error, UnicodeDecodeError, IndexError) as error:
                raise ValueError(
                    f"{self.path} is damaged ({error}); copy or make it again"
                ) from None
        return self._opened


def _matlab_arrays(path: Path) -> Iterator[tuple[str, MatArray]]:
    """The real arrays of a file: elements (type, size, data), matrices, often compressed."""
    with path.open("rb") as file:
        order = "<" if file.read(128)[126:128] == b"IM" else ">"
        place, end = 128, path.stat().st_size
        while place + 8 <= end:
            file.seek(place)
            kind, size = struct.unpack(f"{order}II", file.read(8))
            head = file.read(min(size, 2**16))
            if kind == COMPRESSED:
                head = zlib.decompressobj().decompress(head, 2**12)[8:]
            if kind in (COMPRESSED, MATRIX):
                found = _matlab_header(head, order)
                if found is not None:
                    name, shape, dtype = found
                    yield name, MatArray(path, name, shape, dtype, (place, order))
            place += 8 + size


def _matlab_header(head: bytes, order: str) -> tuple[str, tuple[int, ...], np.dtype] | None:
    """Name, shape and type of a matrix; None for one without a name."""
    flags, place = _element(head, 0, order)
    dims, place = _element(head, place, order)
    name, place = _element(head, place, order)
    (word,) = struct.unpack_from(f"{order}I", flags)
    code = "" if word & 0x800 else MATLAB_CLASSES.get(word & 0xFF, "")  # complex: no real array
    shape = struct.unpack(f"{order}{len(dims) // 4}i", dims)
    if min(shape, default=-1) < 0:
        raise struct.error("negative dimensions")
    return (name.decode("ascii"), shape, np.dtype(code or "O")) if name else None


def _element(data: bytes, place: int, order: str) -> tuple[bytes, int]:
    """The data of a sub-element and the place of the next; small ones share their tag's words."""
    (word,) = struct.unpack_from(f"{order}I", data, place)
    if word >> 16:
        size = word >> 16
        return data[place + 4 : place + 4 + min(size, 4)], place + 8
    (size,) = struct.unpack_from(f"{order}I", data, place + 4)
    if place + 8 + size > len(data):
        raise struct.error("an element reaches beyond its end")
    return data[place + 8 : place + 8 + size], place + 8 + -(-size // 8) * 8


class MatArray:
    """An array of a MATLAB 5 file, read as a whole on first use."""

    def __init__(
        self,
        path: Path,
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype,
        where: tuple[int, str],
    ) -> None:
        self.path, self.name, self.shape, self.dtype, self._where = path, name, shape, dtype, where
        self._values: np.ndarray | None = None
        _check_declared(path, name, shape, dtype.itemsize)

    def __getitem__(self, key: Any) -> np.ndarray:
        if self._values is None:
            try:
                self._values = self._read()
            except (struct.error, zlib.error, IndexError) as error:
                raise ValueError(
                    f"{self.path}: {self.name!r} is damaged ({error}); copy or make it again"
                ) from None
        return self._values[key]

    def _read(self) -> np.ndarray:
        place, order = self._where
        count = math.prod(self.shape)
        with self.path.open("rb") as file:
            file.seek(place)
            kind, size = struct.unpack(f"{order}II", file.read(8))
            data = file.read(size)
        if kind == COMPRESSED:  # no more than the header, the names and 8 bytes a number
            data = zlib.decompressobj().decompress(data, 8 * count + 2**16)[8:]
        start = 0
        for _ in range(3):
            _, start = _element(data, start, order)
        values, _ = _element(data, start, order)
        (word,) = struct.unpack_from(f"{order}I", data, start)
        stored = MATLAB_TYPES.get(word & 0xFFFF if word >> 16 else word)
        if stored is None or len(values) < count * int(stored[1:]):
            raise struct.error("fewer numbers than declared")
        array = np.frombuffer(values, np.dtype(order + stored), count)
        with np.errstate(over="ignore", invalid="ignore"):
            return np.ascontiguousarray(array.reshape(self.shape, order="F"), dtype=np.float32)


class NetcdfFile(_Lazy):
    """A file of classic NetCDF (versions 1, 2 and 5), memory-mapped."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the variables."""
        return {name: values.shape for name, (values, _) in self._open().items()}

    def array(self, name: str) -> np.ndarray:
        """A view of the mapped file.

        Raises:
            ValueError: its numbers stand for others.
        """
        values, packed = self._open()[name]
        if packed:
            raise ValueError(
                f"{self.path}: {name!r} is packed (scale_factor, add_offset); store its values "
                f"unpacked, as xarray.open_dataset reads them"
            )
        return values

    def _open(self) -> dict[str, tuple[np.ndarray, bool]]:
        self._own()
        if self._opened is None:
            self._opened = _netcdf(self.path)
        return self._opened


def _netcdf(path: Path) -> dict[str, tuple[np.ndarray, bool]]:
    """The variables as views of a map that lives as long as they do; whether they are packed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = scipy.io.netcdf_file(path, "r", mmap=True)
            found = {name: (item.data, _packed(item)) for name, item in file.variables.items()}
            file._mm_buf = None  # the views keep the map; closing would copy or complain
            file.close()
            return found
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{path} is damaged ({reason:.200}); copy or make it again") from None


def _packed(item: Any) -> bool:
    """Whether the numbers of a variable stand for others, by the conventions of NetCDF."""
    scaled = getattr(item, "scale_factor", 1) != 1, getattr(item, "add_offset", 0) != 0
    return bool(np.any(scaled))


class ZarrFolder(_Lazy):
    """A Zarr group, version 2 or 3, in a local folder (`pip install pelagos[zarr]`)."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the arrays of the group, at most one level of groups deep."""
        found = {}
        for mark in [*self.path.glob("*/.zarray"), *self.path.glob("*/*/.zarray")]:
            found[mark.parent.relative_to(self.path).as_posix()] = mark
        for mark in [*self.path.glob("*/zarr.json"), *self.path.glob("*/*/zarr.json")]:
            found[mark.parent.relative_to(self.path).as_posix()] = mark
        stored = {name: _json(mark) for name, mark in sorted(found.items())}
        return {
            name: tuple(map(int, entry["shape"]))
            for name, entry in stored.items()
            if isinstance(entry.get("shape"), list)
        }

    def array(self, name: str) -> Any:
        """An array of the group."""
        self._own()
        self._opened = {} if self._opened is None else self._opened
        if name not in self._opened:
            self._opened[name] = _zarr_array(self.path, name)
        return self._opened[name]


def _zarr_array(root: Path, name: str) -> Any:
    try:
        import zarr

        from .zarr_chunks import CheckedStore
    except ImportError:
        raise ValueError(f"{root} is in Zarr's format; pip install zarr to read it") from None
    folder = (root / name).resolve()
    if not folder.is_relative_to(root.resolve()):
        raise ValueError(f"{root}: {name!r} lies outside the folder, where nothing is read")
    codecs = _check_zarr(root, folder, name)
    try:
        store = CheckedStore(folder, None)
        array = zarr.open_array(store=store, mode="r")
    except Exception as error:
        raise ValueError(f"{folder} is damaged ({error!s:.200}); copy or make it again") from None
    item = array.dtype.itemsize
    chunk = math.prod(array.chunks) * item
    sizes = {entry: entry.stat().st_size for entry in folder.rglob("*") if entry.is_file()}
    stored, unit = sum(sizes.values()), math.prod(array.shards or array.chunks) * item
    largest = max((n for path, n in sizes.items() if path.name not in ZARR_METADATA), default=0)
    if largest > unit + STORED:
        raise ValueError(
            f"{folder} stores a chunk in {largest} bytes that should unpack to {unit}; is it "
            f"damaged?"
        )
    store.limit = 8 * unit if "blosc" in codecs else None  # filters may have widened the numbers
    _check_declared(folder, name, array.shape, item, stored)
    _check_declared(folder, f"a chunk of {name}", (chunk,), 1, stored)
    return array


def _check_zarr(root: Path, folder: Path, name: str) -> set[str]:
    """The filters; refuses links out of the folder, and those that could run code or fetch data."""
    marks = [folder / mark for mark in (".zarray", "zarr.json") if (folder / mark).is_file()]
    if not marks:
        raise KeyError(name)
    for entry in folder.rglob("*"):
        if entry.is_symlink():
            raise ValueError(f"{entry} is a link, which is not followed; copy what it points to")
        if not entry.is_file() and not entry.is_dir():
            raise ValueError(f"{entry} is neither a file nor a folder")
    codecs = _codecs(_json(marks[0]))
    unknown = codecs - ZARR_CODECS
    if unknown:
        raise ValueError(
            f"{root}: {name!r} is stored with the filters {sorted(unknown)}, which are not read"
        )
    return codecs


def _codecs(entry: Any) -> set[str]:
    """Names of all filters that an array's metadata mentions, at any depth."""
    found: set[str] = set()
    chosen = ("compressor", "filters", "codecs", "index_codecs", "chunk_key_encoding")
    stack = [entry[key] for key in chosen if isinstance(entry, Mapping) and entry.get(key)]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack += item
        elif isinstance(item, Mapping):
            found |= {str(item[key]) for key in ("id", "name") if key in item}
            stack += [value for value in item.values() if isinstance(value, (list, Mapping))]
    return {name.removeprefix("numcodecs.") for name in found} - {"default", "v2"}


def _json(path: Path) -> dict[str, Any]:
    """A JSON object of bounded size."""
    if path.is_symlink() or path.stat().st_size > METADATA:
        raise ValueError(f"{path} is a link or too large for metadata")
    try:
        found = json.loads(path.read_text())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged; copy or make it again")
    return found


def _check_declared(
    path: Path, name: str, shape: tuple[int, ...], item: int, stored: int | None = None
) -> None:
    """Raise a ValueError if an array declares more than the file can hold."""
    size = path.stat().st_size if stored is None else stored
    if math.prod(shape) * item > max(SLACK, COMPRESSION * size):
        raise ValueError(
            f"{path}: {name!r} declares shape {shape}, which {size} bytes cannot hold; is it "
            f"damaged?"
        )
