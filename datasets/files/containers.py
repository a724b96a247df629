"""Arrays by name from a file or folder of any format: HDF5, MATLAB 5, NetCDF classic, Zarr.

HDF5 includes NetCDF-4 and MATLAB 7.3. The format is found by the first bytes (of a Zarr folder, by
its metadata). Arrays are read on use; a MATLAB 5 file has no random access, so each of its arrays
is read as a whole once per process and held in single precision while the file is open.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import h5py

from ..fields.vocabulary import SPLITS
from .hdf5 import Hdf5File
from .matlab import MatFile
from .netcdf import NetcdfFile
from .npy import NpyFile, NpyFolder, NpzFile, is_folder
from .zarr import ZarrFolder

HDF5 = (".h5", ".hdf5")
SUFFIXES = (*HDF5, ".he5", ".hdf", ".nc", ".nc4", ".cdf", ".mat", ".zarr", ".npy", ".npz")


@runtime_checkable
class Container(Protocol):
    """A file that offers arrays by name."""

    path: Path

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the arrays."""
        ...

    def array(self, name: str) -> Any:
        """An array with `shape` and `dtype`; index it with integers and slices to read.

        What stands for other numbers is decoded, see `conventions`.
        """
        ...

    def require_unchanged(self) -> None:
        """Refuse a file that another program wrote since it was opened; call it before each read.

        Raises:
            ValueError: it has changed.
            OSError: it is gone.
        """
        ...

    def attributes(self, name: str = "") -> Mapping[str, Any]:
        """Attributes of an array or group, by default of the file; {} where the format has none.

        Raises:
            KeyError: there is no such array or group.
        """
        ...

    def stated(self, names: Sequence[str], key: str) -> list[Any]:
        """One attribute of several arrays; None of those without it."""
        ...

    def dimensions(self, name: str) -> tuple[str, ...]:
        """The file's names of an array's axes, "" for one without; () where it names none."""
        ...

    def close(self) -> None:
        """Give the file back; the next access opens it again."""
        ...


def kind(path: Path) -> str:
    """ "hdf5", "matlab", "netcdf" or "zarr" by contents; "" for anything else."""
    if path.is_dir():
        marks = (".zgroup", ".zarray", ".zmetadata", "zarr.json")
        if any((path / mark).is_file() for mark in marks):
            return "zarr"
        return "npy folder" if path.name not in SPLITS and is_folder(path) else ""
    if not path.is_file():  # a pipe would be waited for
        return ""
    with path.open("rb") as file:
        start = file.read(128)
    if h5py.is_hdf5(path):
        return "hdf5"
    if start[:3] == b"CDF" and start[3:4] in (b"\x01", b"\x02", b"\x05"):
        return "netcdf"
    if start[:6] == b"\x93NUMPY":
        return "npy"
    if start[:4] == b"PK\x03\x04" and path.suffix.lower() == ".npz":
        return "npz"
    versions = (b"\x00\x01IM", b"\x01\x00MI")  # little and big endian, format 5
    return "matlab" if start[124:128] in versions else ""


def open_container(path: Path) -> Container:
    """The arrays of a file or Zarr folder.

    Raises:
        ValueError: it has no known format, or is damaged.
    """
    classes = {"hdf5": Hdf5File, "matlab": MatFile, "netcdf": NetcdfFile, "zarr": ZarrFolder}
    classes |= {"npy": NpyFile, "npz": NpzFile, "npy folder": NpyFolder}
    found = kind(path)
    if not found:
        raise ValueError(f"{path} is neither HDF5, NetCDF, MATLAB, Zarr nor NumPy")
    return classes[found](path)


def listing(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the arrays of a file, a few groups deep (Zarr: one).

    Raises:
        ValueError: it has no known format, or is damaged.
    """
    container = open_container(path)
    shapes = container.shapes()
    container.close()
    return shapes


def data_files(folder: Path, suffixes: Collection[str] = SUFFIXES) -> list[Path]:
    """The data files of a folder by name, sorted; unfinished (hidden) ones are left out."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in suffixes
        and not path.name.startswith(".")
        and (path.is_file() or kind(path))
    ]
