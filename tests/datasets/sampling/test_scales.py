"""Streaming moments and training statistics against the definitions."""

from __future__ import annotations

from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.moments import Moments
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.datasets.sampling.scales import pooled_statistics
from pelagos.datasets.stores import statistics
from pelagos.datasets.stores.store import Store


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6), shift=st.floats(-1e6, 1e6))
@settings(deadline=None, max_examples=50)
def test_merged_blocks_are_one_block(sizes: list[int], shift: float) -> None:
    values = shift + np.random.default_rng(len(sizes)).standard_normal((sum(sizes), 3))
    blocks = np.split(values, np.cumsum(sizes)[:-1])
    moments = reduce(add, map(Moments.of, blocks))
    assert moments.count == len(values)
    np.testing.assert_allclose(moments.mean, values.mean(0), rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(moments.std, values.std(0), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(moments.rms, np.sqrt((values**2).mean(0)), rtol=1e-12)


def make(root: Path, name: str, split: str, fields: dict[str, np.ndarray]) -> Store:
    frames = next(iter(fields.values())).shape[1]
    data = WellData(name, Grid.unit((8,)), 0.1 * np.arange(frames), fields)
    write_file(root / name / "data" / split / "a.hdf5", data)
    return open_store(root / name)


def test_statistics_by_dataset_and_pooled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "BLOCK", 40)  # several blocks per trajectory
    rng = np.random.default_rng(0)
    u = (3 + 2 * rng.standard_normal((4, 6, 8))).astype(np.float32)
    w = (0.1 * rng.standard_normal((4, 6, 8))).astype(np.float32)
    other = (-1 + rng.standard_normal((40, 5, 8))).astype(np.float32)
    make(tmp_path, "a", "test", {"u": 100 + u, "w": w})
    found = pooled_statistics(
        [make(tmp_path, "a", "train", {"u": u, "w": w}), make(tmp_path, "b", "train", {"u": other})]
    )
    assert found.mean["a"] == pytest.approx({"u": u.mean(), "w": w.mean()}, rel=1e-5)
    assert found.std["a"] == pytest.approx({"u": u.std(), "w": w.std()}, rel=1e-5)
    assert found.std["b"] == pytest.approx({"u": other.std()}, rel=1e-5)
    # As many values of each dataset, whatever its size: 4 · 6 of one, 40 · 5 of the other.
    equal = np.concatenate([np.repeat(u.ravel(), 25), np.repeat(other.ravel(), 3)])
    assert found.mean["*"]["u"] == pytest.approx(equal.mean(dtype=float), rel=1e-5)
    assert found.std["*"]["u"] == pytest.approx(equal.std(dtype=float), rel=1e-5)
    assert found.std["*"]["w"] == pytest.approx(found.std["a"]["w"])


def test_constant_fields_stay_finite(tmp_path: Path) -> None:
    fields = {"u": np.full((2, 3, 8), 7.0), "w": np.zeros((2, 3, 8))}
    found = pooled_statistics([make(tmp_path, "a", "train", fields)])
    assert found.std["a"] == {"u": 0.0, "w": 0.0}
    assert found.std["*"] == found.std["a"]
    assert found.constants("a") == found.constants("never seen") == {"u", "w"}
    scaling = found.scaling(torch.full((1, 2, 2, 8), 7.0), ("u", "w"), "a")
    assert scaling.scale.flatten().tolist() == [7.0, 1.0]


def test_statistics_need_training_data_and_unique_names(tmp_path: Path) -> None:
    fields = {"u": np.zeros((1, 3, 8))}
    with pytest.raises(ValueError, match="'a' was opened without its training split"):
        pooled_statistics([make(tmp_path, "a", "test", fields)])
    store = make(tmp_path, "b", "train", fields)
    with pytest.raises(ValueError, match="two datasets are named 'b'"):
        pooled_statistics([store, store])
