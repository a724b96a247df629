"""The structure-change coefficient against closed forms."""

import math

import numpy as np
import pytest
import torch

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.datasets.sampling.structure_change import similarity, structure_change

POINTS = 32


def write(root, name, turn, frames=9, amplitude=1.0, offset=0.0):
    """A wave whose phase turns by `turn` per frame: similarity cos(turn)."""
    x = 2 * np.pi * np.arange(POINTS) / POINTS
    phase = x - turn * np.arange(frames)[:, None]
    still = np.broadcast_to(np.sin(x), phase.shape)
    grid = Grid.unit((POINTS,))
    fields = {"u": amplitude * np.sin(phase)[None] + offset, "tracer": still[None]}
    data = WellData(name, grid, 0.1 * np.arange(frames), fields)
    write_file(root / name / "data" / "train" / f"{name}.hdf5", data)
    return open_store(root / name, "train")


def test_a_turning_wave_has_the_cosine_of_its_turn(tmp_path):
    store = write(tmp_path, "wave", 0.3)
    assert structure_change([store], ["u"], [1]) == pytest.approx(1 - math.cos(0.3), abs=1e-5)
    assert structure_change([store], ["u"], [2]) == pytest.approx(1 - math.cos(0.6), abs=1e-5)


def test_units_and_offset_do_not_matter(tmp_path):
    plain = write(tmp_path, "plain", 0.3)
    moved = write(tmp_path, "moved", 0.3, amplitude=100.0, offset=500.0)
    a, b = (structure_change([store], ["u"], [1]) for store in (plain, moved))
    assert a == pytest.approx(b, abs=1e-4)


def test_fields_and_datasets_count_the_same(tmp_path):
    slow, fast = write(tmp_path, "slow", 0.1), write(tmp_path, "fast", 0.5, frames=40)
    assert structure_change([slow], ["tracer"], [1]) == pytest.approx(0, abs=1e-6)
    both = structure_change([slow], ["u", "tracer"], [1])
    assert both == pytest.approx((1 - math.cos(0.1)) / 2, abs=1e-5)
    mixed = structure_change([slow, fast], ["u"], [1, 1])
    assert mixed == pytest.approx(1 - (math.cos(0.1) + math.cos(0.5)) / 2, abs=1e-5)


def test_a_uniform_field_is_unchanged():
    assert torch.equal(similarity(torch.full((2, 1, 4), 3.0)), torch.ones(1, dtype=torch.float64))


def test_a_stride_longer_than_the_trajectories_is_refused(tmp_path):
    store = write(tmp_path, "short", 0.3, frames=3)
    with pytest.raises(ValueError, match="no two frames that lie 3 apart"):
        structure_change([store], ["u"], [3])


def test_pairs_are_spread_over_trajectories_of_any_length(tmp_path, monkeypatch):
    """Every pair once, in order, where there are few; none from one trajectory to the next."""
    write(tmp_path, "wave", 0.3)
    folder = tmp_path / "wave" / "data" / "train"
    for name, frames in (("x", 2), ("y", 7)):
        write(tmp_path / name, "wave", 0.3, frames=frames)
        made = tmp_path / name / "wave" / "data" / "train" / "wave.hdf5"
        made.rename(folder / f"{name}.hdf5")
    store, read = open_store(tmp_path / "wave", "train"), []
    original = store.read
    monkeypatch.setattr(store, "read", lambda *args: read.append(args) or original(*args))
    structure_change([store], ["u"], [2])
    assert read == [(i, k, k + 3, 2) for i, n in ((0, 9), (2, 7)) for k in range(n - 2)]
