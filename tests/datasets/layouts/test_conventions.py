"""What attributes, coordinates and names of dimensions say, against xarray and NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import xarray

from pelagos.datasets import open_store
from pelagos.datasets.files.conventions import coding
from pelagos.datasets.files.hdf5 import Hdf5File

SAMPLES = Path(__file__).parents[2] / "samples"
PACKED = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 5.0, "_FillValue": np.int16(-1)}
T, Y, X = 6, 5, 8


def make(values: np.ndarray | None = None, **coordinates: Any) -> xarray.Dataset:
    u = np.random.default_rng(0).normal(size=(T, Y, X)) if values is None else values
    usual = {"time": np.arange(T) * 0.5, "lat": np.linspace(-10, 10, Y), "lon": np.arange(X) * 2.0}
    return xarray.Dataset({"u": (("time", "lat", "lon"), u)}, {**usual, **coordinates})


def save(dataset: xarray.Dataset, folder: Path, form: str, encoding: Any = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"data.{'zarr' if 'zarr' in form else 'nc'}"
    if "zarr" in form:
        version: Any = int(form[-1])
        dataset.to_zarr(path, zarr_format=version, consolidated=False, encoding=encoding)
    else:
        engine: Any = {"netcdf4": "h5netcdf", "classic": "scipy"}[form]
        dataset.to_netcdf(path, engine=engine, encoding=encoding)
    return path


FORMS = ["netcdf4", "classic", "zarr2", "zarr3"]


@pytest.mark.parametrize("form", FORMS)
def test_packed_numbers_are_decoded_as_xarray_does(tmp_path: Path, form: str) -> None:
    path = save(make(), tmp_path, form, {"u": PACKED})
    opened: Any = xarray.open_zarr if "zarr" in form else xarray.open_dataset
    kwargs = {"consolidated": False} if "zarr" in form else {}
    with opened(path, **kwargs) as truth:
        expected = truth.u.values.astype("f4")
    store = open_store(path)
    np.testing.assert_array_equal(store.trajectory(0)[:, 0], expected)
    np.testing.assert_array_equal(store.read(0, 2, 4)[:, 0], expected[2:4])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("key", ["_FillValue", "missing_value"])
def test_missing_values_are_nan(tmp_path: Path, form: str, key: str) -> None:
    values = np.random.default_rng(0).normal(size=(T, Y, X)).astype("f4")
    values[2, 1, 3] = np.nan
    path = save(make(values), tmp_path, form, {"u": {key: np.float32(1e20)}})
    frames = open_store(path).read_raw(0, slice(0, T))
    np.testing.assert_array_equal(frames[:, 0], values)


def test_unsigned_numbers(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"] = np.array([[1, -1, -128]], "i1").repeat(2, 0)
        file["u"].attrs["_Unsigned"] = "true"
    (tmp_path / "description.yaml").write_text("axes: [time, x]\nfields: {u: u}\ntime: {step: 1}\n")
    assert open_store(tmp_path).trajectory(0)[0, 0].tolist() == [1, 255, 128]


def test_what_needs_no_decoding_is_mapped(tmp_path: Path) -> None:
    """xarray writes `_FillValue: NaN` to every array of floating-point numbers."""
    path = save(make(np.ones((T, Y, X), "f4")), tmp_path, "netcdf4")
    assert np.isnan(xarray.open_dataset(path, mask_and_scale=False).u.attrs["_FillValue"])
    assert type(Hdf5File(path).array("u")) is np.ndarray
    assert coding({"scale_factor": 1.0, "add_offset": 0.0}, np.dtype("f4")) == {}
    assert coding({"scale_factor": 2.0}, np.dtype("f4")) == {"scale_factor": 2.0}


def test_attributes_that_cannot_be_decoded_are_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"] = np.ones((2, 3), "i2")
        file["u"].attrs["scale_factor"] = "a lot"
    (tmp_path / "description.yaml").write_text("axes: [time, x]\nfields: {u: u}\ntime: {step: 1}\n")
    with pytest.raises(ValueError, match="'u' cannot be decoded by its attributes scale_factor"):
        open_store(tmp_path).trajectory(0)


# ------------------------------------------------------------------ coordinates


def described(folder: Path, text: str, dataset: xarray.Dataset, form: str = "netcdf4") -> Path:
    save(dataset, folder, form)
    (folder / "description.yaml").write_text(text)
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_a_description_takes_the_coordinates_of_the_file(tmp_path: Path, form: str) -> None:
    dataset = make(lat=("lat", np.linspace(90, -90, Y)))
    dataset.u.attrs["units"], dataset.lon.attrs["units"] = "m s-1", "degrees_east"
    dataset.lat.attrs["units"] = "degrees_north"
    text = "axes: [time, lat, lon]\nfields: {wind: u}\n"
    store = open_store(described(tmp_path, text, dataset, form))
    assert store.axes == ("lat", "lon")
    np.testing.assert_allclose(store.grid.coordinates()[0], np.linspace(-90, 90, Y))
    np.testing.assert_allclose(store.grid.coordinates()[1], np.arange(X) * 2.0)
    np.testing.assert_allclose(store.times, np.arange(T) * 0.5)
    expected = dataset.u.values[:, ::-1].astype("f4")
    np.testing.assert_array_equal(store.trajectory(0)[:, 0], expected)
    assert store.units == {"wind": "m s-1", "length": "degrees"}


@pytest.mark.parametrize("axes", ["time, lon, lat", "lat, time, lon", "time, x, y"])
def test_axes_that_the_file_contradicts_are_refused(tmp_path: Path, axes: str) -> None:
    square = xarray.Dataset(
        {"u": (("time", "lat", "lon"), np.ones((5, 5, 5)))},
        {name: np.arange(5.0) for name in ("time", "lat", "lon")},
    )
    folder = described(tmp_path, f"axes: [{axes}]\nfields: {{u: u}}\n", square)
    with pytest.raises(ValueError, match=r"calls the axes of 'u' \(time, lat, lon\)"):
        open_store(folder)


def test_a_mesh_is_read_as_its_axes(tmp_path: Path) -> None:
    x, y = np.meshgrid(np.arange(6) * 0.1, 1 + np.arange(6) * 0.2, indexing="ij")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"], file["X"], file["Y"] = np.ones((5, 6, 6)), x, y
        file["curved"] = x + 0.01 * y**2
    text = "axes: [time, x, y]\nfields: {u: u}\ntime: {step: 1}\ngrid: {x: X, y: %s}\n"
    (tmp_path / "description.yaml").write_text(text % "Y")
    grid = open_store(tmp_path).grid
    np.testing.assert_allclose((*grid.spacing, *grid.origin), (0.1, 0.2, 0.0, 1.0))
    (tmp_path / "description.yaml").write_text(text % "curved")
    with pytest.raises(ValueError, match=r"grid.y: .* curvilinear"):
        open_store(tmp_path)


def test_axes_that_are_not_uniform_are_refused(tmp_path: Path) -> None:
    path = save(make(lat=("lat", np.array([0.0, 1.0, 3.0, 6.0, 10.0]))), tmp_path, "netcdf4")
    with pytest.raises(
        ValueError, match=r"'lat' are not uniform \(steps 1 to 4\); .*regrid: \{to: 5×8\} in a"
    ):
        open_store(path)


def test_vectors_of_matlab(tmp_path: Path) -> None:
    """MATLAB knows no vectors, only matrices of one row or column; its dates need all digits."""
    times, x = 737000 + np.arange(T) / 24, np.arange(X)[:, None] / X
    scipy.io.savemat(tmp_path / "a.mat", {"u": np.ones((T, X)), "t": times, "x": x})
    text = "axes: [time, x]\nfields: {u: u}\ntime: t\n"
    (tmp_path / "description.yaml").write_text(text)
    store = open_store(tmp_path)
    assert store.times.tolist() == times.tolist()
    assert store.grid.lengths == (1.0,)


# ------------------------------------------------------------------ times and units


@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
def test_times_count_in_their_unit_since_the_first(tmp_path: Path, calendar: str) -> None:
    attributes = {"units": "hours since 0001-01-01 00:00:00", "calendar": calendar}
    hours = 17 * 10**6 + 6 * np.arange(T)
    store = open_store(save(make(time=("time", hours, attributes)), tmp_path, "netcdf4"))
    assert store.times.tolist() == (6.0 * np.arange(T)).tolist()
    assert store.units["time"] == "hours"
    assert store.provenance["time"]["first"] == hours[0]


def test_nanoseconds_are_exact(tmp_path: Path) -> None:
    start = 1_700_000_000_000_000_001  # double precision would round to 256 ns
    attributes = {"units": "nanoseconds since 1970-01-01"}
    time = ("time", start + 10 * np.arange(T), attributes)
    store = open_store(save(make(time=time), tmp_path, "netcdf4"))
    assert store.times.tolist() == (10.0 * np.arange(T)).tolist()


def test_whole_numbers_as_parameters(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"], file["k"] = np.ones((3, 4, 8)), np.arange(3)
    text = "axes: [trajectory, time, x]\nfields: {u: u}\ntime: {step: 1}\nparameters: {k: k}\n"
    (tmp_path / "description.yaml").write_text(text)
    table = open_store(tmp_path).parameter_table()
    assert table.dtype == np.float64
    assert table[:, 0].tolist() == [0, 1, 2]


def test_dates_of_pandas(tmp_path: Path) -> None:
    dates = pd.date_range("2020-02-28", periods=T, freq="1D")
    store = open_store(save(make(time=dates), tmp_path, "classic"))
    assert (store.dt, store.units["time"]) == (1.0, "days")
    assert store.provenance["time"]["date"] == "2020-02-28T00:00:00"


def test_units_are_converted_when_asked_and_else_refused(tmp_path: Path) -> None:
    for name, unit, hours, value in (("a", "degC", "hours", 20.0), ("b", "K", "days", 293.15)):
        time = ("time", np.arange(T) * (24 if name == "a" else 1), {"units": f"{hours} since 2000"})
        dataset = make(np.full((T, Y, X), value), time=time)
        dataset.u.attrs["units"] = unit
        save(dataset, tmp_path / name, "netcdf4").rename(tmp_path / f"{name}.nc")
        (tmp_path / name).rmdir()
    with pytest.raises(ValueError, match=r"must agree: .*units .*degC.*K"):
        open_store(tmp_path)
    text = "axes: [time, lat, lon]\nfields: {u: u}\nunits: {u: K, time: days}\n"
    (tmp_path / "description.yaml").write_text(text)
    store = open_store(tmp_path)
    np.testing.assert_allclose(np.stack([store.trajectory(i) for i in (0, 1)]), 293.15)
    assert (store.dt, store.units["u"], store.units["time"]) == (1.0, "K", "days")
    (tmp_path / "description.yaml").write_text(text.replace("u: K", "u: m"))
    with pytest.raises(ValueError, match="'u' in 'degC', which cannot be converted to 'm'"):
        open_store(tmp_path)


# ------------------------------------------------------------------ whole files


def test_a_climatology() -> None:
    """COADS, monthly means of the sea surface; land is -1e34, and the year is 0."""
    path = SAMPLES / "coads_cut.cdf"
    truth = xarray.open_dataset(path, decode_times=False)
    store = open_store(path)
    assert store.fields == ("SST", "UWND")
    assert store.units["UWND"] == "M/S"
    assert store.units["time"] == "hour"
    np.testing.assert_array_equal(store.times, truth.TIME.values - truth.TIME.values[0])
    for points, name in zip(store.grid.coordinates(), ("COADSY", "COADSX"), strict=True):
        np.testing.assert_allclose(points, truth[name].values)
    frames = store.read_raw(0, slice(0, 12))
    np.testing.assert_array_equal(frames[:, 0], truth.SST.values)
    np.testing.assert_array_equal(frames[:, 1], truth.UWND.values)
    assert np.isnan(frames).any()


def test_a_single_level_is_left_out_and_longitudes_close(tmp_path: Path) -> None:
    dataset = make(lon=("lon", np.arange(X) * 45.0, {"units": "degrees_east"}))
    dataset = dataset.expand_dims({"level": [500.0]}, axis=1)
    store = open_store(save(dataset, tmp_path, "netcdf4"))
    assert (store.fields, store.axes) == (("u",), ("lat", "lon"))
    assert store.grid.boundary == ("open", "periodic")
    np.testing.assert_array_equal(store.trajectory(0)[:, 0], dataset.u[:, 0].values.astype("f4"))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"solution": (40, 16, 16, 3)}, "It looks like Poseidon's, but neither the file's name"),
        ({"velocity": (20, 6, 2, 8, 8), "time": (6,), "x": (8,)}, r"does not have .* time \(6,\)"),
        ({"uu": (10, 6, 8, 8), "vv": (10, 6, 8, 8)}, r"like DyMixOp's, .* does not have .* vv"),
    ],
)
def test_generic_names_are_no_layout(
    tmp_path: Path, arrays: dict[str, tuple[int, ...]], message: str
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, shape in arrays.items():
            file[name] = np.ones(shape, "f4")
    with pytest.raises(ValueError, match=message) as error:
        open_store(tmp_path / "a.h5")
    layout = "DyMixOp" if "uu" in arrays else "Poseidon"
    assert f"--layout '{layout}'" in str(error.value)
    assert len(open_store(tmp_path / "a.h5", layout=layout)) == next(iter(arrays.values()))[0]


def test_a_mesh_without_axes_is_refused(tmp_path: Path) -> None:
    dataset = xarray.Dataset({"u": (("time", "ncells"), np.ones((T, X)))}, {"time": np.arange(T)})
    with pytest.raises(ValueError, match="'ncells' counts the places of an unstructured mesh"):
        open_store(save(dataset, tmp_path, "netcdf4"))


@pytest.mark.parametrize("form", ["zarr2", "zarr3"])
def test_land_that_zarr_leaves_out_is_land(tmp_path: Path, form: str) -> None:
    """Chunks of NaN are not stored; a number that is the fill value is not either."""
    dataset = make()
    dataset["u"][:, :, 4:] = np.nan
    path = save(dataset, tmp_path, form, {"u": {"chunks": (2, Y, 4)}})
    store = open_store(path)
    mask = store.mask(0)
    assert mask is not None
    assert mask[0, :, :4].all()
    assert not mask[0, :, 4:].any()
    read = store.read(0, 0, T)[:, 0, :, :4]
    np.testing.assert_allclose(read, dataset["u"].values[:, :, :4], rtol=1e-6)
    single = save(make(values=np.ones((1, Y, X)), time=[0]), tmp_path / "single", form)
    assert open_store(single).trajectory_times(0).tolist() == [0]


@pytest.mark.parametrize("form", ["zarr2", "zarr3"])
def test_chunks_that_were_lost_are_not_land(tmp_path: Path, form: str) -> None:
    path = save(make(), tmp_path, form, {"u": {"chunks": (2, Y, 4)}})
    lost = path / "u" / ("1.0.1" if form == "zarr2" else "c/1/0/1")
    lost.unlink()
    with pytest.raises(ValueError, match=r"the chunk .*1.0.1 is missing"):
        open_store(path).read(0, 0, T)


def test_forecasts_are_trajectories_by_the_time_they_were_made(tmp_path: Path) -> None:
    """As weather centres have them: time (since a date) and step (how far it reaches)."""
    u = np.random.default_rng(0).normal(size=(3, T, Y, X))
    dataset = xarray.Dataset(
        {"u": (("time", "step", "lat", "lon"), u)},
        {
            "time": pd.date_range("2000-01-01", periods=3),
            "step": pd.timedelta_range("0h", periods=T, freq="6h"),
            "lat": np.linspace(-10, 10, Y),
            "lon": np.arange(X) * 2.0,
        },
    )
    dataset["step"].encoding["units"] = "hours"  # of itself xarray may choose microseconds
    path = save(dataset, tmp_path, "netcdf4")
    store = open_store(path)
    assert (len(store), store.n_frames(0), store.units["time"]) == (3, T, "hours")
    assert store.trajectory_times(2).tolist() == [6.0 * k for k in range(T)]
    np.testing.assert_allclose(store.read(2, 0, T)[:, 0], u[2], rtol=1e-6)
    xarray.concat([dataset, dataset], "number").to_netcdf(tmp_path / "many.nc")
    with pytest.raises(ValueError, match=r"of which number, time would all be 'trajectory'; keep"):
        open_store(tmp_path / "many.nc")
