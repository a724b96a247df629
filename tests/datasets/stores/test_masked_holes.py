"""`holes: mask`: what is missing in any frame of a trajectory is masked in all of them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml

from pelagos.datasets import open_store
from pelagos.datasets.stores.store import Store
from pelagos.datasets.tools.check import check
from pelagos.datasets.tools.convert import convert

SHAPE = (3, 5, 4, 6)  # trajectories, frames, points


def values() -> np.ndarray:
    """Land in a corner, and an ice edge that moves: in the middle trajectory there is none."""
    made = np.random.default_rng(0).normal(size=SHAPE).astype("f4")
    made[:, :, 0, :2] = np.nan
    for frame in range(SHAPE[1]):
        made[0, frame, 3, : frame + 1] = np.nan
        made[2, frame, 1, frame] = np.nan
    return made


def store(folder: Path, made: np.ndarray, **more: object) -> Store:
    with h5py.File(folder / "a.h5", "w") as file:
        file["u"] = made
        file["sea"] = more.pop("sea", np.ones(SHAPE[2:]))
    description = {
        "axes": ["trajectory", "time", "x", "y"],
        "fields": {"u": "u"},
        "time": {"start": 0, "step": 0.1},
        "boundary": "open",
        "fill": 7,
        "holes": "mask",
        **more,
    }
    (folder / "description.yaml").write_text(yaml.safe_dump(description))
    return open_store(folder)


@pytest.mark.parametrize("read_first", [False, True])
def test_points_that_are_ever_missing_are_masked(tmp_path: Path, read_first: bool) -> None:
    made = values()
    opened = store(tmp_path, made)
    for i in range(len(made)):
        if read_first:
            opened.window(i, 1)
        mask = opened.mask(i)
        assert mask is not None
        np.testing.assert_array_equal(mask[0], ~np.isnan(made[i]).any(0))
        found = opened.trajectory(i)[:, 0].numpy()
        np.testing.assert_array_equal(found, np.where(np.isnan(made[i]), 7, made[i]))
    assert not [f for f in check(opened).findings if f.rank == "error"]


def test_a_stated_mask_becomes_smaller(tmp_path: Path) -> None:
    made, sea = values(), np.ones(SHAPE[2:])
    made[:, :, 0, :2] = 1e20
    sea[0, :2] = 0
    mask = store(tmp_path, made, mask="sea", sea=sea).mask(0)
    assert mask is not None
    np.testing.assert_array_equal(mask[0], (sea != 0) & ~np.isnan(made[0]).any(0))


def test_a_frame_that_is_missing_is_no_mask(tmp_path: Path) -> None:
    made = values()
    made[1, 3] = np.nan
    opened = store(tmp_path, made)
    opened.read(1, 0, 3)
    with pytest.raises(ValueError, match=r"'u' at frame 3 .* NaN everywhere"):
        opened.trajectory(1)


def test_it_stays_when_converted(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    opened = store(tmp_path / "mine", values())
    again = open_store(convert(tmp_path / "mine", tmp_path / "out"))
    for i in range(len(opened)):
        one, two = opened.mask(i), again.mask(i)
        assert one is not None
        assert two is not None
        assert torch.equal(one, two)
        assert torch.equal(opened.trajectory(i), again.trajectory(i))
