"""The order of training data is a pure function of (seed, k), in the right proportions."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.datasets.sampling.mixture import Mixture
from pelagos.datasets.sampling.windows import Windows

SIZES = (5, 12, 7)  # windows per dataset


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Windows]:
    folder = tmp_path_factory.mktemp("mixture")
    made = []
    for part, size in enumerate(SIZES):
        shape = (4 + part,)
        fields = {f"f{part}": np.arange(size + 1.0)[None, :, None] + np.zeros((1, 1, *shape))}
        data = WellData(f"d{part}", Grid.unit(shape), 0.1 * np.arange(size + 1), fields)
        write_file(folder / f"{part}.hdf5", data)
        made.append(Windows(open_store(folder / f"{part}.hdf5"), 1, 1))
    assert [len(windows) for windows in made] == [*SIZES]
    return made


def make(parts: list[Windows], shares: list[float], batch: int = 3, seed: int = 0) -> Mixture:
    return Mixture([*zip(parts, map(float, shares), strict=True)], batch, seed)


def test_draws_do_not_depend_on_earlier_draws(parts: list[Windows]) -> None:
    mixture = make(parts, [1, 2, 3])
    order = [mixture.draw(k) for k in range(60)]
    fresh = make(parts, [1, 2, 3])
    backwards = [fresh.draw(k) for k in reversed(range(60))]
    assert backwards[::-1] == order
    assert copy.deepcopy(mixture).draw(31) == order[31]
    assert make(parts, [1, 2, 3]).draw(10**12) == mixture.draw(10**12)  # no replay


def test_another_order_is_that_of_another_seed(parts: list[Windows]) -> None:
    first = make(parts, [1, 2, 3])
    drawn = [first.draw(k) for k in range(30)]
    other, fresh = first.reordered(7), make(parts, [1, 2, 3], seed=7)
    assert [other.draw(k) for k in range(30)] == [fresh.draw(k) for k in range(30)] != drawn
    assert [first.draw(k) for k in range(30)] == drawn


def test_draws_are_pinned(parts: list[Windows]) -> None:
    """A change of the order would break resumed runs, and the comparison with older ones."""
    mixture = make(parts, [1, 2, 3], batch=2, seed=5)
    assert [mixture.draw(k) for k in range(6)] == PINNED


PINNED = [(1, [10, 3]), (2, [3, 1]), (1, [11, 0]), (0, [4, 3]), (2, [0, 4]), (1, [6, 8])]


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_every_window_once_per_epoch(parts: list[Windows], batch: int) -> None:
    mixture = make(parts, [1, 2, 3], batch)
    seen: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for k in range(200):
        part, indices = mixture.draw(k)
        assert len(indices) == batch
        seen[part] += indices
    for part, size in enumerate(SIZES):
        epochs = [seen[part][i : i + size] for i in range(0, len(seen[part]) - size, size)]
        assert len(epochs) > 4
        assert all(sorted(epoch) == [*range(size)] for epoch in epochs)
        assert len(set(map(tuple, epochs))) > 1  # each in an order of its own


@given(shares=st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3), seed=st.integers(0, 2**62))
@settings(deadline=None, max_examples=25)
def test_proportions_are_right_at_every_length(
    parts: list[Windows], shares: list[float], seed: int
) -> None:
    mixture = make(parts, shares, batch=1, seed=seed)
    counts = np.zeros(3)
    for k in range(300):
        counts[mixture.draw(k)[0]] += 1
        expected = (k + 1) * np.array(shares) / sum(shares)
        assert np.abs(counts - expected).max() < 4


def test_a_rare_dataset_is_drawn(parts: list[Windows]) -> None:
    mixture = make(parts, [1e-2, 1, 1], batch=1)
    assert 17 <= Counter(mixture.draw(k)[0] for k in range(4000))[0] <= 23


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_processes_share_one_order(parts: list[Windows], processes: int) -> None:
    whole = [make(parts, [1, 2, 3]).draw(k) for k in range(48)]
    ranks = [make(parts, [1, 2, 3]) for _ in range(processes)]
    shared = [
        ranks[rank].draw(step * processes + rank)
        for step in range(48 // processes)
        for rank in range(processes)
    ]
    assert shared == whole


def test_seeds_differ(parts: list[Windows]) -> None:
    orders = [[make(parts, [1, 2, 3], seed=s).draw(k) for k in range(20)] for s in range(4)]
    assert len({str(order) for order in orders}) == 4


def test_a_batch_has_the_drawn_windows_of_one_dataset(parts: list[Windows]) -> None:
    mixture = make(parts, [1, 1, 1], batch=4)
    for k in range(12):
        part, indices = mixture.draw(k)
        batch = mixture.batch(k)
        assert batch.dataset == f"d{part}"
        assert batch.fields == (f"f{part}",)
        assert batch.history.shape == (4, 1, 1, 4 + part)
        assert batch.history[:, 0, 0, 0].tolist() == indices
        assert torch.equal(batch.target, batch.history + 1)
    assert {mixture.draw(k)[0] for k in range(12)} == {0, 1, 2}


def test_impossible_mixtures_are_refused(parts: list[Windows], tmp_path: Path) -> None:
    for share in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="weight of 'd1' must be positive"):
            make(parts, [1, share, 1])
    with pytest.raises(ValueError, match="at least one dataset"):
        Mixture([], 1, 0)
    with pytest.raises(ValueError, match="batch must be positive"):
        make(parts, [1, 1, 1], batch=0)
    with pytest.raises(ValueError, match=r"seed in \[0"):
        make(parts, [1, 1, 1], seed=-1)


def test_windows_of_different_time_steps_do_not_mix(tmp_path: Path) -> None:
    for name, step in (("a", 0.1), ("b", 0.2)):
        fields = {"u": np.zeros((1, 6, 4))}
        write_file(
            tmp_path / f"{name}.hdf5", WellData("d", Grid.unit((4,)), step * np.arange(6), fields)
        )
    store = open_store(tmp_path)
    with pytest.raises(ValueError, match="no uniform time step common"):
        Mixture([(Windows(store, 2, 1), 1.0)], 2, 0)
    batch = Mixture([(Windows(store, 1, 1), 1.0)], 10, 0).batch(0)  # no step within one frame
    assert sorted(set(batch.lead_times.flatten().tolist())) == pytest.approx([0.1, 0.2])


def test_micro_batches_of_a_part_have_their_own_size(parts: list[Windows]) -> None:
    sizes = (4, 1, 2)
    mixture = Mixture([(part, 1.0) for part in parts], 9, 3, batches=sizes)
    same = Mixture([(part, 1.0) for part in parts], 1, 3)
    seen: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for k in range(60):
        part, indices = mixture.draw(k)
        assert part == same.draw(k)[0]  # the shares are of micro-batches
        assert len(indices) == sizes[part]
        assert mixture.windows_before(k) == sum(map(len, seen.values()))
        seen[part] += indices
    for part, size in enumerate(SIZES):
        assert sorted(seen[part][:size]) == [*range(size)]
    assert make(parts, [1, 2, 3], batch=5).windows_before(7) == 35


def test_costs_are_points(parts: list[Windows]) -> None:
    mixture = Mixture([(part, 1.0) for part in parts], 1, 3, batches=(4, 1, 2))
    drawn = [mixture.draw(k)[0] for k in range(20)]
    assert mixture.costs(range(20)) == [[16.0, 5.0, 12.0][part] for part in drawn]
