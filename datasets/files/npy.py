"""Arrays of NumPy: `.npy` files, mapped into memory, `.npz` archives, and folders of frames.

The arrays of a folder are its `.npy` files by name; those that are numbered (`u_0000.npy`,
`u_0001.npy`, …) are one array, along a new first axis in the order of their numbers. Folders in it
are groups. Nothing is unpickled.
"""

from __future__ import annotations

import math
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from .guard import check_declared
from .lazy import Lazy

NUMBERED = re.compile(r"(.*?)[_.\-]?(\d+)")
LISTED = 2**17  # files of a folder, at most


class NpyFile(Lazy):
    """One `.npy` file, whose array is called as the file."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of the array."""
        return {self.path.stem: self._array().shape}

    def array(self, name: str) -> np.ndarray:
        """A view of the mapped file."""
        if name != self.path.stem:
            raise KeyError(name)
        return self._array()

    def _array(self) -> np.ndarray:
        self._own()
        if self._opened is None:
            self._opened = _mapped(self.path)
        return self._opened


class NpzFile(Lazy):
    """An archive of arrays, each of which is read as a whole once per process."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the arrays."""
        return {name: shape for name, (shape, _) in self._headers().items()}

    def array(self, name: str) -> np.ndarray:
        """An array in memory."""
        headers, arrays = self._headers(), self._opened[1]
        if name not in headers:
            raise KeyError(name)
        if name not in arrays:
            shape, dtype = headers[name]
            stored = self.path.stat().st_size
            check_declared(self.path, name, shape, dtype.itemsize, stored)
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{name}.npy") as file:
                arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
        return arrays[name]

    def _headers(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        self._own()
        if self._opened is None:
            found = {}
            try:
                with zipfile.ZipFile(self.path) as archive:
                    for name in archive.namelist():
                        with archive.open(name) as file:
                            found[name.removesuffix(".npy")] = _header(file)
            except (zipfile.BadZipFile, ValueError, OSError) as error:
                raise _damaged(self.path, error) from None
            self._opened = found, {}
        return self._opened[0]


class NpyFolder(Lazy):
    """A folder of `.npy` files; see the module."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the arrays, one level of groups deep."""
        return {name: self.array(name).shape for name in self._files()}

    def array(self, name: str) -> Any:
        """An array, or numbered ones as one."""
        files = self._files()[name]
        arrays = self._opened[1]
        if name not in arrays:
            numbered = len(files) > 1 or NUMBERED.fullmatch(files[0].stem)
            arrays[name] = Stack(files) if numbered else _mapped(files[0])
        return arrays[name]

    def _files(self) -> dict[str, list[Path]]:
        self._own()
        if self._opened is None:
            found: dict[str, dict[int, Path]] = {}
            for path in sorted([*self.path.glob("*.npy"), *self.path.glob("*/*.npy")])[:LISTED]:
                match = NUMBERED.fullmatch(path.stem)
                inner = path.relative_to(self.path).parent
                name = (inner / ((match[1] if match else path.stem) or "frames")).as_posix()
                found.setdefault(name, {})[int(match[2]) if match else -1] = path
            self._opened = {k: [v[n] for n in sorted(v)] for k, v in found.items()}, {}
        return self._opened[0]


class Stack:
    """Arrays of one shape in files of their own, as one along a new first axis.

    Raises:
        ValueError: their shapes or types differ.
    """

    def __init__(self, files: list[Path]) -> None:
        self._files = files
        first = _mapped(files[0])
        self.dtype, self.shape = first.dtype, (len(files), *first.shape)

    def __getitem__(self, key: Any) -> np.ndarray:
        key = key if isinstance(key, tuple) else (key,)
        frames, inner = (key[0], key[1:]) if key else (slice(None), ())
        if isinstance(frames, (int, np.integer)):
            return np.asarray(self._frame(self._files[int(frames)])[inner])
        chosen = self._files[frames]
        if not chosen:
            return np.empty((0, *np.empty(self.shape[1:], "V0")[inner].shape), self.dtype)
        return np.stack([self._frame(path)[inner] for path in chosen])

    def _frame(self, path: Path) -> np.ndarray:
        found = _mapped(path)
        if (found.shape, found.dtype) != (self.shape[1:], self.dtype):
            raise ValueError(
                f"{path} has shape {found.shape} of {found.dtype}, and {self._files[0].name} "
                f"{self.shape[1:]} of {self.dtype}; frames must be alike, or be in folders apart"
            )
        return found


def is_folder(path: Path) -> bool:
    """Whether a folder holds `.npy` files, or folders of them, and no other data."""
    inner = [*path.iterdir()]
    folders = [item for item in inner if item.is_dir() and not item.name.startswith(".")]
    direct = any(item.suffix == ".npy" for item in inner)
    return direct or (bool(folders) and all(any(item.glob("*.npy")) for item in folders))


def _mapped(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:
            shape, dtype = _header(file)
            if not math.prod(shape):
                return np.empty(shape, dtype)
        return np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
    except (ValueError, EOFError) as error:
        raise _damaged(path, error) from None


def _header(file: Any) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of the array in a file.

    Raises:
        ValueError: it is none of NumPy's, or holds objects, which only code could read.
    """
    version = np.lib.format.read_magic(file)
    read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    shape, _, dtype = read.get(version[0], read[2])(file)
    if dtype.hasobject:
        raise ValueError("it holds objects; save arrays of numbers")
    return shape, dtype


def _damaged(path: Path, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())
    return ValueError(f"{path} cannot be read ({reason:.200})")
