"""The Well's layout: what is written is read back, and every documented variant is read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import yaml

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.layouts import well
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.datasets.layouts.well_reader import WellFile
from pelagos.datasets.stores import survey
from pelagos.datasets.stores.statistics import write_stats

SAMPLE = Path(__file__).parents[2] / "samples" / "well_edge_cases.hdf5"
N, T = 3, 5


def make_data(shape: tuple[int, ...] = (6, 4), **changes: Any) -> WellData:
    rng = np.random.default_rng(0)
    names = ["velocity_x", "velocity_y", "velocity_z"][: len(shape)]
    boundary = ("periodic", "wall-open", "open")[: len(shape)]
    values: dict[str, Any] = {
        "dataset": "example",
        "grid": Grid(
            shape, (2.0, 3.0, 0.7)[: len(shape)], boundary, (0.1, -1.0, 5.0)[: len(shape)]
        ),
        "times": 0.1 * np.arange(T),
        "fields": {
            name: rng.standard_normal((N, T, *shape)).astype(np.float32)
            for name in [*names, "pressure"]
        },
        "constant_fields": {"depth": rng.random((N, *shape)).astype(np.float32)},
        "parameters": {"nu": np.array(0.01), "source": np.array([1.0, 2.0, 4.0])},
        "units": {**dict.fromkeys(names, "m/s"), "time": "s", "length": "m", "nu": "m^2/s"},
        "provenance": {"seed": 7, "note": "ν"},
    }
    return WellData(**{**values, **changes})


def read_all(file: WellFile, trajectory: int) -> np.ndarray:
    return file.read(trajectory, slice(None), range(len(file.header.fields)))


@pytest.mark.parametrize("shape", [(6,), (6, 4), (6, 4, 3)])
def test_what_is_written_is_read_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    data = make_data(shape)
    write_file(tmp_path / "a.hdf5", data)
    file = WellFile(tmp_path / "a.hdf5")
    velocity = tuple(f"velocity_{axis}" for axis in "xyz"[: len(shape)])
    assert (file.header.name, file.header.grid, len(file)) == ("example", data.grid, N)
    assert file.header.fields == ("pressure", *velocity)
    assert file.header.constant_fields == ("depth",)
    assert file.header.units == data.units
    assert file.header.provenance == data.provenance
    assert file.header.parameter_names == ("nu", "source")
    np.testing.assert_array_equal(file.header.times, data.times)
    np.testing.assert_array_equal(file.header.parameters, [[0.01, 1.0], [0.01, 2.0], [0.01, 4.0]])
    for i in range(N):
        expected = np.stack([data.fields[name][i] for name in file.header.fields], axis=1)
        np.testing.assert_array_equal(read_all(file, i), expected)
        np.testing.assert_array_equal(file.constants(i)[0], data.constant_fields["depth"][i])


def test_only_the_asked_frames_and_channels(tmp_path: Path) -> None:
    data = make_data()
    write_file(tmp_path / "a.hdf5", data)
    values = WellFile(tmp_path / "a.hdf5").read(2, slice(1, 5, 2), [2, 0])
    expected = np.stack([data.fields[name][2, 1:5:2] for name in ("velocity_y", "pressure")], 1)
    np.testing.assert_array_equal(values, expected)


def test_incomplete_vectors_stay_scalars(tmp_path: Path) -> None:
    data = make_data()
    fields = {"velocity_x": data.fields["velocity_x"], "velocity_z": data.fields["pressure"]}
    write_file(tmp_path / "a.hdf5", make_data(fields=fields, units={}))
    file = WellFile(tmp_path / "a.hdf5")
    assert file.header.fields == ("velocity_x", "velocity_z")
    assert not h5py.File(tmp_path / "a.hdf5")["t1_fields"].keys()


def test_the_file_has_the_published_structure(tmp_path: Path) -> None:
    write_file(tmp_path / "a.hdf5", make_data())
    with h5py.File(tmp_path / "a.hdf5") as file:
        assert isinstance(file.attrs["dataset_name"], str)
        assert file.attrs["grid_type"] == "cartesian"
        assert (file.attrs["n_spatial_dims"], file.attrs["n_trajectories"]) == (2, N)
        assert list(file.attrs["simulation_parameters"]) == ["nu"]
        assert file.attrs["nu"] == 0.01
        assert list(file["dimensions"].attrs["spatial_dims"]) == ["x", "y"]
        assert list(file["scalars"].attrs["field_names"]) == ["nu", "source"]
        assert list(file["t0_fields"].attrs["field_names"]) == ["pressure", "depth"]
        assert list(file["t1_fields"].attrs["field_names"]) == ["velocity"]
        assert list(file["t2_fields"].attrs["field_names"]) == []
        flags = {
            "dimensions/time": (False, True),
            "dimensions/x": (False, False),
            "scalars/nu": (False, False),
            "scalars/source": (True, False),
            "t0_fields/pressure": (True, True),
            "t0_fields/depth": (True, False),
            "t1_fields/velocity": (True, True),
            "boundary_conditions/y_wall": (False, False),
        }
        for path, expected in flags.items():
            found = [file[path].attrs[name] for name in ("sample_varying", "time_varying")]
            assert all(isinstance(flag, np.bool_) for flag in found)
            assert tuple(found) == expected, path
        velocity = file["t1_fields/velocity"]
        assert (velocity.shape, velocity.dtype) == ((N, T, 6, 4, 2), np.float32)
        assert velocity.attrs["dim_varying"].tolist() == [True, True]
        assert velocity.chunks is None
        assert sorted(file["boundary_conditions"]) == ["x_periodic", "y_open", "y_wall"]
        wall = file["boundary_conditions/y_wall"]
        assert wall.attrs["bc_type"] == "WALL"
        assert list(wall.attrs["associated_dims"]) == ["y"]
        assert wall["mask"][()].tolist() == [True, False, False, False]
        assert wall["mask"].dtype == np.bool_


def test_equal_data_give_equal_bytes(tmp_path: Path) -> None:
    write_file(tmp_path / "a.hdf5", make_data())
    time.sleep(1.1)  # time stamps, if there were any, count seconds
    write_file(tmp_path / "b.hdf5", make_data())
    assert (tmp_path / "a.hdf5").read_bytes() == (tmp_path / "b.hdf5").read_bytes()


FIELD = {"u": np.zeros((N, T, 6, 4), np.float32)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fields": {}}, "at least one field"),
        ({"fields": {"u": np.zeros((N, T, 6))}}, r"'u' must have shape \(3, 5, 6, 4\)"),
        ({"fields": {**FIELD, "p": np.zeros((2, T, 6, 4))}}, "'p' must have shape"),
        ({"fields": {"u": np.full((N, T, 6, 4), np.nan)}}, "'u' holds NaN"),
        ({"fields": {"u": np.full((N, T, 6, 4), 1e300)}}, "'u' holds NaN, infinite or too large"),
        ({"constant_fields": {"k": np.zeros((6, 4))}}, "'k' must have shape"),
        ({"parameters": {"nu": np.zeros(2)}}, "'nu' must have shape"),
        ({"parameters": {"depth": np.zeros(())}}, "names must be unique"),
        ({"fields": {"a/b": FIELD["u"]}}, "without '/'"),
        ({"times": np.array([0.0, 1.0, 1.0, 2.0, 3.0])}, "increase"),
        ({"units": {"velocity": "m/s"}}, "unknown names: velocity"),
        ({"units": {"velocity_x": "m/s"}}, "share one unit"),
    ],
)
def test_impossible_data_are_refused_and_leave_nothing(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    if "fields" in changes:
        changes = {"units": {}, **changes}
    with pytest.raises(ValueError, match=message):
        write_file(tmp_path / "a.hdf5", make_data(**changes))
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a.hdf5").write_text("mine")
    with pytest.raises(ValueError, match="exists already"):
        write_file(tmp_path / "a.hdf5", make_data())
    assert (tmp_path / "a.hdf5").read_text() == "mine"


def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(well, "_create_fields", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "a.hdf5", make_data())
    assert not list(tmp_path.iterdir())


def test_statistics_are_those_of_all_training_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "BLOCK", 100)  # several blocks per trajectory
    first = make_data()
    longer = {k: np.concatenate([v, v[:, :2] + 3], 1) for k, v in first.fields.items()}
    second = make_data(fields=longer, times=0.1 * np.arange(T + 2))
    write_file(tmp_path / "data/train/a.hdf5", first)
    write_file(tmp_path / "data/train/b.hdf5", second)
    write_file(
        tmp_path / "data/test/c.hdf5", make_data(fields={"pressure": 9 + FIELD["u"]}, units={})
    )
    write_stats(tmp_path)
    stats = yaml.safe_load((tmp_path / "stats.yaml").read_text())

    def every(name: str, change: bool) -> np.ndarray:
        parts = [data.fields[name].astype(np.float64) for data in (first, second)]
        return np.concatenate([(np.diff(p, axis=1) if change else p).ravel() for p in parts])

    for suffix, change in (("", False), ("_delta", True)):
        columns = [every(name, change) for name in ("pressure", "velocity_x", "velocity_y")]
        for statistic, function in {
            "mean": np.mean,
            "std": np.std,
            "rms": lambda v: np.sqrt(np.mean(v**2)),
        }.items():
            entry = stats[statistic + suffix]
            found = [entry["pressure"], *entry["velocity"]]
            np.testing.assert_allclose(
                found, [function(v) for v in columns], rtol=1e-12, atol=1e-12
            )
    assert stats["std"]["depth"] == pytest.approx(first.constant_fields["depth"].std(), rel=1e-5)
    assert "depth" not in stats["std_delta"]
    with pytest.raises(ValueError, match="exists already"):
        write_stats(tmp_path)


def test_statistics_need_training_data(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no HDF5 files in .*train"):
        write_stats(tmp_path)


def test_the_published_edge_cases() -> None:
    file = WellFile(SAMPLE)
    assert (file.header.name, len(file), file.header.axes) == ("helmholtz_staircase", 2, ("x", "y"))
    assert file.header.fields == ("pressure_re",)
    assert file.header.constant_fields == ("mask",)  # the interior wall has the same values: once
    assert file.header.grid.shape == (20, 12)
    assert file.header.grid.boundary == ("open", "open")
    assert file.header.grid.origin == (-8.0, -0.5)
    np.testing.assert_allclose(file.header.grid.spacing, (16 / 19, 4 / 11), rtol=1e-6)
    assert file.header.parameter_names == ("omega", "source")  # `drive` varies in time
    assert set(file.header.series) == {"drive"}
    assert file.header.parameters[0, 0] == 0.06  # double precision, from the root attribute
    assert file.header.parameters[0, 1] != file.header.parameters[1, 1]
    assert file.header.times.shape == (2, 10)
    assert file.constants(1)[0, 8:12, :4].min() == 1
    assert file.constants(1).sum() == 16
    with h5py.File(SAMPLE) as raw:
        stored = raw["t0_fields/pressure_re"][1]
    np.testing.assert_array_equal(read_all(file, 1)[:, 0], stored)


def foreign(path: Path, fields: Sequence[tuple[str, np.ndarray, dict[str, Any]]], **options: Any):
    """A file as another program may write it: 2 trajectories, 4 times, 3 × 5 points."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file.attrs.update({"dataset_name": "foreign", "n_spatial_dims": 2, "n_trajectories": 2})
        dimensions = file.create_group("dimensions")
        dimensions.attrs["spatial_dims"] = np.array([b"theta", b"phi"])
        for name, values in {
            "time": np.arange(4),
            "theta": np.arange(3),
            "phi": np.arange(5),
        }.items():
            dimensions.create_dataset(name, data=values.astype(">f4"))
        file.create_group("scalars").attrs["field_names"] = []
        for order in range(3):
            group = file.create_group(f"t{order}_fields")
            group.attrs["field_names"] = [
                path.split("/")[1] for path, _, _ in fields if path.startswith(f"t{order}")
            ]
        for name, values, flags in fields:
            item = file.create_dataset(name, data=values, **options)
            full = {"sample_varying": True, "time_varying": True, "dim_varying": [True, True]}
            item.attrs.update({**full, **flags})
    return path


@pytest.mark.parametrize(
    "options", [{}, {"chunks": True}, {"chunks": True, "compression": "gzip", "shuffle": True}]
)
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8"])
def test_every_kind_of_field_is_read(tmp_path: Path, options: dict[str, Any], dtype: str) -> None:
    rng = np.random.default_rng(1)

    def values(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32).astype(dtype)

    a, b, c, d = values(2, 4, 3, 5), values(4, 5), values(2, 4, 3, 2), values(2, 4, 3, 5, 2, 2)
    e, f = values(2, 4, 3, 5, 4), values(5, 2)
    path = foreign(
        tmp_path / "a.h5",
        [
            ("t0_fields/a", a, {}),
            ("t0_fields/b", b, {"sample_varying": False, "dim_varying": [False, True]}),
            ("t1_fields/c", c, {"dim_varying": [True, False]}),
            ("t2_fields/D", d, {}),
            ("t2_fields/E", e, {}),  # the tensor's components on one axis
            (
                "t1_fields/f",
                f,
                {"sample_varying": False, "time_varying": False, "dim_varying": [False, True]},
            ),
        ],
        **options,
    )
    file = WellFile(path)
    pairs = ["thetatheta", "thetaphi", "phitheta", "phiphi"]
    assert file.header.fields == (
        *("a", "b", "c_theta", "c_phi"),
        *(f"D_{pair}" for pair in pairs),
        *(f"E_{pair}" for pair in pairs),
    )
    assert file.header.constant_fields == ("f_theta", "f_phi")
    assert file.header.grid.boundary == ("open", "open")
    for i in range(2):
        read = read_all(file, i)
        np.testing.assert_array_equal(read[:, 0], a[i])
        np.testing.assert_array_equal(read[:, 1], np.broadcast_to(b[:, None], (4, 3, 5)))
        for component in range(2):
            expected = np.broadcast_to(c[i, :, :, None, component], (4, 3, 5))
            np.testing.assert_array_equal(read[:, 2 + component], expected)
        np.testing.assert_array_equal(read[:, 4:8], np.moveaxis(d[i].reshape(4, 3, 5, 4), -1, 1))
        np.testing.assert_array_equal(read[:, 8:], np.moveaxis(e[i], -1, 1))
        constant = np.broadcast_to(f.T[:, None], (2, 3, 5))
        np.testing.assert_array_equal(file.constants(i), constant)


def masks(**kinds: tuple[str, Sequence[str], np.ndarray]):
    def edit(file: h5py.File) -> None:
        for name, (kind, dims, mask) in kinds.items():
            group = file.create_group(f"boundary_conditions/{name}")
            group.attrs.update({"bc_type": kind, "associated_dims": list(dims)})
            group.attrs.update({"sample_varying": False, "time_varying": False})
            group["mask"] = mask

    return edit


LOW, HIGH = np.eye(3, dtype=bool)[0], np.eye(3, dtype=bool)[2]
FACE = np.zeros((3, 5), dtype=bool)
FACE[0] = True
INSIDE = np.zeros((3, 5), dtype=bool)
INSIDE[0, 1:3] = True


@pytest.mark.parametrize(
    ("edit", "boundary", "constants"),
    [
        (masks(), ("open", "open"), ()),
        (masks(a=("periodic", ["theta"], LOW | HIGH)), ("periodic", "open"), ()),
        (masks(a=("WALL", ["theta"], LOW)), ("wall-open", "open"), ()),
        (
            masks(a=("WALL", ["theta"], HIGH), b=("OPEN", ["theta"], LOW)),
            ("open-wall", "open"),
            (),
        ),
        (masks(a=("WALL", ["theta", "phi"], FACE)), ("wall-open", "open"), ("a_mask",)),
        (masks(a=("WALL", ["theta", "phi"], INSIDE)), ("open", "open"), ("a_mask",)),
    ],
)
def test_boundaries_come_from_the_masks(
    tmp_path: Path, edit: Any, boundary: tuple[str, ...], constants: tuple[str, ...]
) -> None:
    path = foreign(tmp_path / "a.h5", [("t0_fields/a", np.zeros((2, 4, 3, 5)), {})])
    with h5py.File(path, "a") as file:
        edit(file)
    read = WellFile(path)
    assert read.header.grid.boundary == boundary
    assert read.header.constant_fields == constants
    if constants:
        with h5py.File(path) as file:
            np.testing.assert_array_equal(
                read.constants(0)[0], file["boundary_conditions/a/mask"][()]
            )


@pytest.mark.parametrize("kind", ["periodic", "wall", "open", "wall-open", "open-wall"])
def test_boundaries_survive_the_file(tmp_path: Path, kind: str) -> None:
    grid = Grid((6,), (1.0,), (kind,))
    fields = {"u": np.zeros((N, T, 6), np.float32)}
    data = make_data(grid=grid, fields=fields, constant_fields={}, units={})
    write_file(tmp_path / "a.hdf5", data)
    assert WellFile(tmp_path / "a.hdf5").header.grid == grid


def set_attribute(path: str, name: str, value: Any):
    def edit(file: h5py.File) -> None:
        file[path].attrs[name] = value

    return edit


def set_axis(values: Sequence[float]):
    def edit(file: h5py.File) -> None:
        file["dimensions/theta"][...] = values

    return edit


def remove(path: str):
    def edit(file: h5py.File) -> None:
        del file[path]

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (set_axis([0, 1, 4]), "axis 'theta' must be uniform"),
        (set_axis([2, 1, 0]), "axis 'theta' must be uniform, increasing"),
        (set_attribute("/", "n_trajectories", 3), r"t0_fields/a must have shape \(3, 4, 3, 5\)"),
        (set_attribute("t0_fields/a", "time_varying", False), "must have shape"),
        (remove("scalars"), "lacks a part of The Well's layout: .*scalars"),
        (remove("t2_fields"), "lacks a part of The Well's layout: .*t2_fields"),
        (remove("t0_fields/a"), "lacks a part of The Well's layout"),
        (set_attribute("t0_fields", "field_names", []), "no field that varies in time"),
        (masks(a=("SLIP", ["theta"], LOW)), "type 'slip'; known: periodic, wall, open"),
    ],
)
def test_broken_files_say_what_is_wrong(tmp_path: Path, edit: Any, message: str) -> None:
    path = foreign(tmp_path / "a.h5", [("t0_fields/a", np.zeros((2, 4, 3, 5)), {})])
    with h5py.File(path, "a") as file:
        edit(file)
    with pytest.raises(ValueError, match=message):
        WellFile(path)


@pytest.mark.parametrize("shape", [(6,), (6, 4), (6, 4, 3)])
def test_the_wells_own_reader_reads_it(tmp_path: Path, shape: tuple[int, ...]) -> None:
    peer = pytest.importorskip("the_well.data", reason="the peer package is not installed")
    data = make_data(shape)
    write_file(tmp_path / "data/train/a.hdf5", data)
    write_stats(tmp_path)
    dataset = peer.WellDataset(
        path=str(tmp_path), well_split_name="train", n_steps_input=2, n_steps_output=1
    )
    assert len(dataset) == N * (T - 2)
    item = dataset[T - 2]  # the first window of the second trajectory
    names = [name for order in range(3) for name in dataset.metadata.field_names[order]]
    assert names == list(WellFile(tmp_path / "data/train/a.hdf5").header.fields)
    expected = np.stack([data.fields[name][1, :2] for name in names], axis=-1)
    np.testing.assert_array_equal(item["input_fields"].numpy(), expected)
    np.testing.assert_array_equal(
        item["constant_fields"][..., 0].numpy(), data.constant_fields["depth"][1]
    )
    np.testing.assert_allclose(item["constant_scalars"].numpy(), [0.01, 2.0], rtol=1e-6)
    codes = {"wall": 0, "open": 1, "periodic": 2}
    ends = [(kind.split("-")[0], kind.split("-")[-1]) for kind in data.grid.boundary]
    assert item["boundary_conditions"].tolist() == [[codes[a], codes[b]] for a, b in ends]


def test_uneven_axes_of_curved_grids_become_constant_fields(tmp_path: Path) -> None:
    """Spherical and equiangular grids are read; the coordinates are not lost."""
    write_file(tmp_path / "a.hdf5", make_data())
    radius = np.geomspace(1.0, 32.0, 6)
    with h5py.File(tmp_path / "a.hdf5", "a") as file:
        file["dimensions/x"][()] = radius
        del file["dimensions/x"].attrs["length"]
        file.attrs["grid_type"] = "spherical"
    read = WellFile(tmp_path / "a.hdf5")
    assert read.header.constant_fields == ("depth", "coordinate_x")
    np.testing.assert_allclose(read.constants(1)[1], np.tile(radius[:, None], (1, 4)), rtol=1e-6)
    assert read.header.grid.spacing[0] == pytest.approx(31 / 5)
    with h5py.File(tmp_path / "a.hdf5", "a") as file:
        file.attrs["grid_type"] = "cartesian"
    with pytest.raises(ValueError, match="axis 'x' must be uniform"):
        WellFile(tmp_path / "a.hdf5")


def test_a_number_of_trajectories_that_cannot_be(tmp_path: Path) -> None:
    write_file(tmp_path / "a.hdf5", make_data())
    for number in (0, -1, 10**9):
        with h5py.File(tmp_path / "a.hdf5", "a") as file:
            file.attrs["n_trajectories"] = number
        with pytest.raises(ValueError, match=f"cannot hold {number} trajectories"):
            WellFile(tmp_path / "a.hdf5")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((2, 3, 8), np.complex64), "'u' must hold real numbers; got the type complex64"),
        (np.full((2, 3, 8), "1.0"), "'u' must hold real numbers"),
        (np.ones((0, 3, 8)), "at least one field and one trajectory; got none"),
    ],
)
def test_what_would_be_lost_is_not_written(tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        write_file(
            tmp_path / "a.hdf5", WellData("m", Grid.unit((8,)), np.arange(3.0), {"u": values})
        )
    assert not any(tmp_path.iterdir())


def test_tensors_lists_and_plain_numbers_are_written(tmp_path: Path) -> None:
    data = make_data()
    write_file(tmp_path / "arrays.hdf5", data)
    given = make_data(
        times=[0.1 * t for t in range(T)],
        fields={name: torch.from_numpy(values) for name, values in data.fields.items()},
        constant_fields={name: values.tolist() for name, values in data.constant_fields.items()},
        parameters={"nu": 0.01, "source": [1, 2, 4]},
    )
    write_file(tmp_path / "given.hdf5", given)
    assert (tmp_path / "given.hdf5").read_bytes() == (tmp_path / "arrays.hdf5").read_bytes()


def test_masked_arrays_are_refused_with_a_remedy_that_works(tmp_path: Path) -> None:
    data = make_data()
    whole = np.ma.MaskedArray(data.fields["pressure"])
    assert (make_data(fields={"p": whole}).fields["p"] == data.fields["pressure"]).all()
    land = whole.copy()
    land[:, :, 0] = np.ma.masked
    with pytest.raises(ValueError, match=r"'p' is a masked array; give p\.filled\(0\)"):
        make_data(fields={"p": land})
    valid = ~np.ma.getmaskarray(land)[:, :1]
    file = tmp_path / "a.hdf5"
    write_file(file, make_data(fields={"p": land.filled(0)}, mask=valid, units={}))
    mask = WellFile(file).mask(0)
    assert mask is not None
    assert (mask == valid[0]).all()
