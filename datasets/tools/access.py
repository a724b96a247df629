"""What a window costs to read: the layout of the file's chunks, measured at random windows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from ..files.hdf5 import open_readonly
from ..stores.store import Store

WINDOWS = 24  # read to measure; each from another place
SECONDS = 5.0  # at most


@dataclass(frozen=True)
class StoredArray:
    """How an HDF5 dataset lies in its file.

    Attributes:
        name: its path in the file.
        shape, dtype: of the array.
        chunks: shape of a chunk; None where it is contiguous.
        filters: compression and other filters, such as "lzf" or "gzip".
        stored: bytes in the file.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...] | None
    filters: str
    stored: int


@dataclass(frozen=True)
class Access:
    """The measured cost of random windows.

    Attributes:
        frames: frames of a window.
        window_bytes: its size in memory.
        amplification: bytes read from the file over the bytes that the window's share of the file
            has; 1 is ideal. None where the system does not count them.
        seconds: median time of a window.
        sequential: time of as many bytes when a trajectory is read from end to end.
    """

    frames: int
    window_bytes: int
    amplification: float | None
    seconds: float
    sequential: float


def stored_arrays(path: Path) -> list[StoredArray]:
    """The arrays of an HDF5 file that hold at least a 16th of its largest one; else nothing."""
    if not path.is_file() or not h5py.is_hdf5(path):
        return []
    with open_readonly(path) as file:
        found = [_describe(dataset) for dataset in _datasets(file)]
    largest = max((item.stored for item in found), default=0)
    return [item for item in found if item.stored * 16 >= largest and item.stored]


def data_paths(store: Store) -> list[Path]:
    """The files of a store, each once: one file may hold several splits."""
    return list(dict.fromkeys(source.path for source in store.sources))


def stored_bytes(path: Path) -> int:
    """Size of a file, or of all that a folder (Zarr) holds."""
    parts = path.rglob("*") if path.is_dir() else [path]
    return sum(part.stat().st_size for part in parts if part.is_file())


def measure(store: Store, history: int = 1, horizon: int = 1) -> Access:
    """Read random windows, each from a trajectory of its own where there are enough.

    Args:
        store: what to read.
        history, horizon: frames of a window; fewer where trajectories are shorter.

    Raises:
        ValueError: a file is damaged.
    """
    frames = min(history + horizon, *(source.header.n_frames for source in store.sources))
    generator = np.random.default_rng(0)
    chosen = generator.permutation(len(store))[:WINDOWS].tolist()
    window_bytes = store.read_raw(chosen[0], slice(0, frames)).nbytes
    took, read = [], []
    began = time.perf_counter()
    for i in chosen * (WINDOWS // len(chosen)):
        start = int(generator.integers(store.n_frames(i) - frames + 1))
        before, clock = _bytes_read(), time.perf_counter()
        store.read_raw(i, slice(start, start + frames))
        took.append(time.perf_counter() - clock)
        read.append(_bytes_read() - before)
        if time.perf_counter() - began > SECONDS:
            break
    share = frames * _stored_frame(store)
    # Mapped memory is not counted as read, and is read no more than needed.
    ratio = max(1.0, float(np.mean(read)) / share) if _bytes_read() else None
    return Access(frames, window_bytes, ratio, float(np.median(took)), _sequential(store, frames))


def _sequential(store: Store, frames: int) -> float:
    """Seconds for `frames` frames within a whole trajectory."""
    i = len(store) // 2
    count = max(1, min(store.n_frames(i), 2**26 // max(store.read_raw(i, slice(0, 1)).nbytes, 1)))
    clock = time.perf_counter()
    store.read_raw(i, slice(0, count))
    return (time.perf_counter() - clock) * frames / count


def _stored_frame(store: Store) -> float:
    """Bytes of a frame in the file, on average."""
    size = sum(map(stored_bytes, data_paths(store)))
    return size / sum(len(source) * source.header.n_frames for source in store.sources)


def _bytes_read() -> int:
    """Bytes that this process has read from files so far; 0 where the system does not say."""
    try:
        text = Path("/proc/self/io").read_text()
    except OSError:
        return 0
    return int(text.split("rchar:")[1].split()[0])


def _datasets(group: h5py.Group) -> Iterator[h5py.Dataset]:
    found: list[h5py.Dataset] = []
    group.visititems(lambda _, item: found.append(item) if _is_array(item) else None)
    yield from found


def _is_array(item: object) -> bool:
    return isinstance(item, h5py.Dataset) and item.dtype.kind in "fiub" and item.ndim > 0


def _describe(dataset: h5py.Dataset) -> StoredArray:
    filters = [dataset.compression or ""]
    filters += ["shuffle"] * bool(dataset.shuffle) + ["checksum"] * bool(dataset.fletcher32)
    return StoredArray(
        name=str(dataset.name),
        shape=dataset.shape,
        dtype=dataset.dtype.name,
        chunks=dataset.chunks,
        filters="+".join(filter(None, filters)),
        stored=dataset.id.get_storage_size(),
    )
