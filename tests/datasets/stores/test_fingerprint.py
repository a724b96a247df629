"""Data are known again wherever they lie, and told from others under the same name."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from pelagos.datasets import open_store
from pelagos.datasets.base.manifest import MANIFEST, write_manifest
from pelagos.datasets.stores.fingerprint import differences, fingerprint


def write(folder: Path, values: np.ndarray, dt: float = 0.1) -> Path:
    """A dataset of (trajectories, frames, points) in PDEBench's layout."""
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "1D_Advection_Sols_beta0.1.hdf5", "w") as file:
        file["tensor"] = values.astype(np.float32)
        file["x-coordinate"] = (np.arange(values.shape[2]) + 0.5) / values.shape[2]
        file["t-coordinate"] = np.arange(values.shape[1] + 1) * dt
    return folder


def seen(folder: Path) -> dict[str, str]:
    return fingerprint(open_store(folder, "train"))


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(5).normal(size=(20, 6, 16))


def test_the_same_data_elsewhere_and_of_another_time_are_the_same(tmp_path, values):
    first = write(tmp_path / "here", values)
    second = shutil.copytree(first, tmp_path / "there" / "here")
    for path in second.iterdir():
        os.utime(path, (0, 0))
    assert seen(first) == seen(second)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda v: np.random.default_rng(6).normal(size=v.shape), ["other values"]),
        (lambda v: v[:, :, ::2], ["other grid ((8,) (1.0,)"]),
        (lambda v: np.concatenate([v, v]), ["other trajectories (36; it was 18)"]),
    ],
)
def test_other_data_under_the_same_name_are_told_in_what(tmp_path, values, change, what):
    before = seen(write(tmp_path / "data", values))
    found = differences(before, seen(write(tmp_path / "data", change(values))))
    assert all(any(line.startswith(each) for line in found) for each in what), found
    assert "other values" in found or "other grid" in found[0]


def test_other_times(tmp_path, values):
    before = seen(write(tmp_path / "data", values))
    assert differences(before, seen(write(tmp_path / "data", values, 0.2))) == ["other times"]


def test_a_manifest_tells_of_what_is_not_read(tmp_path, values):
    """One number of a frame that no fingerprint looks at; and of another split than the store's."""
    folder = write(tmp_path / "data", values)
    write_manifest(folder)
    before = seen(folder)
    assert before["checksums"]
    write_manifest(
        write(folder, values + 1e-3 * (np.arange(values.size).reshape(values.shape) == 37))
    )
    assert "other checksums" in differences(before, seen(folder))


def test_data_without_a_manifest_are_compared_by_what_both_have(tmp_path, values):
    folder = write(tmp_path / "data", values)
    without = seen(folder)
    write_manifest(folder)
    assert without["checksums"] == ""
    assert differences(without, seen(folder)) == []
    (folder / MANIFEST).unlink()
    assert seen(folder) == without


def test_fingerprints_of_another_version_are_not_compared(tmp_path, values):
    found = seen(write(tmp_path / "data", values))
    assert differences({**found, "version": "0", "values": "another"}, found) == []
