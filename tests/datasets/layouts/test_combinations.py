"""Several conventions at once, against what xarray and NumPy make of the same files.

Each file is also drafted: the draft opens, and gives the same values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray
from scipy.interpolate import RegularGridInterpolator

from pelagos.datasets import open_store
from pelagos.datasets.sampling.windows import Windows
from pelagos.datasets.stores.renaming import renamed
from pelagos.datasets.tools.check import check
from pelagos.datasets.tools.draft import draft
from pelagos.finetune.cli.console import main

T, Y, X = 12, 9, 10
LAT, LON = np.linspace(40, -40, Y), np.arange(X) * 3.0
U = np.random.default_rng(0).normal(10, 2, (T, Y, X))
U[:, 2:4, 5:7] = np.nan  # land
PACKED = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 5.0, "_FillValue": np.int16(-999)}


def dataset(values: np.ndarray, hours: np.ndarray, lat: np.ndarray = LAT) -> xarray.Dataset:
    return xarray.Dataset(
        {"t2m": (("time", "lat", "lon"), values, {"units": "K"})},
        {
            "time": ("time", hours, {"units": "hours since 2000-01-01"}),
            "lat": ("lat", lat, {"units": "degrees_north"}),
            "lon": ("lon", LON, {"units": "degrees_east"}),
        },
    )


def saved(data: xarray.Dataset, path: Path, **encoding: Any) -> np.ndarray:
    """The values that xarray reads from the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data.to_netcdf(path, engine="h5netcdf", encoding=encoding)
    with xarray.open_dataset(path, decode_times=False) as read:
        return read[next(iter(data))].to_numpy().astype("f4")


def test_holes_and_gaps_in_time(tmp_path: Path) -> None:
    values, hours = U.copy(), 6.0 * np.arange(T)
    values[3, 0, 0] = np.nan
    hours[8:] += 12  # two frames are missing before frame 8
    read = saved(dataset(values, hours), tmp_path / "a.nc", t2m=PACKED)
    (tmp_path / "description.yaml").write_text(
        "axes: [time, lat, lon]\nfields: {t: t2m}\nholes: skip\nfill: 10\n"
    )
    store = open_store(tmp_path)
    assert [*store.stretches(0)] == [range(8), range(8, 12)]
    windows = Windows(store, 2, 1)
    starts = [0, *range(4, 6), 8, 9]  # without those that touch frame 3 or the gap
    assert len(windows) == len(starts)
    for window, start in zip(windows, starts, strict=True):
        expected = np.nan_to_num(read[start : start + 2, ::-1], nan=10)
        np.testing.assert_array_equal(window.history[:, 0], expected)


def test_fill_value_join_and_rename(tmp_path: Path) -> None:
    parts = [
        saved(dataset(U[k : k + 4], 6.0 * np.arange(k, k + 4)), tmp_path / f"{k}.nc", t2m=PACKED)
        for k in (0, 4, 8)
    ]
    (tmp_path / "description.yaml").write_text(
        "axes: [time, lat, lon]\nfields: {t: t2m}\njoin: time\nfill: {t: 7}\n"
        "splits: {by: time, train: 0.5, valid: 0.5, gap: 1}\n"
    )
    store = renamed(open_store(tmp_path, "valid"), {"t": "temperature"})
    assert store.fields == ("temperature",)
    np.testing.assert_allclose(store.times, 6.0 * np.arange(7, 12))
    expected = np.concatenate(parts)[7:, ::-1]
    np.testing.assert_array_equal(store.read(0, 0, 5)[:, 0], np.nan_to_num(expected, nan=7))
    np.testing.assert_array_equal(store.to_xarray()["temperature"][0], expected)
    mask = store.mask(0)
    assert mask is not None
    assert (mask[0].numpy() == ~np.isnan(expected[0])).all()


@pytest.mark.parametrize("join", ["time", "[fields, time]"])
def test_mask_join_and_subtract(tmp_path: Path, join: str) -> None:
    pressure = 101325 + 1e-2 * np.nan_to_num(U)
    sea = ~np.isnan(U[0])
    for k in (0, 6):
        data = dataset(pressure[k : k + 6], 6.0 * np.arange(k, k + 6))
        data["sea"] = ("lat", "lon"), sea.astype("i1")
        data.to_netcdf(tmp_path / f"p{k}.nc", engine="h5netcdf")
        if "fields" in join:
            other = data.rename({"t2m": "wind"})
            other["wind"] = data["t2m"] - 101325
            other.to_netcdf(tmp_path / f"w{k}.nc", engine="h5netcdf")
    fields = "p: t2m, w: wind" if "fields" in join else "p: t2m"
    (tmp_path / "description.yaml").write_text(
        f"axes: [time, lat, lon]\nfields: {{{fields}}}\nmask: sea\njoin: {join}\n"
        "subtract: {p: 101325.0}\nname: air\n"
    )
    store = open_store(tmp_path)
    where = np.flip(sea, 0)
    got = store.trajectory(0)[:, store.fields.index("p")].numpy()
    np.testing.assert_allclose(got[:, where], 1e-2 * U[:, ::-1][:, where], rtol=1e-5)
    assert (got[:, ~where] == 0).all()
    assert [f.kind for f in check(store).findings if f.kind == "precision"] == []


@pytest.mark.parametrize("method", ["linear", "cubic"])
def test_packed_decreasing_axes_and_regrid(tmp_path: Path, method: str) -> None:
    lat = np.degrees(np.arcsin(np.linspace(0.9, -0.9, Y)))
    values = np.nan_to_num(U, nan=10)
    read = saved(dataset(values, 6.0 * np.arange(T), lat), tmp_path / "a.nc", t2m=PACKED)
    text = f"axes: [time, lat, lon]\nfields: {{t: t2m}}\nregrid: {{to: 17×10, method: {method}}}\n"
    (tmp_path / "description.yaml").write_text(text + "units: {t: degC, time: days}\n")
    store = open_store(tmp_path)
    new = store.grid.coordinates()[0].numpy()
    inside = np.clip(new, lat[-1], lat[0])
    places = np.stack(np.meshgrid(inside, LON, indexing="ij"), -1)
    expected = np.stack([
        RegularGridInterpolator((lat[::-1], LON), f[::-1].astype(float), method)(places)
        for f in read
    ])  # fmt: skip
    tolerance = 1e-4 if method == "cubic" else 1e-5
    np.testing.assert_allclose(store.trajectory(0)[:, 0], expected - 273.15, atol=tolerance * 100)
    assert (store.dt, store.units["t"]) == (0.25, "degC")


# ------------------------------------------------------------------ drafts


def drafted(path: Path) -> Any:
    """The store of a file by its draft alone."""
    folder = path.parent / "drafted"
    folder.mkdir()
    main(["data", "describe", str(path), "--out", str(folder / "description.yaml")])
    assert "does not open" not in (folder / "description.yaml").read_text()
    return open_store(path, layout=str(folder / "description.yaml"))


@pytest.mark.parametrize("form", ["nc", "zarr"])
def test_a_draft_gives_the_same_values(tmp_path: Path, form: str) -> None:
    data = dataset(U, 6.0 * np.arange(T)).expand_dims({"height": [2.0]}, axis=1)
    data["orography"] = ("lat", "lon"), np.nan_to_num(U[0])
    path = tmp_path / f"a.{form}"
    if form == "zarr":
        data.to_zarr(path, zarr_format=3, consolidated=False, encoding={"t2m": PACKED})
    else:
        data.to_netcdf(path, engine="h5netcdf", encoding={"t2m": PACKED})
    plain, store = open_store(path), drafted(path)
    assert store.fields == plain.fields == ("t2m",)
    assert store.constant_fields == ("orography",)
    assert store.trajectory(0).equal(plain.trajectory(0))
    assert (store.grid, store.units) == (plain.grid, plain.units)
    assert store.times.tolist() == plain.times.tolist()


def test_a_draft_of_gaussian_latitudes(tmp_path: Path) -> None:
    lat = np.degrees(np.arcsin(np.linspace(0.9, -0.9, Y)))
    path = tmp_path / "a.nc"
    saved(dataset(U, 6.0 * np.arange(T), lat), path, t2m=PACKED)
    with pytest.raises(ValueError, match=r"pelagos data describe a\.nc drafts it"):
        open_store(path)
    assert "regrid: {to: 9×10, method: linear}  # lat is not uniform" in draft(path)
    store = drafted(path)
    np.testing.assert_allclose(store.grid.coordinates()[0], np.linspace(lat[-1], lat[0], Y))


def test_a_draft_of_a_curvilinear_grid(tmp_path: Path) -> None:
    j, i = np.meshgrid(np.arange(12.0), np.arange(10.0), indexing="ij")
    lon, lat = i + 0.1 * j, j + 0.05 * i**1.5
    east, north = {"units": "degrees_east"}, {"units": "degrees_north"}
    for name, attached in (("a.nc", True), ("b.nc", False)):
        where = {"nav_lon": (("eta", "xi"), lon, east), "nav_lat": (("eta", "xi"), lat, north)}
        data = xarray.Dataset(
            {"sst": (("time", "eta", "xi"), np.stack([lon + 2 * lat + t for t in range(3)]))},
            {"time": np.arange(3.0)},
        )
        data = data.assign_coords(where) if attached else data.assign(where)
        data.to_netcdf(tmp_path / name, engine="h5netcdf")
        with pytest.raises(ValueError, match=r"curvilinear.*pelagos data describe"):
            open_store(tmp_path / name)
    store = drafted(tmp_path / "b.nc")
    assert store.axes == ("eta", "xi")
    b, a = np.meshgrid(*[each.numpy() for each in store.grid.coordinates()], indexing="ij")
    mask = store.mask(0)
    assert mask is not None
    inside = mask[0].numpy()
    np.testing.assert_allclose(
        store.trajectory(0)[1, 0].numpy()[inside], (a + 2 * b + 1)[inside], atol=0.02
    )


def test_a_draft_of_what_the_file_does_not_say(tmp_path: Path) -> None:
    data = dataset(U, 6.0 * np.arange(T)).expand_dims({"layer": 3}, axis=1)
    data["rain"] = ("time", "station"), np.zeros((T, 4))
    data["speed"] = ("lon", "lat", "time", "layer"), np.zeros((X, Y, T, 3))
    path = tmp_path / "a.nc"
    data.to_netcdf(path, engine="h5netcdf")
    text = draft(path)
    assert "layer: [0, 3]  # not in the file" in text
    assert "left out, with other axes: rain(time, station)" in text
    store = drafted(path)
    assert store.fields == ("t2m", "speed")
    assert store.trajectory(0).shape[2:] == (3, Y, X)


def test_a_draft_of_staggered_components(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    data = xarray.Dataset(
        {
            "u": (("time", "yh", "xq"), rng.normal(size=(T, 6, 9))),
            "v": (("time", "yq", "xh"), rng.normal(size=(T, 7, 8))),
            "h": (("time", "yh", "xh"), rng.normal(size=(T, 6, 8))),
        },
        {"time": np.arange(T) * 1.0, "xh": np.arange(8) + 0.5, "yh": np.arange(6) + 0.5},
    )
    path = tmp_path / "a.nc"
    data.to_netcdf(path, engine="h5netcdf")
    plain, store = open_store(path), drafted(path)
    assert store.trajectory(0).equal(plain.trajectory(0))
    u = data.u.to_numpy()
    np.testing.assert_allclose(plain.trajectory(0)[:, 0], (u[..., 1:] + u[..., :-1]) / 2, rtol=1e-6)


# ------------------------------------------------------------------ doubts


def test_every_file_is_doubted(tmp_path: Path) -> None:
    """The second file has the array of DyMixOp's, and more that the layout does not know."""
    for k in range(2):
        with h5py.File(tmp_path / f"{k}.h5", "w") as file:
            file["uu"] = np.ones((10, 6, 8, 8), "f4")
            if k:
                file["vv"] = np.ones((10, 6, 8, 8), "f4")
    with pytest.raises(ValueError, match=r"1.h5 is beside files of DyMixOp's layout, but.*vv"):
        open_store(tmp_path)
    assert len(open_store(tmp_path, layout="DyMixOp")) == 20


# ------------------------------------------------------------------ files of models


def test_forecasts_are_trajectories(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(3, 4, Y, X)).astype("f4")
    data = xarray.Dataset(
        {"t": (("init_time", "lead_time", "lat", "lon"), values)},
        {
            "init_time": ("init_time", [0, 1, 2], {"units": "days since 2020-01-01"}),
            "lead_time": ("lead_time", 6.0 * np.arange(4), {"units": "hours"}),
            "lat": LAT,
            "lon": LON,
        },
    )
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    store = open_store(tmp_path / "a.nc")
    assert (len(store), store.n_frames(0), store.dt, store.axes) == (3, 4, 6.0, ("lat", "lon"))
    np.testing.assert_array_equal(store.trajectory(2)[:, 0], values[2, :, ::-1])


def test_times_of_each_member_without_a_description(tmp_path: Path) -> None:
    times = np.array([[1.0], [2.0]]) * np.arange(T)
    data = xarray.Dataset(
        {"u": (("run", "time", "x"), np.zeros((2, T, X))), "times": (("run", "time"), times)},
        {"x": np.arange(X)},
    )
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    store = open_store(tmp_path / "a.nc")
    np.testing.assert_array_equal([store.trajectory_times(i) for i in (0, 1)], times)


def test_places_along_one_dimension_are_no_grid(tmp_path: Path) -> None:
    where = {name: ("obs", np.random.default_rng(0).random(X)) for name in ("lat", "lon")}
    data = xarray.Dataset({"u": (("time", "obs"), np.zeros((T, X)))}, {"time": np.arange(T)})
    data.assign_coords(where).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    for function in (open_store, draft):
        with pytest.raises(ValueError, match=r"'obs' counts the places of an unstructured mesh"):
            function(tmp_path / "a.nc")
    line = {**where, "obs": 5.0 * np.arange(X)}  # along a section
    data.assign_coords(line).to_netcdf(tmp_path / "b.nc", engine="h5netcdf")
    assert open_store(tmp_path / "b.nc").grid.lengths == (50.0,)


def test_layers_that_follow_the_ground(tmp_path: Path) -> None:
    x, s = np.arange(10.0), np.linspace(0, 1, 8)[:, None]
    z = s * (20 + x)
    data = xarray.Dataset(
        {"u": (("time", "lev", "x"), np.stack([3 * z + x + t for t in range(3)]))},
        {"time": np.arange(3.0), "x": x, "z": (("lev", "x"), z)},
    )
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    store = drafted(tmp_path / "a.nc")
    height, along = np.meshgrid(*[c.numpy() for c in store.grid.coordinates()], indexing="ij")
    mask = store.mask(0)
    assert mask is not None
    inside = mask[0].numpy()
    assert (inside == (height <= 20 + along + 1e-9)).all()
    expected = (3 * height + along)[inside]
    np.testing.assert_allclose(store.trajectory(0)[0, 0].numpy()[inside], expected, atol=1e-4)


def test_edges_of_cells_times_in_attributes_and_land(tmp_path: Path) -> None:
    land = np.zeros((Y, X), "i1")
    land[2:4, 5:7] = 1
    values = np.nan_to_num(U).astype("f4")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["land"], file["x"] = land, 2.0 * np.arange(X + 1)
        for k in range(2):
            file[f"run{k}/u"] = values + k
            file[f"run{k}"].attrs["t"] = (1 + k) * np.arange(T)
    (tmp_path / "description.yaml").write_text(
        "axes: [time, y, x]\nfields: {u: 'run*/u'}\ntime: 'run*@t'\ngrid: {x: x}\nmask: not land\n"
    )
    store = open_store(tmp_path)
    assert (store.grid.origin, store.grid.lengths) == ((1.0, 0.0), (20.0, 1.0))
    assert [store.timeline(i).step for i in (0, 1)] == [1, 2]
    mask = store.mask(1)
    assert mask is not None
    np.testing.assert_array_equal(mask[0].numpy().T, land == 0)
    expected = np.where(land, 0, values + 1).transpose(0, 2, 1)
    np.testing.assert_array_equal(store.trajectory(1)[:, 0], expected)
