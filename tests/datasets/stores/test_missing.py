"""Missing values: masks that are the same in every frame, and holes that are not."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from pelagos.datasets import Store, open_store
from pelagos.datasets.sampling.pairs import Pairs
from pelagos.datasets.sampling.scales import pooled_statistics
from pelagos.datasets.sampling.windows import Windows
from pelagos.datasets.stores.files import Files
from pelagos.datasets.stores.renaming import renamed
from pelagos.datasets.stores.statistics import split_statistics
from pelagos.datasets.tools.check import check

SHAPE = (3, 8, 6, 5)  # trajectory, time, x, y
LAND = np.zeros(SHAPE[2:], bool)
LAND[1:3, 2:4] = True


def values() -> np.ndarray:
    return np.random.default_rng(0).normal(10, 2, SHAPE).astype("f4")


def opened(folder: Path, u: np.ndarray, more: str = "", **arrays: np.ndarray) -> Store:
    folder.mkdir(exist_ok=True)
    (folder / "description.yaml").write_text(
        "axes: [trajectory, time, x, y]\nfields: {u: u}\ntime: {step: 0.5}\nname: sea\n" + more
    )
    with h5py.File(folder / "a.h5", "w") as file:
        for name, array in {"u": u, **arrays}.items():
            file[name] = array
    return open_store(folder)


def island() -> np.ndarray:
    u = values()
    u[..., LAND] = np.nan
    return u


def test_what_is_missing_in_every_frame_is_the_mask(tmp_path: Path) -> None:
    u = island()
    store = opened(tmp_path, u, "fill: {u: 9.5}\n")
    mask = store.mask(1)
    assert mask is not None
    assert (mask[0].numpy() == ~LAND).all()
    np.testing.assert_array_equal(store.trajectory(1)[:, 0], np.nan_to_num(u[1], nan=9.5))
    # A window from the middle of a trajectory that nothing was read of has the same mask.
    window = open_store(tmp_path).window(2, start=4, history=2, horizon=2)
    assert window.context.mask is not None
    assert window.context.mask.equal(mask)
    assert window.history.isfinite().all()
    seen = store.to_xarray()["u"].to_numpy()
    np.testing.assert_array_equal(seen, u)


def test_statistics_are_of_what_is_there(tmp_path: Path) -> None:
    u = island()
    store = opened(tmp_path, u)
    table = split_statistics(store)["all"]["u"]
    assert table["mean"] == pytest.approx(np.nanmean(u, dtype=float))
    assert table["std"] == pytest.approx(np.nanstd(u, dtype=float))
    assert (table["min"], table["max"]) == (np.nanmin(u), np.nanmax(u))
    assert table["rms_delta"] == pytest.approx(np.sqrt(np.nanmean(np.diff(u, axis=1) ** 2)))
    found = pooled_statistics([store])
    assert found.mean["sea"]["u"] == pytest.approx(np.nanmean(u, dtype=float))
    assert found.std["sea"]["u"] == pytest.approx(np.nanstd(u, dtype=float))
    assert not [f for f in check(store).findings if f.kind == "not_finite"]


def test_a_mask_may_be_an_array(tmp_path: Path) -> None:
    u = values()
    u[..., LAND] = 1e20
    store = opened(tmp_path, u, "mask: sea\n", sea=(~LAND).astype("i1"))
    assert store.trajectory(0).abs().max() < 100
    assert (store.trajectory(0)[:, 0][:, LAND] == 0).all()
    assert np.isnan(store.to_xarray()["u"].to_numpy()[..., LAND]).all()
    table = split_statistics(store)["all"]["u"]
    assert table["mean"] == pytest.approx(u[..., ~LAND].mean(dtype=float))
    u[1, 3, 0, 0] = np.nan  # not where the mask says
    with pytest.raises(ValueError, match=r"'u' at frame 3 \(time 1.5\) of trajectory 1 holds NaN"):
        opened(tmp_path / "hole", u, "mask: sea\n", sea=(~LAND).astype("i1")).trajectory(1)
    with pytest.raises(ValueError, match="no array 'nothing'"):
        opened(tmp_path / "none", u, "mask: nothing\n")
    with pytest.raises(ValueError, match="fill: no field v"):
        opened(tmp_path / "fill", u, "fill: {v: 1}\n")


def test_each_trajectory_has_its_own_mask(tmp_path: Path) -> None:
    u = values()
    u[1, :, 0, 0] = np.nan
    store = opened(tmp_path, u)
    assert store.mask(0) is None
    assert store.window(0).context.mask is None
    mask = store.mask(1)
    assert mask is not None
    assert int((~mask).sum()) == 1


def test_holes_are_refused_by_frame(tmp_path: Path) -> None:
    u = island()
    u[0, 5, 0, 0] = np.nan
    store = opened(tmp_path, u)
    assert store.window(0, 0, 2, 2).history.isfinite().all()
    with pytest.raises(ValueError, match=r"a.h5: 'u' at frame 5 \(time 2.5\).*holes: skip"):
        store.window(0, 3, 2, 2)
    u[0, 5] = values()[0, 5]  # more is there than in the first frame
    store = opened(tmp_path, u)
    with pytest.raises(ValueError, match=r"'u' at frame 5.*has values where frame 0 has none"):
        store.trajectory(0)
    assert check(store).findings[0].kind == "not_finite"
    u[0] = np.nan  # nothing is there
    with pytest.raises(ValueError, match=r"'u' at frame 0.*holds NaN"):
        opened(tmp_path, u).window(0)


def test_windows_that_touch_holes_are_skipped(tmp_path: Path) -> None:
    u = island()
    u[0, 5, 0, 0] = np.nan  # in the middle
    u[1, 0, 4:] = np.nan  # in the first frame: not of the mask, which is missing in all
    store = opened(tmp_path, u, "holes: skip\n")
    windows = Windows(store, 2, 1)
    starts = [k for k in range(6) if 5 not in range(k, k + 3)], [*range(1, 6)], [*range(6)]
    assert len(windows) == sum(map(len, starts))
    places = [(i, k) for i, each in enumerate(starts) for k in each]
    for number, (row, first) in enumerate(places):
        expected = np.nan_to_num(u[row, first : first + 2])
        np.testing.assert_array_equal(windows[number].history[:, 0], expected)
    pairs = Pairs(store, 7, identity=False)
    assert len(pairs) == 21 + 21 + 28
    assert all(torch.isfinite(pairs[k].target).all() for k in range(len(pairs)))
    found = pooled_statistics([store])
    whole = np.concatenate([np.delete(u[0], 5, 0), u[1, 1:], u[2]])
    assert found.mean["sea"]["u"] == pytest.approx(np.nanmean(whole, dtype=float))
    u[:, ::2, 0, 0] = np.nan
    with pytest.raises(ValueError, match="all windows of 'sea' touch"):
        Windows(opened(tmp_path, u, "holes: skip\n"), 2, 1)


def test_holes_are_skipped_where_a_recipe_says_so(tmp_path: Path) -> None:
    u = island()
    u[0, 5, 0, 0] = np.nan
    store = opened(tmp_path, u)
    assert store.mask(0) is not None  # looked for under the rule of the file
    other = renamed(store, {"u": "elevation"}, holes="skip")
    whole = other.whole_frames(0)
    assert whole is not None
    assert np.flatnonzero(~whole).tolist() == [5]
    assert store.whole_frames(0) is None
    with pytest.raises(ValueError, match=r"a.h5: 'elevation' at frame 5 \(time 2.5\)"):
        other.trajectory(0)


def test_constant_fields_are_filled_under_the_mask_alone(tmp_path: Path) -> None:
    depth = np.where(LAND, np.nan, 100.0).astype("f4")
    store = opened(tmp_path, island(), "constants: {depth: depth}\n", depth=depth)
    constants = store.constants(0)
    assert constants is not None
    np.testing.assert_array_equal(constants[0], np.nan_to_num(depth))
    assert constants.equal(store.window(1).context.constants)
    depth[5, 4] = np.nan
    store = opened(tmp_path, island(), "constants: {depth: depth}\n", depth=depth)
    with pytest.raises(ValueError, match="the constant field 'depth' of trajectory 0 holds NaN"):
        store.constants(0)


def test_a_store_without_missing_values_reads_no_more_than_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, read = opened(tmp_path, values()), []
    original = Files.read

    def counted(self: Files, i: int, frames: slice, channels: object = None) -> np.ndarray:
        read.append(frames)
        return original(self, i, frames)

    monkeypatch.setattr(Files, "read", counted)
    store.window(0, 3, 2, 2)
    assert read == [slice(3, 7, 1)]
