"""HDF5 files from anywhere: no link out of the file is followed, no more read than it can hold."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .conventions import CODING, decoded

h5a: Any = importlib.import_module("h5py.h5a")  # untyped
h5d: Any = importlib.import_module("h5py.h5d")
h5ds: Any = importlib.import_module("h5py.h5ds")
h5l: Any = importlib.import_module("h5py.h5l")

METADATA = 2**26  # bytes of coordinates, names or attributes that are read at once
CHUNK = 2**30  # bytes of a chunk, all of which a read unpacks
SMALL_CHUNK, SMALL_CHUNKS = 2**10, 2**16  # HDF5 takes over 1 KiB of memory for each one it reads
COMPRESSION = 1100  # no filter of HDF5 shrinks real data further than deflate, 1032 to 1
SLACK = 2**26  # bytes that a file may declare whatever its size
STORED = 2**14  # bytes that a stored chunk may have beyond its size, for checksums and headers
LINKS = 16  # soft links in a row


class Group:
    """A group of a file, whose members are reached by links inside the file only.

    Raises:
        ValueError: a member lies in another file or declares more than the file can hold.
        KeyError: there is no such member.
    """

    def __init__(self, group: h5py.Group, path: Path) -> None:
        self._group, self.path = group, path
        self._known: dict[str, Group | Dataset] = {}

    @property
    def attrs(self) -> Attributes:
        """The group's attributes."""
        return Attributes(self._group, self.path)

    def __iter__(self) -> Iterator[str]:
        return map(str, self._group)

    def __len__(self) -> int:
        return len(self._group)

    def __contains__(self, name: str) -> bool:
        try:
            self[name]
        except KeyError:
            return False
        return True

    def __getitem__(self, name: str) -> Any:
        if name not in self._known:
            item, path = member(self._group, name), self.path
            found = Group(item, path) if isinstance(item, h5py.Group) else Dataset(item, path)
            self._known[name] = found
        return self._known[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The member, or `default` if there is none."""
        try:
            return self[name]
        except KeyError:
            return default

    def items(self) -> Iterator[tuple[str, Any]]:
        """Names and members."""
        return ((name, self[name]) for name in self)

    def datasets(self) -> dict[str, Dataset]:
        """The datasets directly in the group."""
        return {name: item for name, item in self.items() if isinstance(item, Dataset)}


class Dataset:
    """A dataset of a file; `[()]` reads metadata, of bounded size."""

    def __init__(self, dataset: h5py.Dataset, path: Path) -> None:
        self._dataset, self.path = dataset, path
        self.shape: tuple[int, ...] = () if dataset.shape is None else tuple(dataset.shape)
        self.dtype = dataset.dtype

    @property
    def attrs(self) -> Attributes:
        """The dataset's attributes."""
        return Attributes(self._dataset, self.path)

    def __getitem__(self, key: Any) -> Any:
        _check_size(str(self._dataset.name), self.path, self.shape, self.dtype.itemsize)
        check_stored(self._dataset)
        return self._dataset[key]

    def dimensions(self) -> tuple[str, ...]:
        """Names of the dimension scales of the axes, or their labels; () where there are none."""
        dataset = self._dataset
        own = str(dataset.name).rsplit("/", 1)[-1]
        if h5ds.is_scale(dataset.id):
            return (own,) if len(self.shape) == 1 else ()
        names = []
        for axis in range(len(self.shape)):
            scales = dataset.dims[axis].values() if h5ds.get_num_scales(dataset.id, axis) else []
            named = [str(scale.name).rsplit("/", 1)[-1] for scale in scales]
            names.append(named[0] if named else str(dataset.dims[axis].label))
        return tuple(names) if any(names) else ()

    def numbers(self) -> np.ndarray:
        """Real numbers of bounded size, in double precision, decoded by their attributes.

        Raises:
            ValueError: the dataset holds anything else.
        """
        if self.dtype.kind not in "fiub":
            raise ValueError(
                f"{self.path}: {self._dataset.name} must hold real numbers; got {self.dtype}"
            )
        _check_size(str(self._dataset.name), self.path, self.shape, self.dtype.itemsize)
        stated = {key: self.attrs[key] for key in CODING if key in self.attrs}
        return np.asarray(decoded(str(self._dataset.name), self, stated)[()], dtype=np.float64)


class Attributes:
    """Attributes of a group or dataset, of bounded size."""

    def __init__(self, item: h5py.HLObject, path: Path) -> None:
        self._item, self._path = item, path

    def __iter__(self) -> Iterator[str]:
        return iter(self._item.attrs)

    def __contains__(self, name: str) -> bool:
        return name in self._item.attrs

    def __getitem__(self, name: str) -> Any:
        try:
            size = h5a.get_info(self._item.id, name.encode(errors="surrogateescape")).data_size
        except (KeyError, OSError, RuntimeError):
            raise KeyError(f"no attribute {name!r}") from None
        _check_size(name, self._path, (size,), 1)
        return self._item.attrs[name]

    def get(self, name: str, default: Any = None) -> Any:
        """The attribute, or `default` if there is none."""
        try:
            return self[name]
        except KeyError:
            return default


def member(group: h5py.Group, name: str, links: int = LINKS) -> h5py.Group | h5py.Dataset:
    """The group or dataset `name` below `group`, which must lie in the same file.

    Raises:
        ValueError: it lies outside, or declares more than the file can hold.
        KeyError: there is no such member.
    """
    here: Any = group.file if name.startswith("/") else group
    for part in name.strip("/").split("/"):
        if not isinstance(here, h5py.Group):
            raise KeyError(f"no group or dataset {name!r}")
        here = _step(here, part, links)
    if isinstance(here, h5py.Dataset):
        check_dataset(here)
    elif not isinstance(here, h5py.Group):
        raise KeyError(f"{name!r} is neither a group nor a dataset")
    return here


def _step(group: h5py.Group, name: str, links: int) -> Any:
    """The member that one link of a group leads to."""
    key = name.encode(errors="surrogateescape")
    if not group.id.links.exists(key):
        raise KeyError(f"no group or dataset {name!r}")
    kind = group.id.links.get_info(key).type
    if kind == h5l.TYPE_SOFT and links:
        return member(group, group.id.links.get_val(key).decode(), links - 1)
    if kind != h5l.TYPE_HARD:
        raise ValueError(
            f"{group.file.filename}: {name!r} is a link out of the file or in a circle, which is "
            f"not followed; copy what it points to into this file"
        )
    return group[name]


def check_dataset(dataset: h5py.Dataset) -> None:
    """Raise a ValueError if values lie in other files, or are more than this file can hold."""
    created = dataset.id.get_create_plist()
    if created.get_layout() == h5d.VIRTUAL or created.get_external_count():
        raise ValueError(
            f"{dataset.file.filename}: {dataset.name} keeps its values in other files, which are "
            f"not read; open those, or copy the values into this file"
        )
    item = dataset.dtype.itemsize
    shape: tuple[int, ...] = dataset.shape or (0,)
    _check_chunks(dataset, shape, item)
    declared = math.prod(shape) * item
    if declared <= SLACK:
        return
    path = Path(dataset.file.filename)
    size = path.stat().st_size
    if declared > COMPRESSION * size:
        raise ValueError(
            f"{path}: {dataset.name} declares {declared} bytes, which a file of {size} bytes "
            f"cannot hold; it is damaged or unfinished"
        )


def _check_chunks(dataset: h5py.Dataset, shape: tuple[int, ...], item: int) -> None:
    """Refuse chunks so large, or so small and many, that a read would take much memory."""
    chunks: tuple[int, ...] | None = dataset.chunks
    if not chunks:
        return
    size = math.prod(chunks) * item
    count = math.prod(-(-n // part) for n, part in zip(shape, chunks, strict=True))
    if size > CHUNK or (size < SMALL_CHUNK and count > SMALL_CHUNKS):
        raise ValueError(
            f"{dataset.file.filename}: {dataset.name} has {count} chunks of {size} bytes, which "
            f"are not read; rewrite it in chunks of about a MiB"
        )


def check_stored(dataset: h5py.Dataset) -> None:
    """Refuse compressed chunks that are stored as more than they declare to unpack to.

    HDF5 unpacks all that is stored, whatever a chunk's size should be: deflate makes a GiB of a
    MiB. What is stored of real data takes at most the size of its chunk and a few bytes.
    """
    chunks: tuple[int, ...] | None = dataset.chunks
    if not chunks or not dataset.id.get_create_plist().get_nfilters():
        return
    limit = math.prod(chunks) * dataset.dtype.itemsize + STORED
    stored = 0

    def largest(info: Any) -> None:
        nonlocal stored
        stored = max(stored, info.size)

    dataset.id.chunk_iter(largest)
    if stored > limit:
        raise ValueError(
            f"{dataset.file.filename}: {dataset.name} stores a chunk in {stored} bytes that should "
            f"unpack to {limit - STORED}; it is damaged"
        )


def one_line(text: str) -> str:
    """Text from a file for people to read: no line breaks, no codes that steer a terminal."""
    plain = "".join(letter if letter.isprintable() or letter.isspace() else "?" for letter in text)
    return " ".join(plain.split())


def _check_size(name: str, path: Path, shape: tuple[int, ...], item: int) -> None:
    if math.prod(shape) * item > METADATA:
        raise ValueError(
            f"{path}: {name} has shape {shape}, too large for coordinates or attributes; is it "
            f"damaged?"
        )


def check_declared(
    path: Path, name: str, shape: tuple[int, ...], item: int, stored: int | None = None
) -> None:
    """Raise a ValueError if an array declares more than the file can hold."""
    size = path.stat().st_size if stored is None else stored
    if math.prod(shape) * item > max(SLACK, COMPRESSION * size):
        raise ValueError(
            f"{path}: {name!r} declares shape {shape}, which {size} bytes cannot hold; is it "
            f"damaged?"
        )
