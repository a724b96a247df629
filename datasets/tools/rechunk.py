"""HDF5 files rewritten for the access of training: the same layout, other chunks.

Groups, attributes, links, dimension scales and small arrays stay as they are. The large numeric
arrays become contiguous (mapped into memory when read) or, compressed, get chunks of whole frames.

A folder is rewritten file by file under a record that is written first, `rechunking.yaml`; an
interrupted run continues to the same files. Checksums, written last, mark it complete.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from ..base.appearing import appearing_file, is_draft
from ..base.made import require_same, write_record
from ..base.manifest import MANIFEST, write_manifest
from ..base.progress import Bar
from ..fields.vocabulary import SPLITS
from ..files.containers import data_files
from ..files.disk import written
from ..files.guard import one_line
from ..files.hdf5 import Node, open_readonly
from ..layouts.index import state_of
from ..layouts.well import PAGE
from ..stores.opening import open_store
from ..stores.store import Store

LARGE = 2**16  # bytes of an array from which on its chunks matter
CHUNK = 2**18  # bytes of a chunk that holds several frames, at least
BLOCK = 2**24  # bytes to hold at once, or a row of the source's chunks if that is more
RECORD = "rechunking.yaml"
_SCALES = ("DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME")

Compression = Literal["none", "lzf", "gzip"]


@dataclass(frozen=True)
class _Target:
    """How large arrays are stored."""

    compression: Compression
    lead: frozenset[int]  # sizes of axes of which a window takes a part: trajectories, times
    grid: tuple[int, ...]


def rechunk(
    source: str | Path,
    out: Path,
    *,
    compression: Compression = "none",
    progress: bool = False,
) -> Path:
    """Rewrite an HDF5 file, or every data file of a dataset's folder, to `out`.

    Args:
        source: a dataset or one of its files, in any layout that HDF5 stores.
        out: the new file or folder; finished files in it are left as they are, where they were made
            from this source and with this compression.
        compression: "none" for contiguous arrays, or of chunks of whole frames.
        progress: show a progress bar on stderr.

    Returns:
        `out`.

    Raises:
        ValueError: the source is not HDF5, is damaged or no dataset, or `out` exists or was made
            otherwise.
    """
    source = Path(source)
    store = open_store(source)
    pairs = list(_pairs(source, out, store))
    for file, _ in pairs:
        if not h5py.is_hdf5(file):
            raise ValueError(f"{file} is not HDF5; use pelagos data convert")
    if source.is_file() and out.exists():
        raise ValueError(f"{out} exists already; choose another name or delete it")
    if source.is_dir():
        _prepare(out, source, store, compression)
    target = _Target(compression, _lead_sizes(store), store.grid.shape)
    missing = [(file, path) for file, path in pairs if not path.exists()]
    total = sum(_large_bytes(file) for file, _ in missing)
    with Bar(f"rewriting {store.name}", total >> 20, unit="MiB", active=progress) as bar:
        for file, path in missing:
            _rewrite(file, path, target, bar)
    if source.is_dir() and not (out / MANIFEST).exists():
        _copy_rest(source, out)
        write_manifest(out)
    return out


def _prepare(out: Path, source: Path, store: Store, compression: Compression) -> None:
    """Leave a folder with a record of how it is made.

    Raises:
        ValueError: it was made from something else, or otherwise.
    """
    path = out / RECORD
    record = {
        "source": str(source.absolute()),
        "state": state_of(item.path for item in store.sources),
        "compression": compression,
    }
    if path.exists():
        require_same(path, record, "rewritten", "choose another folder, or delete this one")
    elif out.exists() and not all(is_draft(found, path) for found in out.iterdir()):
        raise ValueError(
            f"{out} exists, and no {RECORD} says how it was made; choose another folder"
        )
    else:
        write_record(path, record)


def _pairs(source: Path, out: Path, store: Store) -> Iterator[tuple[Path, Path]]:
    """Old and new path of every file.

    Raises:
        ValueError: `out` is the source, lies in it, or is a folder of other things.
    """
    if source.is_file():
        yield source, out
        return
    if out.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"{out} lies in {source}; choose a folder outside of it")
    files = [item.path for item in store.sources]
    known = {out / file.relative_to(source.absolute()) for file in files}
    found = set(data_files(out)) if out.is_dir() else set()
    for split in SPLITS:
        for folder in (out / split, out / "data" / split):
            found |= set(data_files(folder)) if folder.is_dir() else set()
    if found - known:
        raise ValueError(f"{out} holds another dataset; choose another folder")
    for file in dict.fromkeys(files):
        yield file, out / file.relative_to(source.absolute())


def _copy_rest(source: Path, out: Path) -> None:
    """The small text files beside the data, such as stats.yaml."""
    for path in sorted(source.iterdir()):
        if path.suffix in (".yaml", ".yml", ".json", ".md", ".txt") and path.is_file():
            with appearing_file(out / path.name, overwrite=True) as draft:
                shutil.copyfile(path, draft)


def _lead_sizes(store: Store) -> frozenset[int]:
    """Sizes of the axes of trajectories and times (files may hold one time more than frames)."""
    sizes = {len(source) for source in store.sources}
    sizes |= {source.header.n_frames + extra for source in store.sources for extra in (0, 1)}
    return frozenset(sizes)


def _large_bytes(file: Path) -> int:
    with open_readonly(file) as opened:
        return sum(item.nbytes for item in _arrays(opened) if _is_large(item))


def _rewrite(source: Path, path: Path, target: _Target, bar: Bar) -> None:
    """Write one file; it appears under its name when it is complete and on disk."""
    with _reading(source), appearing_file(path, overwrite=True) as draft:
        with open_readonly(source) as old, written(draft) as disk:
            plan, root = old.id.get_create_plist(), old["/"].id.get_create_plist()
            plan.set_link_creation_order(root.get_link_creation_order())
            plan.set_attr_creation_order(root.get_attr_creation_order())
            plan.set_obj_track_times(False)  # the same bytes whenever it is written
            access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
            align = old.userblock_size or PAGE  # HDF5 wants no more than a user block
            access.set_alignment(align, align)
            access.set_fileobj_driver(h5py.h5fd.fileobj_driver, disk)
            truncate = h5py.h5f.ACC_TRUNC
            identifier = h5py.h5f.create(b"new", truncate, fcpl=plan, fapl=access)
            with h5py.File(identifier) as new:
                _Copy(target, bar).group(old, new)
                _attach_scales(old, new)
        _copy_user_block(source, draft)


@contextmanager
def _reading(source: Path) -> Iterator[None]:
    """Name the file that cannot be read."""
    try:
        yield
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(f"{source} cannot be rewritten ({one_line(str(error))})") from None


def _copy_user_block(source: Path, partial: Path) -> None:
    """The bytes ahead of HDF5's own, such as MATLAB's header."""
    with open_readonly(source) as file:
        size = file.userblock_size
    with source.open("rb") as old, partial.open("r+b") as new:
        new.write(old.read(size))


class _Copy:
    """Copies groups; an object under a second name becomes a hard link again."""

    def __init__(self, target: _Target, bar: Bar) -> None:
        self.target, self.bar = target, bar
        self.seen: dict[Any, str] = {}

    def group(self, old: Node, new: Node) -> None:
        """Everything in a group."""
        _copy_attributes(old, new)
        for name in old:
            link = old.get(name, getlink=True)
            if isinstance(link, h5py.SoftLink | h5py.ExternalLink):
                new[name] = link
                continue
            item = old[name]
            known = self.seen.setdefault(_address(item), item.name)
            if known != item.name:
                new[name] = new.file[known]
            elif isinstance(item, h5py.Group):
                plan = item.id.get_create_plist()
                plan.set_obj_track_times(False)
                made = h5py.h5g.create(new.id, name.encode(), gcpl=plan)
                self.group(item, h5py.Group(made))
            elif _is_large(item):
                self.array(item, new, name)
            else:
                _refuse_references(item)
                old.copy(item, new, name=name)
                _drop_scales(new[name])

    def array(self, old: Node, new: Node, name: str) -> None:
        """A large array, in its new chunks."""
        chunked = self.target.compression != "none"
        plan = old.id.get_create_plist()
        filled = plan.fill_value_defined() == h5py.h5d.FILL_VALUE_USER_DEFINED
        made = new.create_dataset(
            name,
            shape=old.shape,
            dtype=old.dtype,
            chunks=frame_chunks(old.shape, old.dtype, self.target) if chunked else None,
            compression=self.target.compression if chunked else None,
            shuffle=chunked,
            maxshape=old.maxshape if chunked else None,
            fillvalue=old.fillvalue if filled else None,
            track_order=plan.get_attr_creation_order() > 0,
        )
        _copy_attributes(old, made)
        for part in _parts(old):
            made[part] = values = old[part]
            self.bar.advance(values.nbytes / 2**20)


def _address(item: Node) -> Any:
    """Where an object lies: the same for all its names."""
    return h5py.h5o.get_info(item.id).addr  # pyright: ignore[reportAttributeAccessIssue]


def _is_large(item: Node) -> bool:
    numeric = isinstance(item, h5py.Dataset) and item.dtype.kind in "fiub"
    return numeric and item.ndim > 0 and item.nbytes >= LARGE and not item.is_virtual


def frame_chunks(shape: Sequence[int], dtype: np.dtype, target: _Target) -> tuple[int, ...]:
    """Chunks of whole frames: 1 along trajectories, a few frames of a small grid, all space.

    Axes of trajectories and times have their sizes and lie ahead of the run of axes that has the
    grid's shape; behind it where nothing lies ahead (MATLAB stores all axes reversed).
    """
    space = _space_axes(shape, target.grid)
    ahead = range(space.start) if space.start else range(space.stop, len(shape))
    chunks = [
        1 if axis in ahead and size in target.lead else size for axis, size in enumerate(shape)
    ]
    parts = [axis for axis, size in enumerate(shape) if chunks[axis] == 1 < size]
    if parts:
        # Frames follow each other along the time axis, the one nearest to space.
        axis = min(parts, key=lambda a: min((abs(a - s) for s in space), default=-a))
        size = math.prod(chunks) * dtype.itemsize
        chunks[axis] = max(1, min(shape[axis], CHUNK // max(size, 1)))
    return tuple(chunks)


def _space_axes(shape: Sequence[int], grid: Sequence[int]) -> range:
    """The last run of axes that has the grid's shape."""
    n = len(grid)
    for first in range(len(shape) - n, -1, -1):
        if tuple(shape[first : first + n]) in (tuple(grid), tuple(reversed(grid))):
            return range(first, first + n)
    return range(0)


def _parts(dataset: h5py.Dataset) -> Iterator[tuple[slice, ...]]:
    """Slices along the first axes that hold about `BLOCK` bytes, aligned to the chunks."""
    chunk = dataset.chunks or (1,) * dataset.ndim
    axis, size = 0, dataset.nbytes
    while axis < dataset.ndim - 1 and size // dataset.shape[axis] * chunk[axis] > BLOCK:
        size //= -(-dataset.shape[axis] // chunk[axis])
        axis += 1
    steps = [*chunk[: axis + 1]]
    row = size // dataset.shape[axis]
    steps[axis] = max(1, BLOCK // max(row * chunk[axis], 1)) * chunk[axis]
    ranges = [range(0, n, step) for n, step in zip(dataset.shape, steps, strict=False)]
    for corner in np.ndindex(*(len(each) for each in ranges)):
        starts = [each[k] for each, k in zip(ranges, corner, strict=True)]
        yield tuple(slice(start, start + step) for start, step in zip(starts, steps, strict=True))


def _copy_attributes(old: Node, new: Node) -> None:
    """All attributes with their types, but those that dimension scales are made of."""
    for name in old.attrs:
        if name in _SCALES and isinstance(old, h5py.Dataset):
            continue
        stored = h5py.h5a.open(old.id, name.encode())
        made = h5py.h5a.create(new.id, name.encode(), stored.get_type(), stored.get_space())
        if stored.get_space().get_simple_extent_type() == h5py.h5s.NULL:
            continue
        values = np.empty(stored.shape, dtype=stored.dtype)
        stored.read(values)
        made.write(values)


def _refuse_references(item: Node) -> None:
    if isinstance(item, h5py.Dataset) and h5py.check_ref_dtype(item.dtype):
        raise ValueError(
            f"{item.file.filename}: {item.name} refers to other objects of the file, which cannot "
            f"be kept; use pelagos data convert"
        )


def _drop_scales(new: Node) -> None:
    """A copied array refers to the old file's scales: these are attached anew."""
    for name in ("DIMENSION_LIST", "REFERENCE_LIST"):
        if name in new.attrs:
            del new.attrs[name]


def _arrays(file: Node) -> list[Any]:
    found: list[Any] = []
    file.visititems(lambda _, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
    return found


def _attach_scales(old: Node, new: Node) -> None:
    """Dimension scales (of NetCDF files) and what refers to them."""
    arrays = _arrays(old)
    for item in arrays:
        made = new[item.name]
        if h5py.h5ds.is_scale(item.id) and not h5py.h5ds.is_scale(made.id):
            h5py.h5ds.set_scale(made.id, h5py.h5ds.get_scale_name(item.id))
    for item in arrays:
        if "DIMENSION_LIST" in item.attrs:
            for axis, dimension in enumerate(item.dims):
                for scale in dimension.values():
                    new[item.name].dims[axis].attach_scale(new[scale.name])
