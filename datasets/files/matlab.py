"""Arrays of MATLAB files of version 5."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .guard import check_declared
from .lazy import Lazy

EXACT = 2**16  # numbers of an array that keeps its precision: times, coordinates, parameters
# The format's numbers for elements, for the classes of arrays and for the types they are stored as.
MATRIX, COMPRESSED = 14, 15
CLASSES = dict(
    zip(range(6, 16), ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"], strict=True)
)
TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"} | {
    12: "i8",
    13: "u8",
}


class MatFile(Lazy):
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
                self._opened = dict(_stored(self.path))
            except (struct.error, zlib.error, UnicodeDecodeError, IndexError) as error:
                raise ValueError(
                    f"{self.path} is damaged ({error}); copy or make it again"
                ) from None
        return self._opened


def _stored(path: Path) -> Iterator[tuple[str, MatArray]]:
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
                found = _header(head, order)
                if found is not None:
                    name, shape, dtype = found
                    yield name, MatArray(path, name, shape, dtype, (place, order))
            place += 8 + size


def _header(head: bytes, order: str) -> tuple[str, tuple[int, ...], np.dtype] | None:
    """Name, shape and type of a matrix; None for one without a name."""
    flags, place = _element(head, 0, order)
    dims, place = _element(head, place, order)
    name, place = _element(head, place, order)
    (word,) = struct.unpack_from(f"{order}I", flags)
    code = "" if word & 0x800 else CLASSES.get(word & 0xFF, "")  # complex: no real array
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
        check_declared(path, name, shape, dtype.itemsize)

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
        stored = TYPES.get(word & 0xFFFF if word >> 16 else word)
        if stored is None or len(values) < count * int(stored[1:]):
            raise struct.error("fewer numbers than declared")
        array = np.frombuffer(values, np.dtype(order + stored), count)
        with np.errstate(over="ignore", invalid="ignore"):
            kept = array.dtype if count <= EXACT else np.float32
            return np.ascontiguousarray(array.reshape(self.shape, order="F"), dtype=kept)
