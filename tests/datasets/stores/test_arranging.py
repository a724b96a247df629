"""Files of one dataset joined and divided: by time, by field, by file, at random."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray

from pelagos.datasets import open_store
from pelagos.datasets.sampling.windows import Windows
from pelagos.datasets.stores.store import Store
from pelagos.datasets.tools.check import check

T = 1_500_000_000 + 256 * np.arange(36)  # seconds: single precision resolves 128 of them
U = np.random.default_rng(0).normal(size=(36, 8)).astype("f4")


def described(folder: Path, text: str, files: Mapping[str, Mapping[str, np.ndarray]]) -> Path:
    """A folder of files with arrays, and their description."""
    folder.mkdir()
    head = "" if "axes" in text else "axes: [time, x]\nfields: {u: u}\ntime: t\n"
    (folder / "description.yaml").write_text(head + text + "\n")
    for name, arrays in files.items():
        with h5py.File(folder / name, "w") as file:
            for key, values in arrays.items():
                file[key] = values
    return folder


def months(*numbers: int) -> dict[str, dict[str, np.ndarray]]:
    """Files of twelve frames each, whose names do not follow their times."""
    part = {k: slice(12 * k, 12 * k + 12) for k in numbers}
    return {f"{'cab'[k]}.h5": {"u": U[part[k]], "t": T[part[k]]} for k in numbers}


def test_files_that_continue_each_other_are_one_run(tmp_path: Path) -> None:
    store = open_store(described(tmp_path / "run", "join: time", months(0, 1, 2)))
    assert (len(store), store.n_frames(0), store.dt, store.stretches(0)) == (
        1,
        36,
        256,
        [range(36)],
    )
    assert np.array_equal(store.trajectory(0)[:, 0], U)
    assert np.array_equal(store.read(0, 3, 33, 7)[:, 0], U[3:33:7])
    assert np.array_equal(store.trajectory_times(0), T)


def test_no_window_crosses_missing_times(tmp_path: Path) -> None:
    store = open_store(described(tmp_path / "run", "join: time", months(0, 2)))
    assert (store.dt, store.stretches(0)) == (256, [range(12), range(12, 24)])
    windows = Windows(store, 2, 1, every=2)
    starts = [*range(0, 10, 2), *range(12, 22, 2)]
    kept = np.concatenate([U[:12], U[24:]])
    assert len(windows) == len(starts)
    for window, start in zip(windows, starts, strict=True):
        assert np.array_equal(window.history[:, 0], kept[start : start + 2])
        assert window.lead_times.tolist() == [256]
    with pytest.raises(ValueError, match="crosses the gap between its frames 11 and 12"):
        store.window(0, 10, 2, 1)
    assert [f.kind for f in check(store).findings if f.kind in ("gap", "irregular_times")] == [
        "gap"
    ]


def test_files_that_overlap_are_refused(tmp_path: Path) -> None:
    files = months(0, 1)
    files["a.h5"]["t"] = T[11:23]
    with pytest.raises(ValueError, match=r"c\.h5 ends at 1500002816 and a\.h5 begins"):
        open_store(described(tmp_path / "run", "join: time", files))


def test_months_that_count_from_dates_of_their_own(tmp_path: Path) -> None:
    folder = described(tmp_path / "run", "join: time", {})
    for k, day in enumerate(("2001-01-01", "2001-02-01", "2001-03-01")):
        count = (31, 28, 31)[k]
        units = {"units": f"days since {day}", "calendar": "standard"}
        xarray.Dataset(
            {"u": (("t", "x"), np.full((count, 8), k, "f4")), "t": ("t", np.arange(count), units)}
        ).to_netcdf(folder / f"{2 - k}.nc", engine="h5netcdf")
    store = open_store(folder)
    assert (store.n_frames(0), store.dt) == (90, 1.0)
    assert store.trajectory(0)[:, 0, 0].tolist() == [0] * 31 + [1] * 28 + [2] * 31


def test_files_of_one_field_each(tmp_path: Path) -> None:
    text = "axes: [time, x]\nfields: {u: u, v: v}\nunits: {v: m/s}\ntime: t\njoin: [fields, time]"
    files = {}
    for k in range(3):
        part = slice(12 * k, 12 * k + 12)
        files |= {f"{n}{k}.h5": {n: s * U[part], "t": T[part]} for n, s in (("u", 1), ("v", -1))}
    store = open_store(described(tmp_path / "run", text, files))
    assert (store.fields, store.units, store.n_frames(0)) == (("u", "v"), {"v": "m/s"}, 36)
    assert np.array_equal(store.trajectory(0), np.stack([U, -U], 1))
    assert np.array_equal(store.read_raw(0, slice(5, 30, 3), [1])[:, 0], -U[5:30:3])
    del files["v2.h5"]
    with pytest.raises(ValueError, match=r"there are 3 with u .* and 2 with v"):
        open_store(described(tmp_path / "few", text, files))


def runs(count: int) -> dict[str, dict[str, np.ndarray]]:
    return {f"{k:02d}.h5": {"u": U + k, "t": T} for k in range(count)}


def shares(store: Store) -> dict[str, list[str]]:
    return {name: [store.origin(i)[0].stem for i in part] for name, part in store.splits.items()}


def test_files_of_one_run_each_are_divided_by_file(tmp_path: Path) -> None:
    folder = described(tmp_path / "d", "splits: {train: 0.6, valid: 0.2, test: 0.2}", runs(5))
    whole = {"train": ["00", "01", "02"], "valid": ["03"], "test": ["04"]}
    assert shares(open_store(folder)) == whole
    assert shares(open_store(folder, "valid")) == {"valid": ["03"]}
    drawn = {"train": 3, "valid": 2, "order": "random", "seed": 1}
    store = open_store(folder, splits=drawn)
    order = [f"{k:02d}" for k in np.random.default_rng(1).permutation(5)]
    assert shares(store) == {"train": sorted(order[:3]), "valid": sorted(order[3:])}
    with pytest.raises(ValueError, match=r"5 files are too few .*'test' would be empty"):
        open_store(folder, splits={"train": 0.9, "valid": 0.05, "test": 0.05})


def test_a_long_run_is_divided_in_time_with_a_gap(tmp_path: Path) -> None:
    text = "splits: {by: time, train: 0.6, valid: 0.2, test: 0.2, gap: 2}"
    folder = described(tmp_path / "d", text, runs(1))
    store = open_store(folder)
    assert [store.trajectory_times(i)[[0, -1]].tolist() for i in range(3)] == [
        T[[0, 21]].tolist(),
        T[[24, 28]].tolist(),
        T[[31, 35]].tolist(),
    ]
    assert np.array_equal(open_store(folder, "test").trajectory(0)[:, 0], U[31:])
    usual = open_store(folder, splits={"by": "time", "train": 16, "valid": 20})
    assert [usual.n_frames(i) for i in range(2)] == [16, 19]  # a tenth of the shortest
    with pytest.raises(ValueError, match=r"divide its frames: splits: \{by: time"):
        open_store(folder, splits={"train": 0.8, "valid": 0.2})
    with pytest.raises(ValueError, match="with a gap of 9: 'valid' would be empty"):
        open_store(folder, splits={"by": "time", "train": 0.8, "valid": 0.2, "gap": 9})


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": 0.8, "by": "tine"}, "splits.by is file, trajectory, time; got 'tine'"),
        ({"train": 0.8, "by": "time", "order": "random"}, "neighbours would leak"),
        ({"train": 0.8, "gap": 2}, "splits.gap is of splits by time"),
        ({"by": "time"}, "say how much goes to train and valid"),
        ({"train": 0.8, "seed": -1}, "splits.seed is a whole number"),
    ],
)
def test_splits_that_cannot_be(tmp_path: Path, splits: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_store(described(tmp_path / "d", "", runs(2)), splits=splits)


@pytest.mark.parametrize("kind", ["i8", "f8"])
def test_steps_are_compared_in_the_precision_of_the_file(tmp_path: Path, kind: str) -> None:
    times = 1_500_000_000 + np.cumsum(np.tile([256, 512], 18)).astype(kind)
    files = {"a.h5": {"u": U, "t": times}}
    assert open_store(described(tmp_path / "d", "", files)).dt is None


def test_groups_share_what_lies_outside_of_them(tmp_path: Path) -> None:
    text = "axes: [time, x]\nfields: {u: 'run*/u'}\nconstants: {depth: depth}\ntime: 'run*/t'"
    arrays = {f"run{k}/u": U + k for k in range(3)} | {"depth": U[0]}
    arrays |= {f"run{k}/t": (k + 1) * np.arange(36.0) for k in range(3)}
    store = open_store(described(tmp_path / "d", text, {"a.h5": arrays}))
    assert all(np.array_equal(store.constants(i)[0], U[0]) for i in range(3))
    assert [store.window(i, 0, 2, 1).dt for i in range(3)] == [1, 2, 3]
    windows = Windows(store, 2, 1)
    assert [part.dt for part in windows.by_step()] == [1, 2, 3]
    assert sum(map(len, windows.by_step())) == len(windows)
