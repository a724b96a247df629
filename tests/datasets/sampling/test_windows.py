"""Windows are numbered without gaps, and subsets are nested."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layout_files import FILES
from torch.utils.data import DataLoader

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.window import Window, collate
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.datasets.sampling.mixture import Mixture
from pelagos.datasets.sampling.scales import pooled_statistics
from pelagos.datasets.sampling.windows import Selection, Windows
from pelagos.datasets.stores.store import Store
from pelagos.datasets.tools.summary import summary


def make_store(folder: Path, frames: tuple[int, ...] = (7, 9), n: int = 2) -> Store:
    """Trajectory i, frame t has the value 100 i + t everywhere."""
    for number, length in enumerate(frames):
        index = 100 * (number * n + np.arange(n))[:, None] + np.arange(length)
        fields = {name: np.broadcast_to(index[..., None], (n, length, 4)) for name in ("u", "w")}
        data = WellData("ramp", Grid.unit((4,)), 0.5 * np.arange(length), fields)
        write_file(folder / f"{number:03}.hdf5", data)
    return open_store(folder)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("ramp"))


def frames_of(windows: Windows, index: int) -> list[int]:
    window = windows[index]
    return torch.cat([window.history, window.target])[:, 0, 0].int().tolist()


@given(
    history=st.integers(1, 3),
    horizon=st.integers(1, 2),
    stride=st.integers(1, 2),
    every=st.integers(1, 4),
)
@settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_start_once_and_in_order(
    store: Store, history: int, horizon: int, stride: int, every: int
) -> None:
    if stride * (history + horizon - 1) >= 7:
        return
    windows = Windows(store, history, horizon, stride, every)
    length = history + horizon
    expected = [
        [100 * i + start + stride * j for j in range(length)]
        for i in range(len(store))
        for start in range(0, store.n_frames(i) - stride * (length - 1), every)
    ]
    assert [frames_of(windows, index) for index in range(len(windows))] == expected


def test_the_count_is_the_fields_convention(store: Store) -> None:
    assert len(Windows(store, 4, 1)) == 2 * (7 - 4) + 2 * (9 - 4)


def test_iteration_ends(store: Store) -> None:
    assert len(list(Windows(store, 4, 1))) == len(Windows(store, 4, 1))
    with pytest.raises(IndexError, match="16 windows; got index 16"):
        Windows(store, 4, 1)[16]


def test_fields_are_chosen_by_name(store: Store) -> None:
    assert Windows(store, 2, 1)[0].fields == ("u", "w")
    window = Windows(store, 2, 1, selection=Selection(fields=("w",)))[0]
    assert (window.fields, window.history.shape) == (("w",), (2, 1, 4))
    with pytest.raises(ValueError, match="'ramp' has no field v; it has u, w"):
        Windows(store, 2, 1, selection=Selection(fields=("w", "v")))


def subset(store: Store, trajectories: int, seed: int = 0) -> set[int]:
    return set(Windows(store, 1, 1, selection=Selection(trajectories, seed)).trajectories)


def test_subsets_are_nested_and_seeded(tmp_path: Path) -> None:
    store = make_store(tmp_path, frames=(4,), n=20)
    subsets = [
        set(Windows(store, 1, 1, selection=Selection(trajectories=k)).trajectories)
        for k in (4, 8, 16, 20)
    ]
    assert [len(subset) for subset in subsets] == [4, 8, 16, 20]
    assert subsets[0] < subsets[1] < subsets[2] < subsets[3]
    assert subset(store, 4) == subsets[0]
    assert any(
        set(Windows(store, 1, 1, selection=Selection(trajectories=4, seed=seed)).trajectories)
        != subsets[0]
        for seed in range(1, 4)
    )
    windows = Windows(store, 1, 1, selection=Selection(trajectories=4))
    assert len(windows) == 4 * 3
    assert {frames_of(windows, i)[0] // 100 for i in range(12)} == subsets[0]


def test_they_feed_a_data_loader(store: Store) -> None:
    batch = next(iter(DataLoader(Windows(store, 3, 2), batch_size=4, collate_fn=collate)))
    assert batch.history.shape == (4, 3, 2, 4)
    assert batch.lead_times.tolist() == [[0.5, 1.0]] * 4


def test_impossible_windows_are_refused(store: Store) -> None:
    with pytest.raises(ValueError, match=r"at stride 2 spans 9 frames, but trajectory 0 .* has 7"):
        Windows(store, 4, 1, stride=2)
    with pytest.raises(ValueError, match="horizon must be at least 1"):
        Windows(store, 4, 0)
    with pytest.raises(ValueError, match="history must be at least 1"):
        Windows(store, 0, 1)
    with pytest.raises(ValueError, match="stride and every"):
        Windows(store, 1, 1, every=0)
    for count in (0, 5):
        with pytest.raises(ValueError, match=f"has 4 trajectories; cannot use {count}"):
            Windows(store, 1, 1, selection=Selection(trajectories=count))


def test_windows_begin_after_a_first_interval_of_its_own(tmp_path: Path) -> None:
    """An initial state is kept before a warm-up, as in DyMixOp's Kuramoto–Sivashinsky files."""
    path = FILES["dymixop-ks"](tmp_path).path
    store = open_store(path)
    assert (store.first, store.dt, store.n_frames(0)) == (1, 1.0, 9)
    windows = Windows(store, history=2, horizon=1)
    assert len(windows) == len(store) * (9 - 1 - 2)
    assert windows[0].history.equal(store.read(0, 1, 3))
    assert windows[len(windows) - 1].target.equal(store.read(len(store) - 1, 8, 9))
    assert all(window.dt == 1.0 for window in (windows[0], windows[7]))
    assert Mixture([(windows, 1.0)], batch=4, seed=0).batch(3).lead_times.unique().tolist() == [1.0]
    initial = store.window(0, 0, 1, 1)  # still there for who asks for it
    assert initial.lead_times.tolist() == [100.0]
    assert "1 from frame 1 on" in summary(store)
    mean = pooled_statistics([store]).mean[store.name]["u"]
    assert mean == pytest.approx(
        float(torch.cat([store.read(i, 1, 9) for i in store.splits["train"]]).mean()), abs=1e-6
    )


class Batches(torch.utils.data.Dataset):
    """Pairs of windows as batches, and whether they lie in shared memory where they are made."""

    def __init__(self, windows: Windows) -> None:
        self.windows = windows

    def __len__(self) -> int:
        return 2

    def __getitem__(self, k: int) -> tuple[bool, Window]:
        batch = collate([self.windows[2 * k], self.windows[2 * k + 1]])
        return batch.history.is_shared() and batch.target.is_shared(), batch


def test_workers_collate_into_shared_memory(tmp_path: Path) -> None:
    """So that a batch is not copied once more when it is sent."""
    batches = Batches(Windows(make_store(tmp_path), 2, 1))
    for workers in (0, 1):
        for k, (shared, batch) in enumerate(DataLoader(batches, None, num_workers=workers)):
            assert shared == bool(workers)
            expected = batches[k][1]
            assert batch.history.equal(expected.history)
            assert batch.target.equal(expected.target)
