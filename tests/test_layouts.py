"""One contract over every layout: what the file holds is what is read, axis by axis."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from layout_files import FILES, Expected, N
from torch.utils.data import DataLoader

from pelagos.datasets.inspect import summary
from pelagos.datasets.layouts import LAYOUTS, detect
from pelagos.datasets.store import Store, open_store


@pytest.fixture(scope="module", params=FILES)
def expected(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Expected:
    if "zarr" in request.param:
        pytest.importorskip("zarr")
    return FILES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def store(expected: Expected) -> Store:
    return open_store(expected.path)


def test_every_layout_is_tried() -> None:
    tried = {name.split("-")[0] for name in FILES}
    assert tried == {layout.name.lower() for layout in LAYOUTS}


def test_the_layout_is_detected(expected: Expected) -> None:
    found = detect(expected.path)
    assert found is not None
    assert found.name == expected.layout


def test_what_describes_the_data(expected: Expected, store: Store) -> None:
    assert store.fields == tuple(expected.fields)
    assert store.constant_fields == tuple(expected.constants)
    assert store.grid.shape == next(iter(expected.fields.values())).shape[2:]
    np.testing.assert_allclose(store.grid.lengths, expected.lengths, rtol=1e-6)
    if expected.boundary != "mixed":
        assert set(store.grid.boundary) == {expected.boundary}
    assert store.splits == expected.splits
    assert len(store) == N
    np.testing.assert_allclose(store.times, expected.times, rtol=1e-6)
    assert store.parameter_names == tuple(expected.parameters)
    for i, (name, values) in enumerate(expected.parameters.items()):
        np.testing.assert_allclose(store.parameter_table()[:, i], values, rtol=1e-6, err_msg=name)
    assert store.name in (expected.path.stem, "mine")
    assert store.name in summary(store)


def test_fields_are_those_of_the_file(expected: Expected, store: Store) -> None:
    whole = np.stack([*expected.fields.values()], axis=2)
    for i in range(N):
        np.testing.assert_array_equal(store.trajectory(i).numpy(), whole[i].astype(np.float32))
    last = whole[N - 1].astype(np.float32)
    frames = len(last)
    np.testing.assert_array_equal(store.read(N - 1, frames // 4, frames, 2), last[frames // 4 :: 2])
    chosen = store.read_raw(2, slice(0, 1), [len(expected.fields) - 1])
    np.testing.assert_array_equal(chosen, whole[2, :1, -1:].astype(np.float32))


def test_constant_fields_are_those_of_the_file(expected: Expected, store: Store) -> None:
    for i in range(N):
        found = store.constants(i)
        for k, values in enumerate(expected.constants.values()):
            assert found is not None
            np.testing.assert_allclose(found[k], values[i], rtol=1e-6, atol=1e-7)


def test_the_mask_says_where_fields_are_predicted(expected: Expected, store: Store) -> None:
    mask = store.mask(0)
    if expected.mask is None:
        assert mask is None
    else:
        np.testing.assert_array_equal(mask, expected.mask)


def test_splits_open_alone(expected: Expected, store: Store) -> None:
    for name, part in expected.splits.items():
        alone = open_store(expected.path, name)
        assert alone.splits == {name: range(len(part))}
        for mine, its in ((0, part[0]), (len(part) - 1, part[-1])):
            assert torch.equal(alone.trajectory(mine), store.trajectory(its))
        assert alone.origin(0) == (expected.path, part[0])


def test_windows_are_cut_from_trajectories(expected: Expected, store: Store) -> None:
    if len(expected.times) == 1:
        assert store.steady
        window, constants = store.window(3), store.constants(3)
        assert constants is not None
        assert torch.equal(window.history, constants[None])
        assert torch.equal(window.target, store.trajectory(3))
        assert window.lead_times.tolist() == [1.0]
        return
    window = store.window(3, 1, history=2, horizon=2, stride=2)
    whole = store.trajectory(3)
    assert torch.equal(window.history, whole[1:4:2])
    assert torch.equal(window.target, whole[5:8:2])
    times = store.trajectory_times(3)
    np.testing.assert_allclose(window.lead_times, times[[5, 7]] - times[3], rtol=1e-5)


def test_xarray_has_the_same_values(expected: Expected, store: Store) -> None:
    data = store.to_xarray()
    for name, values in expected.fields.items():
        found = data[name]
        assert found.dims == ("trajectory", "time", *store.axes)
        np.testing.assert_array_equal(found[N - 1], values[N - 1].astype(np.float32))
    part = found.isel(trajectory=-1, time=slice(None, None, -2), **{store.axes[-1]: [2, 0]})
    whole = values[N - 1].astype(np.float32)
    np.testing.assert_array_equal(part, whole[::-2][..., [2, 0]])
    split = {name: (data["split"] == name).values.nonzero()[0].tolist() for name in store.splits}
    assert split == {name: [*part] for name, part in store.splits.items()}


def test_xarray_is_lazy(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, read_raw = [], store.read_raw
    monkeypatch.setattr(
        Store, "read_raw", lambda _, *args: calls.append(args[0]) or read_raw(*args)
    )
    data = store.to_xarray()
    _ = data.nbytes, repr(data)
    assert not calls
    _ = data[store.fields[-1]][4].values
    assert calls == [4]


def test_what_was_read_belongs_to_the_caller(store: Store) -> None:
    before = store.trajectory(0).clone()
    store.trajectory(0).zero_()
    assert torch.equal(store.trajectory(0), before)


def test_a_pickled_store_reads_the_same(store: Store) -> None:
    before = store.trajectory(1)
    copied = pickle.loads(pickle.dumps(store))
    assert torch.equal(copied.trajectory(1), before)


def test_data_are_read_in_worker_processes(store: Store) -> None:
    store.trajectory(0)  # handles are open before the fork

    class Items(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, i: int) -> torch.Tensor:
            return store.window(i).target

    loader = DataLoader(Items(), batch_size=None, num_workers=1)
    for i, found in enumerate(loader):
        first = 0 if store.steady else 1
        assert torch.equal(found, store.trajectory(i)[first : first + 1])
