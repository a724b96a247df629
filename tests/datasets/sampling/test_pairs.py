"""all2all pairs: all of them, each once, with the right frames and lead times."""

import numpy as np
import pytest
import torch

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.datasets.sampling.mixture import Mixture
from pelagos.datasets.sampling.pairs import Pairs

DT, FRAMES = 0.5, 9


@pytest.fixture
def store(tmp_path):
    """u[trajectory, frame, x] = 100 · trajectory + frame: a value says where it came from."""
    values = 100 * np.arange(3)[:, None, None] + np.arange(FRAMES)[None, :, None]
    data = WellData(
        dataset="counted",
        grid=Grid.unit((4,)),
        times=7 + DT * np.arange(FRAMES),
        fields={"u": np.broadcast_to(values, (3, FRAMES, 4)).astype("f4")},
    )
    write_file(tmp_path / "data" / "train" / "counted.hdf5", data)
    return open_store(tmp_path, "train")


@pytest.mark.parametrize(("identity", "count"), [(True, 15), (False, 10)])
def test_every_ordered_pair_once(store, identity, count):
    """n = 4: (n+1)(n+2)/2 = 15 pairs, n(n+1)/2 = 10 without identity."""
    pairs = Pairs(store, steps=4, stride=2, identity=identity)
    assert len(pairs) == 3 * count
    seen = set()
    for index in range(len(pairs)):
        window = pairs[index]
        a, b = window.history[0, 0, 0].item(), window.target[0, 0, 0].item()
        assert a // 100 == b // 100
        assert a % 2 == b % 2 == 0
        assert a <= b
        assert window.lead_times.item() == pytest.approx((b - a) * DT)
        assert window.dt is None
        seen.add((a, b))
    assert len(seen) == len(pairs)
    assert any(a == b for a, b in seen) == identity


def test_batches_hold_different_lead_times(store):
    window = Mixture([(Pairs(store, steps=4, stride=2), 1.0)], batch=8, seed=0).batch(0)
    assert window.history.shape == (8, 1, 1, 4)
    assert len(set(window.lead_times.flatten().tolist())) > 1
    moved = window.target - window.history
    torch.testing.assert_close(moved[:, 0, 0, 0] * DT, window.lead_times[:, 0])


def test_a_trajectory_that_is_too_short_is_refused(store):
    with pytest.raises(ValueError, match="spans 11 frames, but trajectory 0 of 'counted' has 9"):
        Pairs(store, steps=5, stride=2)
