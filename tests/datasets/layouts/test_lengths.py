"""Trajectories of one file that differ in their length, times and domain."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from pelagos.datasets import Store, open_store
from pelagos.datasets.sampling.windows import Windows
from pelagos.datasets.tools.convert import convert

LENGTHS = (4, 6, 6, 3)
U = np.random.default_rng(0).normal(size=(4, 6, 8)).astype("f4")
PADDED = U.copy()
for row, kept in enumerate(LENGTHS):
    PADDED[row, kept:] = np.nan
GROUPS = "axes: [time, x]\nfields: {u: 'run*/u'}\n"


def opened(folder: Path, text: str, arrays: dict[str, np.ndarray]) -> Store:
    folder.mkdir(exist_ok=True)
    (folder / "description.yaml").write_text(text)
    with h5py.File(folder / "a.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return open_store(folder)


def check_values(store: Store, steps: list[float]) -> None:
    assert len(store) == 4
    assert [store.n_frames(i) for i in range(4)] == [*LENGTHS]
    for i, length in enumerate(LENGTHS):
        np.testing.assert_array_equal(store.trajectory(i)[:, 0], U[i, :length])
        np.testing.assert_allclose(store.trajectory_times(i), steps[i] * np.arange(length))
        assert store.mask(i) is None


def test_groups_of_different_length(tmp_path: Path) -> None:
    steps = [0.5, 0.5, 0.25, 0.25]
    arrays = {f"run{i}/u": U[i, :n] for i, n in enumerate(LENGTHS)}
    arrays |= {f"run{i}/t": steps[i] * np.arange(n) for i, n in enumerate(LENGTHS)}
    arrays |= {f"run{i}/nu": np.float64(i) for i in range(4)}
    text = GROUPS + "time: 'run*/t'\nparameters: {nu: 'run*/nu'}\nsplits: {train: 3, valid: 1}\n"
    store = opened(tmp_path / "a", text, arrays)
    check_values(store, steps)
    assert store.parameter_table()[:, 0].tolist() == [0, 1, 2, 3]
    assert store.splits == {"train": range(3), "valid": range(3, 4)}
    assert len(Windows(store, 2, 1)) == 2 + 4 + 4 + 1
    check_values(open_store(convert(tmp_path / "a", tmp_path / "b")), steps)


@pytest.mark.parametrize("padding", ["nan", "-9.0", "frames"])
def test_padded_trajectories(tmp_path: Path, padding: str) -> None:
    values = PADDED if padding == "nan" else np.where(np.isnan(PADDED), np.float32(-9), PADDED)
    times = 0.5 * np.arange(6) + np.zeros((4, 1))
    times[np.isnan(PADDED[..., 0])] = np.nan
    text = f"axes: [trajectory, time, x]\nfields: {{u: u}}\ntime: t\npadding: {padding}\n"
    store = opened(tmp_path, text, {"u": values, "t": times, "frames": np.array(LENGTHS)})
    check_values(store, [0.5] * 4)
    assert store.dt == 0.5
    assert len(Windows(store, 2, 1)) == 2 + 4 + 4 + 1
    seen = store.to_xarray()
    np.testing.assert_array_equal(seen["u"], PADDED)
    np.testing.assert_array_equal(seen["physical_time"], times)
    np.testing.assert_array_equal(seen["u"][3, 1:5], PADDED[3, 1:5])


def test_padding_keeps_land_and_the_unit(tmp_path: Path) -> None:
    values = np.where(np.isnan(PADDED), np.float32(-9), PADDED)
    values[:, :, 3] = np.nan
    text = (
        "axes: [trajectory, time, x]\nfields: {u: u}\ntime: {step: 1}\npadding: -9\n"
        "subtract: {u: 2.0}\nholes: skip\n"
    )
    store = opened(tmp_path, text, {"u": values})
    assert [store.n_frames(i) for i in range(4)] == [*LENGTHS]
    assert store.mask(3)[0].tolist() == [True] * 3 + [False] + [True] * 4
    assert all(whole.all() for i in range(4) if (whole := store.whole_frames(i)) is not None)


def test_padding_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    text = "axes: [trajectory, time, x]\nfields: {u: u}\ntime: {step: 1}\npadding: %s\n"
    empty = PADDED.copy()
    empty[2] = np.nan
    for padding, message in (
        ("nan", "trajectory 2 has no frame but padding"),
        ("n", r"'n' must have the number of frames of each of 4 trajectories"),
        ("none", "no array 'none'"),
    ):
        with pytest.raises(ValueError, match=message):
            opened(tmp_path, text % padding, {"u": empty, "n": np.arange(3)})
    text = "axes: [trajectory, time, x]\nfields: {u: u}\ntime: t\npadding: nan\n"
    with pytest.raises(ValueError, match="the times of the frames hold NaN"):
        opened(tmp_path, text, {"u": PADDED, "t": np.array([0, 1, 2, np.nan, 4, 5])})


def test_without_padding_the_end_is_told_of(tmp_path: Path) -> None:
    text = "axes: [trajectory, time, x]\nfields: {u: u}\ntime: {step: 1}\n"
    store = opened(tmp_path, text, {"u": PADDED})
    with pytest.raises(ValueError, match=r"frame 4 .*padding: nan"):
        store.trajectory(0)


def test_steps_of_each_trajectory(tmp_path: Path) -> None:
    text = "axes: [trajectory, time, x]\nfields: {u: u}\ntime: {start: t0, step: dt}\n"
    steps, start = np.array([1.0, 2, 2, 4]), np.array([0.0, 0, 5, 5])
    store = opened(tmp_path / "a", text, {"u": U, "dt": steps, "t0": start})
    times = start[:, None] + steps[:, None] * np.arange(6)
    np.testing.assert_array_equal([store.trajectory_times(i) for i in range(4)], times)
    assert store.dt is None
    folder = tmp_path / "b"
    folder.mkdir()
    (folder / "description.yaml").write_text(GROUPS + "time: {step: 'run*@dt'}\n")
    with h5py.File(folder / "a.h5", "w") as file:
        for i in range(4):
            file[f"run{i}/u"] = U[i]
            file[f"run{i}"].attrs["dt"] = steps[i]
    store = open_store(folder)
    assert [store.timeline(i).step for i in range(4)] == steps.tolist()


@pytest.mark.parametrize("kind", [np.int64, np.float64, np.int32])
def test_steps_of_256_and_512_seconds_are_not_one(tmp_path: Path, kind: type) -> None:
    """Seconds of this century: single precision has steps of 128."""
    text = "axes: [trajectory, time, x]\nfields: {u: u}\ntime: t\n"
    times = 1_700_000_000 + np.array([[256], [512], [256], [512]]) * np.arange(6)
    store = opened(tmp_path, text, {"u": U, "t": times.astype(kind)})
    assert store.dt is None
    assert [store.timeline(i).step for i in range(4)] == [256, 512, 256, 512]
    times[0, 3] += 128
    store = opened(tmp_path, text, {"u": U, "t": times.astype(kind)})
    assert store.timeline(0).step is None


def domains(folder: Path, more: str, lengths: tuple[int, ...] = (6, 6)) -> Store:
    """Two runs of two domains in groups."""
    arrays = {f"run{i}/u": U[i, :n] for i, n in enumerate(lengths)}
    arrays |= {f"run{i}/x": (1 + i) * np.arange(8.0) for i in range(2)}
    return opened(folder, GROUPS + "time: {step: 1}\n" + more, arrays)


@pytest.mark.parametrize("lengths", [(6, 6), (6, 4)])
def test_domains_of_groups_are_compared(tmp_path: Path, lengths: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"from 0 to 7 along x in.* from 0 to 14 .*run1"):
        domains(tmp_path, "grid: {x: 'run*/x'}\n", lengths)
    (tmp_path / "description.yaml").write_text(
        "axes: [time, x]\nfields: {u: 'run1/u'}\ntime: {step: 1}\ngrid: {x: 'run1/x'}\n"
    )
    assert open_store(tmp_path).grid.lengths == (16.0,)  # what the message says


def test_scales_of_groups_are_their_own(tmp_path: Path) -> None:
    """The file attaches to each run its own coordinates and times."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for i in range(2):
            group = file.create_group(f"run{i}")
            group["u"] = U[i]
            for axis, (name, values) in enumerate(
                (("time", (1 + i) * np.arange(6.0)), ("x", np.arange(8.0)))
            ):
                group[name] = values
                group[name].make_scale(name)
                group["u"].dims[axis].attach_scale(group[name])
    (tmp_path / "description.yaml").write_text(GROUPS)
    store = open_store(tmp_path)
    assert [store.timeline(i).step for i in range(2)] == [1, 2]
    with h5py.File(path, "r+") as file:
        file["run1/x"][...] = np.arange(8.0) * 3
    with pytest.raises(ValueError, match=r"domains of their own.*0 to 7.*run0.*0 to 21.*run1"):
        open_store(tmp_path)


def test_domains_of_trajectories_are_compared(tmp_path: Path) -> None:
    text = "axes: [trajectory, time, x]\nfields: {u: u}\ntime: {step: 1}\ngrid: {x: x}\n"
    x = np.arange(8.0) * np.ones((4, 1))
    assert opened(tmp_path, text, {"u": U, "x": x}).grid.lengths == (8.0,)
    x[2] *= 0.5
    with pytest.raises(ValueError, match=r"0 to 7 along x in 0, .* 0 to 3.5 in 2"):
        opened(tmp_path, text, {"u": U, "x": x})


def test_units_of_groups_are_compared(tmp_path: Path) -> None:
    domains(tmp_path, "")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["run0/u"].attrs["units"], file["run1/u"].attrs["units"] = "m/s", "mm/s"
    with pytest.raises(ValueError, match=r"run0/u has units 'm/s', run1/u 'mm/s'"):
        open_store(tmp_path)


def test_domains_of_files_are_compared(tmp_path: Path) -> None:
    text = "axes: [time, x]\nfields: {u: u}\ntime: {step: 1}\ngrid: {x: x}\n"
    opened(tmp_path, text, {"u": U[0], "x": np.arange(8.0)})
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["u"], file["x"] = U[1], 2 * np.arange(8.0)
    with pytest.raises(ValueError, match=r"a.h5 has grid lengths \(8.0,\), .*b.h5 has \(16.0,\)"):
        open_store(tmp_path)


def test_groups_of_other_points_are_refused(tmp_path: Path) -> None:
    arrays = {"run0/u": U[0], "run1/u": U[1][:, :5]}
    with pytest.raises(ValueError, match=r"domains of their own, \(8,\) and \(5,\) points"):
        opened(tmp_path, GROUPS + "time: {step: 1}\n", arrays)
