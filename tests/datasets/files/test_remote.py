"""Data sets behind URLs: staged, kept while they are the same, bounded in size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import h5py
import numpy as np
import pytest
import torch
from layout_files import FILES

from pelagos.datasets import open_store
from pelagos.datasets.files import remote


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A file system in memory, and an empty cache."""
    monkeypatch.setenv("PELAGOS_CACHE", str(tmp_path / "cache"))
    system = fsspec.filesystem("memory")
    yield system
    for name in system.find("/bucket"):
        system.rm(name)


def upload(memory: Any, path: Path, url: str) -> None:
    memory.pipe(url, path.read_bytes())


def test_a_remote_file_reads_as_a_local_one(tmp_path: Path, memory: Any) -> None:
    path = FILES["pdebench-burgers"](tmp_path).path
    upload(memory, path, "/bucket/x/any name.h5")
    store = open_store("memory://bucket/x/any name.h5")
    assert store.name == "any name"
    assert torch.equal(store.trajectory(3), open_store(path).trajectory(3))


def test_a_remote_folder_brings_only_the_split(tmp_path: Path, memory: Any) -> None:
    path = FILES["the well"](tmp_path).path
    for split in ("train", "test"):
        upload(memory, path, f"/bucket/mine/data/{split}/a.hdf5")
    assert len(open_store("memory://bucket/mine", "test")) == 13
    assert [p.parent.name for p in (tmp_path / "cache").rglob("*.hdf5")] == ["test"]
    assert len(open_store("memory://bucket/mine")) == 26


def test_a_copy_counts_while_the_file_is_the_same(
    tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = FILES["pdebench-burgers"](tmp_path).path
    upload(memory, path, "/bucket/a.h5")
    copied = []
    copy = remote._copy
    monkeypatch.setattr(remote, "_copy", lambda *args: copied.append(args) or copy(*args))
    first = open_store("memory://bucket/a.h5").trajectory(0)
    assert torch.equal(open_store("memory://bucket/a.h5").trajectory(0), first)
    assert len(copied) == 1
    with h5py.File(path, "a") as file:
        file["tensor"][...] = np.float32(2)
    upload(memory, path, "/bucket/a.h5")
    assert (open_store("memory://bucket/a.h5").trajectory(0) == 2).all()
    assert len(copied) == 2


def test_what_was_deleted_or_renamed_is_not_read(tmp_path: Path, memory: Any) -> None:
    path = FILES["the well"](tmp_path).path
    upload(memory, path, "/bucket/mine/data/train/old.hdf5")
    upload(memory, path, "/bucket/mine/data/test/a.hdf5")
    assert len(open_store("memory://bucket/mine")) == 26
    memory.rm("/bucket/mine/data/train/old.hdf5")
    upload(memory, path, "/bucket/mine/data/train/new.hdf5")
    assert len(open_store("memory://bucket/mine", "test")) == 13
    store = open_store("memory://bucket/mine")
    assert [source.path.name for source in store.sources] == ["new.hdf5", "a.hdf5"]


def test_splits_of_ones_own_are_of_all_files(tmp_path: Path, memory: Any) -> None:
    root = tmp_path / "mine"
    for split in ("train", "test"):
        (root / split).mkdir(parents=True)
        with h5py.File(root / split / "a.h5", "w") as file:
            file["u"] = np.ones((10, 3, 4))
        upload(memory, root / split / "a.h5", f"/bucket/mine/{split}/a.h5")
    text = "axes: [trajectory, time, x]\nfields: {u: u}\ntime: {step: 1}\n"
    (root / "description.yaml").write_text(text)
    upload(memory, root / "description.yaml", "/bucket/mine/description.yaml")
    for place in (root, "memory://bucket/mine"):
        assert len(open_store(place, "train", splits={"train": 0.5, "test": 0.5})) == 10


def test_a_bound_that_is_no_number(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.pipe("/bucket/a.h5", b"x")
    monkeypatch.setenv("PELAGOS_CACHE_BYTES", "64G")
    with pytest.raises(ValueError, match="must be a number of bytes; got '64G'"):
        open_store("memory://bucket/a.h5")


def test_the_cache_is_bounded(tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = FILES["pdebench-burgers"](tmp_path).path
    size = path.stat().st_size
    for name in "abc":
        upload(memory, path, f"/bucket/{name}.h5")
    monkeypatch.setenv("PELAGOS_CACHE_BYTES", str(int(2.5 * size)))
    for name in "abac":  # b was used longest ago
        open_store(f"memory://bucket/{name}.h5")
    assert sorted(p.name for p in (tmp_path / "cache").rglob("*.h5")) == ["a.h5", "c.h5"]
    monkeypatch.setenv("PELAGOS_CACHE_BYTES", "10")
    with pytest.raises(ValueError, match="the cache holds at most 10; set PELAGOS_CACHE_BYTES"):
        open_store("memory://bucket/b.h5")


def test_what_is_not_there(memory: Any) -> None:
    with pytest.raises(ValueError, match="nothing is at memory://bucket/nothing"):
        open_store("memory://bucket/nothing")
    with pytest.raises(ValueError, match="nowhere://x cannot be read"):
        open_store("nowhere://x")
