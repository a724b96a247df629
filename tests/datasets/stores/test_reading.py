"""What reading costs: copies, chunk caches, open files, and what is not read at all."""

from __future__ import annotations

import os
import resource
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.files import hdf5
from pelagos.datasets.files.hdf5 import Hdf5File
from pelagos.datasets.layouts.well import WellData, write_file


def write(path: Path, n: int = 2, frames: int = 5, shape: tuple[int, ...] = (8, 6)) -> None:
    values = np.random.default_rng(0).random((n, frames, *shape), dtype="f4")
    grid = Grid(shape, (1.0,) * len(shape), ("periodic",) * len(shape))
    write_file(path, WellData("made", grid, 0.1 * np.arange(frames), {"u": values}))


def chunked(path: Path, **arrays: tuple[tuple[int, ...], tuple[int, ...]]) -> Hdf5File:
    """A file of compressed arrays: name -> (shape, chunks)."""
    with h5py.File(path, "w") as file:
        for name, (shape, chunks) in arrays.items():
            values = np.arange(np.prod(shape), dtype="f4").reshape(shape)
            file.create_dataset(name, data=values, chunks=chunks, compression="lzf")
    return Hdf5File(path)


def cache_of(file: Hdf5File, name: str) -> int:
    return file.array(name).id.get_access_plist().get_chunk_cache()[1]


def test_a_cache_holds_what_neighbouring_frames_share(tmp_path: Path) -> None:
    file = chunked(
        tmp_path / "a.h5",
        small=((4, 10), (1, 10)),
        row=((8, 1024, 1024), (1, 256, 256)),  # 16 chunks of 256 KiB hold a frame
        large=((4, 1200, 1024), (4, 1200, 1024)),  # one chunk, beyond HDF5's own cache
    )
    assert cache_of(file, "small") == 2**20
    assert cache_of(file, "row") == 4 * 2**20
    assert cache_of(file, "large") == 4 * 1200 * 1024 * 4


def test_chunked_datasets_are_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{k:04d}" for k in range(12)]
    path = tmp_path / "groups.h5"
    file = chunked(path, **{name: ((4, 10), (1, 10)) for name in names})
    monkeypatch.setattr(hdf5, "CACHE", 3 * 2**20)
    for _ in range(2):
        for name in names:
            np.testing.assert_array_equal(file.array(name)[3], np.arange(30, 40))
            held = h5py.h5f.get_obj_count(file._file.id, h5py.h5f.OBJ_DATASET)
            assert held <= 3
    first = file.array(names[0])
    file.array(names[1])
    assert file.array(names[0]) is first  # the one used last stays


def test_opening_reads_no_values(tmp_path: Path) -> None:
    """A file of 50 GB (sparse) opens as quickly, and in as little memory, as a small one."""
    path = tmp_path / "huge.hdf5"
    write(path, n=1, frames=2)
    n, frames = 2**17, 2**11
    with h5py.File(path, "r+") as file:
        file.attrs["n_trajectories"] = n
        flags = dict(file["t0_fields/u"].attrs)
        del file["t0_fields/u"], file["dimensions/time"]
        time = file.create_dataset("dimensions/time", data=0.1 * np.arange(frames))
        time.attrs.update(sample_varying=False, time_varying=True)
        space = h5py.h5s.create_simple((n, frames, 8, 6))
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        h5py.h5d.create(file["t0_fields"].id, b"u", h5py.h5t.IEEE_F32LE, space, plan)
        file["t0_fields/u"].attrs.update(flags)
    assert path.stat().st_size > 2**35
    used = path.stat().st_blocks
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    store = open_store(path)
    assert len(store) == n
    assert store.window(n - 1, frames - 2).target.shape == (1, 1, 8, 6)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**16  # KiB
    assert path.stat().st_blocks == used


def test_frames_are_checked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.hdf5", n=2, frames=5)
    store = open_store(tmp_path / "a.hdf5")
    store.read(1, 1, 4)
    path = tmp_path / "a.hdf5"
    with h5py.File(path) as file:
        offset = file["t0_fields/u"].id.get_offset()
    written = path.stat()
    with path.open("r+b") as file:
        for frame in (5 + 2, 5 + 4, 2):  # of trajectory 1, 1 and 0
            file.seek(offset + frame * 48 * 4)
            file.write(np.float32("nan").tobytes())
    os.utime(path, ns=(written.st_atime_ns, written.st_mtime_ns))  # else it is refused
    assert store.read(1, 1, 4).isnan().any()  # these frames were seen to be finite
    for i, start, stop in ((1, 0, 5), (1, 4, 5), (0, 0, 3)):
        with pytest.raises(ValueError, match="NaN or infinite"):
            store.read(i, start, stop)
        with pytest.raises(ValueError, match="NaN or infinite"):
            store.read(i, start, stop)  # again
    assert open_store(path).read(0, 0, 2).isfinite().all()


def test_memory_and_open_files_stay_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pelagos.datasets.stores.files.MAX_OPEN", 4)
    for k in range(12):
        write(tmp_path / "made" / f"{k:02d}.hdf5")
    store = open_store(tmp_path / "made")
    counts = []
    for turn in range(20):
        for i in range(len(store)):
            store.window(i, turn % 3)
        counts.append(len(list(Path(f"/proc/{os.getpid()}/fd").iterdir())))
    assert max(counts) - min(counts) == 0
    assert len(store._files.opened) == 4


def test_a_file_is_mapped_again_without_hdf5(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as new:
        new["u"] = np.arange(1000.0)
    file = Hdf5File(path)
    first = file.array("u").copy()
    file.close()
    monkeypatch.setattr(hdf5, "open_readonly", lambda path: pytest.fail(f"{path} is opened"))
    np.testing.assert_array_equal(file.array("u"), first)
    monkeypatch.undo()
    file.close()
    with h5py.File(path, "w") as new:  # elsewhere in a file that has changed
        new["more"], new["u"] = np.zeros(50), np.arange(5, dtype="i2")
    np.testing.assert_array_equal(file.array("u"), np.arange(5, dtype="i2"))


def test_memory_does_not_grow_with_what_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pelagos.datasets.stores.files.MAX_OPEN", 4)
    for k in range(8):
        write(tmp_path / "made" / f"{k:02d}.hdf5")
    store = open_store(tmp_path / "made")
    rng = np.random.default_rng(0)
    held = []
    tracemalloc.start()
    for _ in range(4):
        for i in rng.integers(len(store), size=200).tolist():
            store.window(i, 1)
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[-1] - held[0] < 2**16


def test_only_the_frames_of_a_stride_are_touched(tmp_path: Path) -> None:
    write(tmp_path / "a.hdf5", n=1, frames=9)
    store = open_store(tmp_path / "a.hdf5")
    window = store.window(0, 1, 2, 2, stride=2)
    whole = store.trajectory(0)
    assert window.history.equal(whole[[1, 3]])
    assert window.target.equal(whole[[5, 7]])


@pytest.mark.parametrize("chunks", [(2, 3, 4, 1), (2, 3, 4, 2)])
def test_channels_are_read_in_any_chunks(tmp_path: Path, chunks: tuple[int, ...]) -> None:
    """Apart where they lie in chunks of their own, else together."""
    chunked(tmp_path / "a.h5", s=((7, 6, 8, 3), chunks)).close()
    (tmp_path / "description.yaml").write_text(
        "axes: [time, y, x, channel]\nfields: {w: 's[2]', u: 's[0]'}\n"
        "time: {start: 0, step: 0.5}\nboundary: periodic\n"
    )
    stored = np.arange(7 * 6 * 8 * 3, dtype="f4").reshape(7, 6, 8, 3)
    expected = stored[1:6:2].transpose(0, 3, 2, 1)[:, [2, 0]]
    np.testing.assert_array_equal(open_store(tmp_path / "a.h5").read(0, 1, 6, 2), expected)


def test_more_than_memory_holds_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.hdf5", n=1, frames=5)
    store = open_store(tmp_path / "a.hdf5")
    monkeypatch.setattr("pelagos.datasets.layouts.failures.LARGE", 8 * 6 * 4 * 3)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=500))
    assert len(store.read(0, 0, 2)) == 2
    with pytest.raises(ValueError, match=r"a.hdf5: what is read at once of trajectory 0 takes"):
        store.read(0, 0, 4)
