"""HDF5 files from anywhere: no link out of the file is followed, no more read than it can hold."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .conventions import CODING, decoded

h5a: Any = importlib.import_module("h5py.h5a")  # untyped
h5d: Any = importlib.import_module("h5py.h5d")
h5g: Any = importlib.import_module("h5py.h5g")
h5ds: Any = importlib.import_module("h5py.h5ds")
h5i: Any = importlib.import_module("h5py.h5i")
h5l: Any = importlib.import_module("h5py.h5l")
h5o: Any = importlib.import_module("h5py.h5o")

METADATA = 2**26  # bytes of coordinates, names or attributes that are read at once
CHUNK = 2**30  # bytes of a chunk, all of which a read unpacks
SMALL_CHUNK, SMALL_CHUNKS = 2**10, 2**16  # HDF5 takes over 1 KiB of memory for each one it reads
COMPRESSION = 1100  # no filter of HDF5 shrinks real data further than deflate, 1032 to 1
SLACK = 2**26  # bytes that a file may declare whatever its size
STORED = 2**14  # bytes that a stored chunk may have beyond its size, for checksums and headers
LINKS = 16  # soft links in a row


class Outside(ValueError):
    """What a file names lies in another file, or nowhere."""


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
            self._known[name] = self.open(name)
        return self._known[name]

    def open(self, name: str) -> Group | Dataset:
        """As by its name in brackets, but not kept open for the next time."""
        return self._wrapped(_member(self._group.id, name, LINKS))

    def stated(self, name: str, key: str) -> Any:
        """The attribute `key` of a member; None if it has none.

        Raises:
            KeyError: there is no such member.
        """
        path = _hard(self._group.id, name)
        if path is not None and not h5a.exists(
            self._group.id, key.encode(errors="surrogateescape"), obj_name=path
        ):
            return None  # without opening it
        return self.open(name).attrs.get(key)

    def open_all(self) -> Iterator[tuple[str, Group | Dataset]]:
        """Names and members, opened one after the other; those outside the file are left out.

        Links are looked at all at once, which takes a third of the time.
        """
        for key, kind in _links(self._group.id):
            name = key.decode(errors="surrogateescape")
            try:
                if kind == h5l.TYPE_HARD:
                    yield name, self._wrapped(h5o.open(self._group.id, key))
                else:
                    yield name, self.open(name)
            except (KeyError, Outside):  # refused by name, where it is asked for
                continue

    def _wrapped(self, found: Any) -> Group | Dataset:
        if isinstance(found, h5d.DatasetID):
            check_dataset(found)
            return Dataset(found, self.path)
        if isinstance(found, h5g.GroupID):
            return Group(h5py.Group(found), self.path)
        raise KeyError("it is neither a group nor a dataset")

    def get(self, name: str, default: Any = None) -> Any:
        """The member, or `default` if there is none."""
        try:
            return self[name]
        except KeyError:
            return default

    def items(self) -> Iterator[tuple[str, Any]]:
        """Names and members; those that lie outside the file are left out."""
        for name in self:
            try:
                item = self[name]
            except Outside:
                continue
            yield name, item

    def datasets(self) -> dict[str, Dataset]:
        """The datasets directly in the group."""
        return {name: item for name, item in self.items() if isinstance(item, Dataset)}


class Dataset:
    """A dataset of a file; `[()]` reads metadata, of bounded size."""

    def __init__(self, dataset: Any, path: Path) -> None:
        self._id, self.path = dataset, path
        self.shape: tuple[int, ...] = dataset.shape or ()

    @cached_property
    def dtype(self) -> np.dtype:
        """The type of its values."""
        return self._id.dtype

    @cached_property
    def _dataset(self) -> h5py.Dataset:
        return h5py.Dataset(self._id, readonly=True)

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

    def __len__(self) -> int:
        return h5a.get_num_attrs(self._item.id)

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


def dataset_at(group: h5py.Group, name: str) -> Any:
    """The identifier of the dataset `name` below `group`, which must lie in the same file.

    Raises:
        ValueError: it lies outside, or declares more than the file can hold.
        KeyError: there is no such dataset.
    """
    found = _member(group.id, name, LINKS)
    if not isinstance(found, h5d.DatasetID):
        raise KeyError(f"{name} is not a dataset")
    check_dataset(found)
    return found


def _hard(group: Any, name: str) -> bytes | None:
    """The key of a path all of whose links are hard, which stay inside the file; else None."""
    if name.startswith("/"):
        return None
    key, known, end = name.encode(errors="surrogateescape"), group.links, 0
    try:
        while end >= 0:
            end = key.find(b"/", end + 1)
            if known.get_info(key if end < 0 else key[:end]).type != h5l.TYPE_HARD:
                return None
    except (KeyError, RuntimeError, ValueError):  # none, or below what is no group
        return None
    return key


def _member(group: Any, name: str, links: int) -> Any:
    """The identifier of what lies at `name`, over at most so many soft links in a row."""
    key = _hard(group, name)
    if key is not None:
        return h5o.open(group, key)
    here = h5g.open(group, b"/") if name.startswith("/") else group
    for part in name.strip("/").split("/"):
        if not isinstance(here, h5g.GroupID):
            raise KeyError(f"no group or dataset {name!r}")
        here = _step(here, part, links)
    return here


def _step(group: Any, name: str, links: int) -> Any:
    """The member that one link of a group leads to."""
    key, known = name.encode(errors="surrogateescape"), group.links
    if not known.exists(key):
        raise KeyError(f"no group or dataset {name!r}")
    kind = known.get_info(key).type
    if kind == h5l.TYPE_SOFT and links:
        return _member(group, known.get_val(key).decode(), links - 1)
    if kind != h5l.TYPE_HARD:
        raise Outside(
            f"{_file_of(group)}: {name!r} is a link out of the file or in a circle, which is "
            f"not followed; copy what it points to into this file"
        )
    return h5o.open(group, key)


def _links(group: Any) -> list[tuple[bytes, int]]:
    """Names and kinds of a group's links, in the order in which h5py has them."""
    found: list[tuple[bytes, int, int]] = []

    def note(key: bytes, link: Any) -> None:
        found.append((key, link.type, link.corder if link.corder_valid else 0))

    group.links.iterate(note, info=True)
    return [(key, kind) for key, kind, _ in sorted(found, key=lambda each: each[2])]


def _file_of(item: Any) -> str:
    """The path of the file of an identifier, for messages."""
    return h5py.h5f.get_name(item).decode(errors="surrogateescape")


def _name_of(item: Any) -> str:
    """Where an identifier's object lies in its file, for messages."""
    return h5i.get_name(item).decode(errors="surrogateescape")


def check_dataset(dataset: Any) -> None:
    """Refuse a dataset (its identifier) whose values are elsewhere, or more than this file holds.

    Raises:
        ValueError: its values lie in other files, or are more than this file can hold.
    """
    shape: tuple[int, ...] = dataset.shape or (0,)
    item: int = dataset.get_type().get_size()
    if dataset.get_offset() is None:  # else its values lie in a row, in this file
        created = dataset.get_create_plist()
        layout = created.get_layout()
        if layout == h5d.VIRTUAL or created.get_external_count():
            raise Outside(
                f"{_file_of(dataset)}: {_name_of(dataset)} keeps its values in other files, which "
                f"are not read; open those, or copy the values into this file"
            )
        if layout == h5d.CHUNKED:
            _check_chunks(dataset, shape, created.get_chunk())
    declared = math.prod(shape) * item
    if declared <= SLACK:
        return
    path = Path(_file_of(dataset))
    size = path.stat().st_size
    if declared > COMPRESSION * size:
        raise ValueError(
            f"{path}: {_name_of(dataset)} declares {declared} bytes, which a file of {size} bytes "
            f"cannot hold; it is damaged or unfinished"
        )


def _check_chunks(dataset: Any, shape: tuple[int, ...], chunks: tuple[int, ...]) -> None:
    """Refuse chunks so large, or so small and many, that a read would take much memory."""
    size = math.prod(chunks) * dataset.dtype.itemsize
    count = math.prod(-(-n // part) for n, part in zip(shape, chunks, strict=True))
    if size > CHUNK or (size < SMALL_CHUNK and count > SMALL_CHUNKS):
        raise ValueError(
            f"{_file_of(dataset)}: {_name_of(dataset)} has {count} chunks of {size} bytes, which "
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
