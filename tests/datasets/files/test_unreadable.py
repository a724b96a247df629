"""What the system or another program does to a file is told as that, in one line."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pytest

from pelagos.datasets import open_store
from pelagos.datasets.stores.store import Store

TEXT = "axes: [trajectory, time, x]\nfields: {u: u}\ntime: {step: 0.2}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "description.yaml").write_text(TEXT)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"] = np.arange(6000, dtype="f4").reshape(10, 20, 30)
    return tmp_path / "a.h5"


def opened(path: Path) -> Store:
    store = open_store(path)
    store.read(0, 0, 2)
    return store


def truncate(path: Path) -> None:
    h5py.File(path, "w").close()


def rewrite(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["u"][:] = 1
    os.utime(path, (1, 1))


def replace(path: Path) -> None:
    shutil.copy2(path, path.with_name("b"))
    path.with_name("b").rename(path)


@pytest.mark.parametrize("change", [truncate, rewrite, replace])
def test_a_file_that_changes_while_it_is_mapped_is_refused(path: Path, change: object) -> None:
    store = opened(path)
    assert callable(change)
    change(path)
    with pytest.raises(ValueError, match=r"a\.h5 changed while it was read: another program"):
        store.read(9, 0, 2)


def test_the_remedy_is_to_open_it_anew(path: Path) -> None:
    store = opened(path)
    rewrite(path)
    with pytest.raises(ValueError, match="open it anew"):
        store.read(9, 0, 2)
    assert (open_store(path).read(9, 0, 2) == 1).all()


def test_a_file_that_is_gone_is_not_damaged(path: Path) -> None:
    store = opened(path)
    path.unlink()
    with pytest.raises(ValueError, match=r"a\.h5 is gone: it was deleted or renamed"):
        store.read(9, 0, 2)


@pytest.fixture
def few_files() -> Iterator[list[object]]:
    """No file can be opened any more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[object] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
    try:
        yield held
    finally:
        for file in held:
            file.close()  # type: ignore[attr-defined]
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_too_many_open_files_are_not_a_damaged_file(path: Path, few_files: list[object]) -> None:
    store = open_store(path)
    with suppress(OSError):
        while True:
            few_files.append(Path(os.devnull).open())  # noqa: SIM115
    with pytest.raises(ValueError, match=r"it may have 64\); allow more with `ulimit -n 4096`"):
        store.read(0, 0, 2)


def test_a_link_that_no_field_uses_is_ignored(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["other"] = h5py.ExternalLink("elsewhere.h5", "/u")
        file.create_virtual_dataset("virtual", h5py.VirtualLayout((3,), "f4"))
    assert len(open_store(path)) == 10
    (path.parent / "description.yaml").write_text(TEXT.replace("u: u", "u: other"))
    with pytest.raises(ValueError, match="'other' is a link out of the file"):
        open_store(path)


def test_files_whose_means_differ_need_one_offset(path: Path) -> None:
    with h5py.File(path.with_name("b.h5"), "w") as file:
        file["u"] = 5 + np.arange(6000, dtype="f4").reshape(10, 20, 30)
    description = path.parent / "description.yaml"
    description.write_text(TEXT + "subtract: mean\n")
    with pytest.raises(ValueError, match="give numbers that hold for all files"):
        open_store(path.parent)
    description.write_text(TEXT + "subtract: {u: 14}\n")
    assert float(open_store(path.parent).trajectory(0)[0, 0, 0]) == -14
