"""A full disk: said in one line that names the file, and nothing half-written or lost."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from safetensors import SafetensorError

from pelagos.datasets import open_store
from pelagos.datasets.base.appearing import appearing_file
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.datasets.simulation.simulate import simulate
from pelagos.datasets.stores.statistics import write_stats
from pelagos.datasets.tools.convert import convert
from pelagos.datasets.tools.plot import plot
from pelagos.datasets.tools.rechunk import rechunk

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
HDF5 = "Can't decrement id ref count (file write failed: errno = 28, 'No space left on device')"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).random((3, 5, 8), dtype="f4")
    grid = Grid((8,), (1.0,), ("periodic",))
    path = tmp_path / "made" / "data" / "train" / "a.hdf5"
    write_file(path, WellData("made", grid, 0.1 * np.arange(5), {"u": values}))
    write_stats(tmp_path / "made")
    return tmp_path / "made"


def files(folder: Path) -> dict[str, bytes]:
    found = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): p.read_bytes() for p in found if p.is_file()}


def run_out(monkeypatch: pytest.MonkeyPatch, after: int, error: Exception = FULL) -> None:
    """Let `after` files be finished; then the disk is full."""
    fsync, left = os.fsync, [after]

    def full(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise error
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)


WRITERS: dict[str, Callable[[Path, Path], Any]] = {
    "convert": lambda source, out: convert(source, out / "converted", shard=1),
    "rechunk": lambda source, out: rechunk(source, out / "rechunked"),
    "simulate": lambda source, out: simulate(
        "burgers_1d", out, trajectories={"train": 2}, resolution=16, frames=3, shard=1
    ),
    "plot": lambda source, out: plot(open_store(source), out / "plots"),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("error", [FULL, RuntimeError(HDF5)], ids=["system", "HDF5"])
def test_a_full_disk_is_named_and_the_work_continues(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: Exception
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    before = files(source)
    with monkeypatch.context() as patch:
        run_out(patch, 0 if name == "rechunk" else 1, error)
        with pytest.raises(ValueError, match=r"out/.* cannot be written: its disk is full") as told:
            WRITERS[name](source, out)
    assert "\n" not in str(told.value)
    assert not [path for path in files(out) if ".partial" in path]
    assert files(source) == before
    finished = {k: v for k, v in files(out).items() if k.endswith(".hdf5")}
    if name != "plot":  # which writes no file over another
        WRITERS[name](source, out)
        assert finished.items() <= files(out).items()


def test_what_is_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "stats.yaml"
    path.write_text("old")
    for error in (FULL, SafetensorError("I/O error: No space left on device (os error 28)")):
        run_out(monkeypatch, 0, error)
        with (
            pytest.raises(ValueError, match="its disk is full"),
            appearing_file(path, overwrite=True) as partial,
        ):
            partial.write_text("new")
        assert [found.name for found in tmp_path.iterdir()] == ["stats.yaml"]
        assert path.read_text() == "old"


def test_other_failures_are_not_called_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), appearing_file(tmp_path / "a"):
        raise PermissionError(errno.EACCES, "Permission denied")
    with pytest.raises(OSError, match="Unable to"), appearing_file(tmp_path / "a"):
        h5py.File(tmp_path / "none.h5")
