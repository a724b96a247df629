"""Stores: one contract over every layout, and errors that say what to do."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from layout_files import FILES

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid, spacing
from pelagos.datasets.fields.window import collate
from pelagos.datasets.files import hdf5
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.datasets.layouts.well_reader import WellFile
from pelagos.datasets.tools.summary import summary

SAMPLES = Path(__file__).parents[2] / "samples"
T = 7


def write(path: Path, n: int = 2, seed: int = 0, **changes: Any) -> WellData:
    rng = np.random.default_rng(seed)
    shape = (6, 4)
    values: dict[str, Any] = {
        "dataset": "example",
        "grid": Grid(shape, (2.0, 3.0), ("periodic", "wall")),
        "times": 1.0 + 0.25 * np.arange(T),
        "fields": {
            name: rng.standard_normal((n, T, *shape)).astype(np.float32)
            for name in ("pressure", "velocity_x", "velocity_y")
        },
        "constant_fields": {"depth": rng.random((n, *shape)).astype(np.float32)},
        "parameters": {"nu": np.array(0.01), "speed": np.arange(n) + 10.0 * seed},
        "units": {"pressure": "Pa", "time": "s", "length": "m", "nu": "m^2/s"},
        "provenance": {"seed": seed},
    }
    data = WellData(**{**values, **changes})
    write_file(path, data)
    return data


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A dataset of 3 training trajectories in two files, 2 valid and 1 test."""
    for split, name, n, seed in [
        ("valid", "a", 2, 2),
        ("train", "b", 1, 1),
        ("train", "a", 2, 0),
        ("test", "a", 1, 3),
    ]:
        write(tmp_path / "example" / "data" / split / f"{name}.hdf5", n, seed)
    return tmp_path / "example"


@pytest.mark.parametrize(
    ("provenance", "lines"),
    [
        (
            {"step": 0.1, "formula": "u_t = ν u_xx", "author": "me", "equation": "heat"},
            ["provenance      equation: heat"]
            + [" " * 16 + text for text in ("formula: u_t = ν u_xx", "step: 0.1")],
        ),
        ({"by": "me", "about": {"a": 1}}, ["provenance      keys: about, by"]),
        ({}, []),
    ],
)
def test_summaries_are_for_people(tmp_path: Path, provenance: dict, lines: list[str]) -> None:
    """Units of 1 are left out, other units kept; provenance is short."""
    fields = {name: np.zeros((1, 3, 4)) for name in ("u", "v")}
    units = {"u": "1", "v": "m/s", "length": "1", "time": "s", "mach": "1", "depth": "m"}
    data = WellData(
        "plain",
        Grid.unit((4,)),
        0.5 * np.arange(3),
        fields,
        parameters={"mach": np.array([0.5]), "depth": np.array([2.0])},
        units=units,
        provenance=provenance,
    )
    write_file(tmp_path / "plain.hdf5", data)
    text = summary(open_store(tmp_path / "plain.hdf5")).splitlines()
    size = next(k for k, line in enumerate(text) if line.startswith("size"))
    assert text[1:size] == [
        "fields          u, v [m/s]",
        "grid            4",
        "axis x          [0, 1), spacing 0.25, periodic",
        "frames          3 per trajectory, 0 to 1 s",
        "time step       0.5 s",
        "mach            0.5",
        "depth           2 m",
        "splits          all 1",
    ]
    assert text[len(text) - len(lines) :] == lines


def test_what_a_store_says_of_itself(root: Path) -> None:
    assert repr(open_store(root)).splitlines() == [
        "Store 'example'",
        "  fields: pressure, velocity_x, velocity_y",
        "  with: depth, nu, speed",
        "  grid: 6 × 4 points, lengths (2.0, 3.0), periodic, wall",
        "  frames: 7, 0.25 apart",
        "  splits: train 3, valid 2, test 1",
    ]


# ------------------------------------------------------------------ splits and files


def test_splits_come_in_order_and_files_by_name(root: Path) -> None:
    opened = open_store(root)
    assert opened.splits == {"train": range(3), "valid": range(3, 5), "test": range(5, 6)}
    assert [float(opened.parameters(i)[1]) for i in range(6)] == [0, 1, 10, 20, 21, 30]
    assert opened.name == "example"
    assert opened.fields == ("pressure", "velocity_x", "velocity_y")
    assert opened.dt == 0.25
    assert opened.times[0] == 1.0
    np.testing.assert_array_equal(opened.parameter_table()[:, 0], 0.01)


def test_any_part_of_a_dataset_opens(root: Path) -> None:
    for path in (root / "data", str(root), root / "data" / "train" / ".."):
        assert len(open_store(path)) == 6
    assert open_store(root / "data" / "valid").splits == {"valid": range(2)}
    assert open_store(root / "data" / "train" / "b.hdf5").splits == {"train": range(1)}
    assert open_store(root, "train").splits == {"train": range(3)}
    loose = root.parent / "loose.of any name"
    shutil.copy(root / "data" / "train" / "b.hdf5", loose)
    assert open_store(loose).splits == {"all": range(1)}


def test_a_damaged_split_does_not_hinder_the_others(root: Path) -> None:
    (root / "data" / "train" / "b.hdf5").write_bytes(b"")
    assert len(open_store(root, "test")) == 1


def test_unfinished_files_are_left_out(root: Path) -> None:
    (root / "data" / "train" / ".c.hdf5.partial").write_bytes(b"half")
    (root / "data" / "train" / ".c.hdf5").write_bytes(b"half")
    (root / "data" / "train" / "notes.txt").write_text("mine")
    assert len(open_store(root)) == 6


def test_few_files_are_open_at_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pelagos.datasets.stores.files.MAX_OPEN", 2)
    opened = open_store(root)
    values = [opened.trajectory(i) for i in range(6)]
    held = [source for source in opened.sources if source._file._arrays]
    assert len(held) == 2
    assert torch.equal(opened.trajectory(0), values[0])


def test_xarray_carries_what_belongs_to_the_fields(root: Path) -> None:
    data = open_store(root).to_xarray()
    assert data["pressure"].attrs == {"units": "Pa"}
    assert data["time"].attrs == {"units": "s"}
    np.testing.assert_array_equal(data["time"], 1.0 + 0.25 * np.arange(T))
    assert data["split"].values.tolist() == ["train"] * 3 + ["valid"] * 2 + ["test"]
    assert data["speed"].values.tolist() == [0, 1, 10, 20, 21, 30]
    assert data["depth"].dims == ("trajectory", "x", "y")
    constants = np.stack([open_store(root).constants(i)[0] for i in range(6)])
    np.testing.assert_array_equal(data["depth"], constants)
    np.testing.assert_array_equal(data["depth"][-2, 1], constants[4, 1])
    chosen = data.where(data.split == "valid", drop=True).sel(time=1.5, x=0, method="nearest")
    assert chosen["velocity_y"].shape == (2, 4)


def test_xarray_of_the_edge_cases() -> None:
    data = open_store(SAMPLES / "well_edge_cases.hdf5").to_xarray()
    assert data["drive"].dims == ("trajectory", "time")  # a scalar that varies in time
    np.testing.assert_array_equal(data["drive"][0], data["drive"][1])
    assert data["physical_time"].dims == ("trajectory", "time")
    assert data["mask"].values.sum() == 32
    assert data["source"].dims == ("trajectory",)


# ------------------------------------------------------------------ times


def test_irregular_times_give_their_own_lead_times(tmp_path: Path) -> None:
    times = np.array([0.0, 1.0, 3.0, 6.0, 10.0, 15.0, 21.0])
    write(tmp_path / "a.hdf5", times=times)
    opened = open_store(tmp_path)
    assert opened.dt is None
    window = opened.window(0, start=1, history=2, horizon=3)
    assert window.dt is None
    assert window.lead_times.tolist() == [3.0, 7.0, 12.0]


def test_a_regular_window_of_irregular_times_has_a_step(tmp_path: Path) -> None:
    write(tmp_path / "a.hdf5", times=np.array([0.0, 100, 101, 102, 103, 104, 105]))
    window = open_store(tmp_path).window(0, start=1, history=2, horizon=2)
    assert window.dt == 1.0
    assert window.lead_times.tolist() == [1.0, 2.0]
    assert open_store(tmp_path).window(0, start=0, history=2, horizon=2).dt is None


def test_trajectories_with_their_own_steps(tmp_path: Path) -> None:
    write(tmp_path / "a.hdf5", times=0.1 * np.arange(T))
    write(tmp_path / "b.hdf5", times=0.2 * np.arange(T))
    opened = open_store(tmp_path)
    assert opened.dt is None
    assert opened.window(0, history=2).dt == pytest.approx(0.1)
    assert opened.window(2, history=2).dt == pytest.approx(0.2)
    assert opened.to_xarray()["physical_time"].dims == ("trajectory", "time")


def test_single_precision_times_have_one_step(tmp_path: Path) -> None:
    write(tmp_path / "a.hdf5", times=(1000 + 0.1 * np.arange(T)).astype(np.float32).astype(float))
    opened = open_store(tmp_path)
    assert opened.dt == pytest.approx(0.1, rel=1e-3)
    windows = [opened.window(i, start, history=2) for i in range(2) for start in range(4)]
    assert collate(windows).dt == opened.dt  # equal to the bit, or they would not collate


def test_shorter_trajectories_end_in_nan(tmp_path: Path) -> None:
    write(tmp_path / "a.hdf5")
    short = {name: np.zeros((2, 4, 6, 4)) for name in ("pressure", "velocity_x", "velocity_y")}
    write(tmp_path / "b.hdf5", fields=short, times=1.0 + 0.25 * np.arange(4))
    opened = open_store(tmp_path)
    assert [opened.n_frames(i) for i in range(4)] == [7, 7, 4, 4]
    seen = opened.to_xarray()
    ended = np.zeros((4, 7), bool)
    ended[2:, 4:] = True
    np.testing.assert_array_equal(np.isnan(seen["pressure"]).all(("x", "y")), ended)
    np.testing.assert_array_equal(np.isnan(seen["physical_time"]), ended)
    np.testing.assert_array_equal(seen["pressure"][0], opened.trajectory(0)[:, 0])


# ------------------------------------------------------------------ reading


def test_contiguous_data_are_mapped_and_chunked_data_are_not(root: Path) -> None:
    path = root / "data" / "train" / "a.hdf5"
    handle = hdf5.Hdf5File(path)
    assert isinstance(handle.array("t0_fields/pressure"), np.ndarray)
    expected = open_store(path).trajectory(1)
    with h5py.File(path, "a") as file:
        values, flags = file["t0_fields/pressure"][()], dict(file["t0_fields/pressure"].attrs)
        del file["t0_fields/pressure"]
        chunked = file.create_dataset("t0_fields/pressure", data=values, compression="lzf")
        chunked.attrs.update(flags)
    assert isinstance(hdf5.Hdf5File(path).array("t0_fields/pressure"), h5py.Dataset)
    assert torch.equal(open_store(path).trajectory(1), expected)


def test_only_the_frames_of_a_window_are_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    read = WellFile.read

    def spy(self: WellFile, trajectory: int, frames: slice, channels: Sequence[int]) -> np.ndarray:
        seen.append((trajectory, frames))
        return read(self, trajectory, frames, channels)

    monkeypatch.setattr(WellFile, "read", spy)
    opened = open_store(root)
    assert not seen
    opened.window(1, start=1, history=2, horizon=1, stride=2)
    assert seen == [(1, slice(1, 6, 2))]


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_worker_processes_read_the_same(root: Path, method: str) -> None:
    with h5py.File(root / "data" / "train" / "b.hdf5", "a") as file:  # one file through h5py
        values, flags = file["t0_fields/pressure"][()], dict(file["t0_fields/pressure"].attrs)
        del file["t0_fields/pressure"]
        file.create_dataset("t0_fields/pressure", data=values, chunks=True).attrs.update(flags)
    opened = open_store(root, "train")
    expected = [opened.trajectory(i) for i in range(3)]  # handles are open before the fork
    with multiprocessing.get_context(method).Pool(1) as pool:
        found = pool.map(opened.trajectory, range(3))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("name", "where", "message"),
    [
        ("t0_fields/pressure", (1, 3, 2, 2), r"b\.hdf5: 'pressure' at frame 3 \(time 1.75\)"),
        ("t1_fields/velocity", (1, 5, 0, 0, 1), r"b\.hdf5: 'velocity_y' at frame 5 \(time 2.25\)"),
    ],
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named(
    tmp_path: Path, name: str, where: tuple[int, ...], message: str, value: float
) -> None:
    write(tmp_path / "a.hdf5")
    write(tmp_path / "b.hdf5")
    with h5py.File(tmp_path / "b.hdf5", "a") as file:
        file[name][where] = value
    opened = open_store(tmp_path)
    assert torch.isfinite(opened.read(3, 0, 3)).all()
    with pytest.raises(ValueError, match=message + " of trajectory 1 holds NaN or infinite"):
        opened.window(3, start=1, history=1, horizon=2, stride=2)


def test_constant_fields_that_are_not_finite_are_named(tmp_path: Path) -> None:
    write(tmp_path / "a.hdf5")
    with h5py.File(tmp_path / "a.hdf5", "a") as file:
        file["t0_fields/depth"][1, 0, 0] = np.nan
    opened = open_store(tmp_path)
    opened.window(0)
    with pytest.raises(ValueError, match=r"constant field 'depth' of trajectory 1 holds NaN"):
        opened.window(1)


def test_parameters_that_are_not_finite_are_named(tmp_path: Path) -> None:
    write(tmp_path / "a.hdf5")
    with h5py.File(tmp_path / "a.hdf5", "a") as file:
        file["scalars/speed"][1] = np.inf
    with pytest.raises(ValueError, match="parameter 'speed' of trajectory 1 holds NaN or"):
        open_store(tmp_path).window(1)


def test_damaged_data_name_the_file(root: Path) -> None:
    path = root / "data" / "train" / "b.hdf5"
    with h5py.File(path, "a") as file:
        values, flags = file["t0_fields/pressure"][()], dict(file["t0_fields/pressure"].attrs)
        del file["t0_fields/pressure"]
        stored = file.create_dataset("t0_fields/pressure", data=values, fletcher32=True)
        stored.attrs.update(flags)
        place = stored.id.get_chunk_info(0).byte_offset
    with path.open("r+b") as raw:
        raw.seek(place)
        raw.write(b"damage")
    opened = open_store(root)
    opened.trajectory(0)
    with pytest.raises(ValueError, match=r"b\.hdf5 is damaged"):
        opened.trajectory(2)


def test_large_finite_values_pass(tmp_path: Path) -> None:
    write(
        tmp_path / "a.hdf5",
        fields={"pressure": np.full((1, T, 6, 4), 3e38)},
        constant_fields={},
        parameters={},
        units={},
    )  # their sum is infinite in single precision
    assert open_store(tmp_path).trajectory(0).max() == np.float32(3e38)


def test_frames_that_are_not_there(root: Path) -> None:
    opened = open_store(root)
    with pytest.raises(ValueError, match="has frames 0 to 6; got start 2, stop 9"):
        opened.read(0, 2, 9)
    with pytest.raises(ValueError, match="has trajectories 0 to 5; got 6"):
        opened.trajectory(6)
    with pytest.raises(ValueError, match="trajectory 0 has 7 frames"):
        opened.window(0, start=1, history=4, horizon=3)
    with pytest.raises(ValueError, match="no window of 0 history"):
        opened.window(0, history=0)


def empty(root: Path) -> Path:
    (root / "empty").mkdir()
    return root / "empty"


def zero_bytes(root: Path) -> Path:
    (root / "zero.h5").write_bytes(b"")
    return root / "zero.h5"


def text(root: Path) -> Path:
    (root / "data" / "train" / "a.hdf5").write_text("not HDF5 at all")
    return root


def truncated(root: Path) -> Path:
    path = root / "data" / "train" / "b.hdf5"
    path.write_bytes(path.read_bytes()[:-100])
    return root


def foreign(root: Path) -> Path:
    with h5py.File(root / "foreign.h5", "w") as file:
        file["weights"] = [1.0]
    return root / "foreign.h5"


def foreign_beside(root: Path) -> Path:
    shutil.move(foreign(root), root / "data" / "train" / "z.hdf5")
    return root


def interrupted(root: Path) -> Path:
    (root / "simulation.yaml").write_text("seed: 0")
    return root


def interrupted_split(root: Path) -> Path:
    return interrupted(root) / "data" / "valid"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root / "nowhere", r"no such file or folder: .*nowhere"),
        (lambda root: root / ("x" * 5000), r"no such file or folder: .{1,300}$"),
        (empty, r"no HDF5 files in .*empty; expected"),
        (zero_bytes, r"zero\.h5 is not an HDF5 file \(0 bytes\), nor NetCDF.*, The Well"),
        (text, r"a\.hdf5 is not an HDF5 file \(15 bytes\)"),
        (truncated, r"b\.hdf5 is truncated or damaged"),
        (foreign, r"foreign\.h5 is HDF5 with weights .*, which is no known layout; describe"),
        (foreign_beside, r"z\.hdf5 is HDF5 with weights "),
        (interrupted, r"example is incomplete \(it has no stats\.yaml\)"),
        (interrupted_split, r"example is incomplete"),
    ],
)
def test_what_cannot_be_opened_is_explained_in_one_line(
    root: Path, make: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        open_store(make(root))
    assert "\n" not in str(error.value)


def test_statistics_complete_a_simulation(root: Path) -> None:
    interrupted(root)
    (root / "stats.yaml").write_text("mean: {}")
    assert len(open_store(root)) == 6


def test_unknown_splits_name_the_known_ones(root: Path) -> None:
    with pytest.raises(ValueError, match="no split 'validation'; it has: train, valid, test"):
        open_store(root, "validation")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "other"}, "has name example, .* has other"),
        ({"constant_fields": {}}, r"has constant_fields \('depth',\), .* has \(\)"),
        ({"parameters": {"nu": np.array(1.0)}}, "has parameter_names"),
        ({"units": {"pressure": "bar"}}, "has pressure in the units Pa, .*b.hdf5 in bar"),
        ({"grid": Grid((6, 4), (2.0, 3.0), ("wall", "wall"))}, "has grid boundary"),
        ({"grid": Grid((6, 4), (2.0, 4.0), ("periodic", "wall"))}, "has grid lengths"),
        ({"grid": Grid((6, 4), (2.0, 3.0), ("periodic", "wall"), (0.0, 1.0))}, "has grid origin"),
    ],
)
def test_files_that_disagree_are_both_named(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write(tmp_path / "a.hdf5")
    write(tmp_path / "b.hdf5", **changes)
    with pytest.raises(ValueError, match=message) as error:
        open_store(tmp_path)
    assert "a.hdf5" in str(error.value)
    assert "b.hdf5" in str(error.value)


@pytest.mark.parametrize(("lengths", "agree"), [((1e-6, 2e-6), False), ((1e-6, 1.000001e-6), True)])
def test_lengths_are_compared_by_their_own_size(
    tmp_path: Path, lengths: tuple[float, float], agree: bool
) -> None:
    for name, length in zip("ab", lengths, strict=True):
        grid = Grid((8,), (length,), ("periodic",))
        data = WellData("mine", grid, np.arange(3.0), {"u": np.ones((1, 3, 8))})
        write_file(tmp_path / f"{name}.hdf5", data)
    if agree:
        assert len(open_store(tmp_path)) == 2
    else:
        with pytest.raises(ValueError, match=r"must agree: .* has grid lengths"):
            open_store(tmp_path)


def test_the_splits_that_are_named_are_those_that_can_be_opened(tmp_path: Path) -> None:
    path = FILES["pdebench-burgers"](tmp_path).path
    with pytest.raises(ValueError, match=r"no split 'all'; it has: test, train$"):
        open_store(path, "all")


def test_a_folder_of_another_name_is_not_left_out(root: Path) -> None:
    (root / "data" / "valid").rename(root / "data" / "val")
    with pytest.raises(ValueError, match="val would not be read; name it 'valid', or a link to it"):
        open_store(root)


def test_a_large_offset_hides_no_irregular_times() -> None:
    day = np.array([0, 1, 2, 30, 31, 50.0])
    assert spacing(day) is None
    assert spacing(1.7e9 + day) is None  # seconds since 1970, in double precision
    assert spacing(1.7e9 + 0.1 * np.arange(6)) == pytest.approx(0.1, rel=1e-6)
    assert spacing((1000 + 0.1 * np.arange(6)).astype("f4").astype("f8")) is not None


def test_parameters_named_like_axes_stand_beside_them(tmp_path: Path) -> None:
    parameters = {"x": np.array(3.0), "time": np.arange(2.0)}
    write(tmp_path / "a.hdf5", parameters=parameters, units={})
    data = open_store(tmp_path).to_xarray()
    assert data["x"].dims == ("x",)
    assert data["time"].dims == ("time",)
    assert data["x_parameter"].values.tolist() == [3.0, 3.0]
    assert data["time_parameter"].values.tolist() == [0.0, 1.0]
