"""The index of a large store: same values, no file read, and never a stale entry."""

from __future__ import annotations

import json
import multiprocessing
import os
from multiprocessing.reduction import ForkingPickler  # what workers use
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.layouts import index
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.datasets.layouts.well_reader import WellFile
from pelagos.datasets.stores.store import Store

FILES = 5


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stores of few files have an index too, in a folder of the test."""
    monkeypatch.setattr("pelagos.datasets.layouts.sources.SMALLEST", 2)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pelagos" / "index"


def write(path: Path, seed: int, n: int = 2, own_times: bool = False) -> None:
    rng = np.random.default_rng(seed)
    times = 0.5 * np.arange(4) * (1 + 0.1 * seed * own_times)
    data = WellData(
        dataset="many",
        grid=Grid((6,), (2.0,), ("periodic",)),
        times=times,
        fields={"u": rng.random((n, 4, 6)).astype("f4")},
        constant_fields={"depth": rng.random((n, 6)).astype("f4")},
        parameters={"nu": rng.random(n)},
        units={"u": "m/s"},
        provenance={"seed": seed},
    )
    write_file(path, data)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for k in range(FILES):
        split = "valid" if k == FILES - 1 else "train"
        write(tmp_path / "many" / "data" / split / f"{k}.hdf5", k)
    return tmp_path / "many"


def same(one: Store, two: Store) -> None:
    for name in ("name", "fields", "constant_fields", "parameter_names", "units", "grid", "dt"):
        assert getattr(one, name) == getattr(two, name)
    assert one.splits == two.splits
    assert one.provenance == two.provenance
    np.testing.assert_array_equal(one.parameter_table(), two.parameter_table())
    for i in range(len(one)):
        assert one.trajectory(i).equal(two.trajectory(i))
        np.testing.assert_array_equal(one.trajectory_times(i), two.trajectory_times(i))
        np.testing.assert_array_equal(one.constants_raw(i), two.constants_raw(i))


def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose description is read from now on."""
    read: list[Path] = []
    original = WellFile.__init__

    def init(self: WellFile, path: Path) -> None:
        read.append(path)
        original(self, path)

    monkeypatch.setattr(WellFile, "__init__", init)
    return read


def test_an_indexed_store_is_the_same_and_opens_no_file(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_store(root)
    read = opened(monkeypatch)
    second = open_store(root)
    assert set(read) <= {second.sources[0].path}  # whose provenance is the store's
    same(first, second)
    same(first, ForkingPickler.loads(ForkingPickler.dumps(second)))


def test_trajectories_with_their_own_times(tmp_path: Path) -> None:
    for k in range(3):
        write(tmp_path / "own" / f"{k}.hdf5", k, own_times=True)
    same(open_store(tmp_path / "own"), open_store(tmp_path / "own"))


def test_parts_share_what_they_may(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_store(root)
    read = opened(monkeypatch)
    assert len(open_store(root, "valid")) == 2
    assert len(open_store(root / "data" / "train")) == 2 * (FILES - 1)  # another path
    assert set(read) >= set((root / "data" / "train").iterdir())


@pytest.mark.parametrize("change", ["size", "time"])
def test_a_changed_file_is_read_again(
    root: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    open_store(root)
    path = root / "data" / "train" / "2.hdf5"
    before = path.stat()
    path.unlink()
    n = 100 if change == "size" else 2  # arrays start on pages: a few more fit the same size
    write(path, 99, n)
    if change == "size":
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    read = opened(monkeypatch)
    store = open_store(root)
    assert path in read
    assert len(store) == 2 * (FILES - 1) + n
    expected = np.random.default_rng(99).random((n, 4, 6)).astype("f4")
    np.testing.assert_array_equal(store.trajectory(4)[:, 0], expected[0])
    read.clear()
    open_store(root)
    assert path not in read  # the index knows it by now


def test_files_that_come_and_go(root: Path) -> None:
    open_store(root)
    (root / "data" / "train" / "1.hdf5").unlink()
    write(root / "data" / "train" / "7.hdf5", 7)
    store = open_store(root)
    assert [source.path.stem for source in store.sources] == ["0", "2", "3", "7", "4"]


def test_a_file_that_changes_after_opening_is_refused(root: Path) -> None:
    open_store(root)
    store = open_store(root)
    path = root / "data" / "train" / "3.hdf5"
    path.unlink()
    write(path, 3, n=1)
    with pytest.raises(ValueError, match=r"3\.hdf5 has changed since the store was opened"):
        store.trajectory(6)


def test_another_version_of_the_code_reads_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(root)
    monkeypatch.setattr(index, "code_of_readers", lambda: "other")
    read = opened(monkeypatch)
    open_store(root)
    assert len(read) == FILES


@pytest.mark.parametrize("content", ["", "{", "[]", '{"valid_for": 3}'])
def test_a_damaged_index_is_made_again(root: Path, cache: Path, content: str) -> None:
    expected = open_store(root)
    (path,) = cache.iterdir()
    path.write_text(content)
    same(expected, open_store(root))
    assert json.loads(path.read_text())["files"]


def test_without_a_cache_folder_all_works(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = open_store(root)
    (root.parent / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(root.parent / "file"))
    same(expected, open_store(root))
    assert not any(path.name.startswith(".") for path in root.rglob("*"))


def _open(root: Path, queue: Any) -> None:
    queue.put(len(open_store(root)))


def test_processes_that_open_at_once(root: Path, cache: Path) -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=_open, args=(root, queue)) for _ in range(6)]
    for worker in workers:
        worker.start()
    assert [queue.get(timeout=240) for _ in workers] == [2 * FILES] * 6
    for worker in workers:
        worker.join()
    (path,) = cache.iterdir()  # and no unfinished one
    assert len(json.loads(path.read_text())["files"]) == FILES
