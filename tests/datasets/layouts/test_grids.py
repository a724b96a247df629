"""Other grids than uniform ones, against SciPy and xarray: interpolation, faces, meshes."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray
from scipy.interpolate import CubicSpline, RegularGridInterpolator, griddata

from pelagos.datasets import Store, open_store
from pelagos.datasets.tools.convert import convert

GAUSS = np.degrees(np.arcsin(np.polynomial.legendre.leggauss(16)[0]))  # from south to north
LON = np.arange(24) * 15.0
T = 3


def values(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype("f4")


def opened(folder: Path, text: str, **arrays: np.ndarray) -> Store:
    folder.mkdir(exist_ok=True)
    (folder / "description.yaml").write_text(text)
    with h5py.File(folder / "a.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return open_store(folder)


def gaussian(folder: Path, u: np.ndarray, more: str, lat: np.ndarray = GAUSS) -> Store:
    """A NetCDF file on Gaussian latitudes, and a description that says little else."""
    folder.mkdir(exist_ok=True)
    lon = ("lon", LON, {"units": "degrees_east"})
    coordinates = {"time": np.arange(T) * 6.0, "lat": lat, "lon": lon}
    dataset = xarray.Dataset({"u": (("time", "lat", "lon"), u)}, coordinates)
    dataset.to_netcdf(folder / "a.nc", engine="h5netcdf")
    (folder / "description.yaml").write_text("axes: [time, lat, lon]\nfields: {u: u}\n" + more)
    return open_store(folder)


@pytest.mark.parametrize("method", ["linear", "nearest", "cubic"])
@pytest.mark.parametrize("north_first", [False, True])
def test_gaussian_latitudes(tmp_path: Path, method: str, north_first: bool) -> None:
    u = values(T, 16, 24)
    lat, stored = (GAUSS[::-1], u[:, ::-1]) if north_first else (GAUSS, u)
    more = f"regrid: {{to: 9×12, method: {method}}}\n"
    store = gaussian(tmp_path / "a", stored, more, lat)
    points = [each.numpy() for each in store.grid.coordinates()]
    np.testing.assert_allclose(points[0], np.linspace(GAUSS[0], GAUSS[-1], 9))
    np.testing.assert_allclose(points[1], np.linspace(0, 345, 12))
    there = np.stack(np.meshgrid(*points, indexing="ij"), -1)
    expected = [
        RegularGridInterpolator((GAUSS, LON), frame.astype(float), method, bounds_error=False)(
            np.clip(there, [GAUSS[0], 0], [GAUSS[-1], 345])
        )
        for frame in u
    ]
    accuracy = 1e-4 if method == "cubic" else 2e-6  # SciPy solves for its spline up to a tolerance
    np.testing.assert_allclose(store.trajectory(0)[:, 0], expected, atol=accuracy)
    np.testing.assert_array_equal(store.read(0, 1, 3)[:, 0], store.trajectory(0)[1:3, 0])
    assert store.provenance["regridded"] == {"from": [16, 24], "to": [9, 12], "method": method}


def test_longitudes_go_around(tmp_path: Path) -> None:
    u = values(T, 16, 24)
    for method in ("linear", "cubic"):
        more = f"boundary: [open, periodic]\nregrid: {{to: 16×36, method: {method}}}\n"
        store = gaussian(tmp_path / method, u, more)
        assert store.grid.lengths[1] == 360
        closed = np.concatenate([u, u[..., :1]], -1).astype(float)
        lon, lat = store.grid.coordinates()[1].numpy(), store.grid.coordinates()[0].numpy()
        if method == "linear":
            along = np.stack([np.interp(lon, np.append(LON, 360), row) for row in
                              closed.reshape(-1, 25)]).reshape(T, 16, 36)  # fmt: skip
            expected = RegularGridInterpolator((GAUSS,), along.swapaxes(0, 1))(
                np.clip(lat, GAUSS[0], GAUSS[-1])[:, None]
            ).swapaxes(0, 1)
        else:
            along = CubicSpline(np.append(LON, 360), closed, -1, "periodic")(lon)
            expected = CubicSpline(GAUSS, along, 1)(lat)
        np.testing.assert_allclose(store.trajectory(0)[:, 0], expected, atol=5e-6)


@pytest.mark.parametrize("method", ["linear", "nearest", "cubic"])
def test_what_rests_on_a_missing_point_is_missing(tmp_path: Path, method: str) -> None:
    x = np.cumsum(1 + 0.3 * np.sin(np.arange(20)))
    u = np.broadcast_to(np.sin(x / 6)[:, None], (T, 20, 8)).copy()
    land = (slice(None), slice(8, 11), slice(2, 5))
    u[land] = np.nan
    text = (
        "axes: [time, x, y]\nfields: {u: u}\ntime: {step: 1}\ngrid: {x: x, y: [0, 8]}\n"
        f"regrid: {{to: {{x: 33}}, method: {method}}}\n"
    )
    store = opened(tmp_path / "a", text, u=u, x=x)
    new = store.grid.coordinates()[0].numpy()
    mask = store.mask(0)
    assert mask is not None
    reach = 2 if method == "cubic" else 1
    low, high = x[8 - reach], x[10 + reach]
    if method == "nearest":
        low, high = (x[7] + x[8]) / 2, (x[10] + x[11]) / 2
    gone = (new > low + 1e-9) & (new < high - 1e-9)
    expected = np.ones((33, 8), bool)
    expected[gone, 2:5] = False
    np.testing.assert_array_equal(mask[0].numpy(), expected)
    there = store.trajectory(0)[:, 0].numpy()[:, expected]
    exact = np.broadcast_to(np.sin(new / 6)[:, None], (33, 8))[expected]
    np.testing.assert_allclose(there, np.broadcast_to(exact, there.shape), atol=0.2)
    assert open_store(convert(tmp_path / "a", tmp_path / "out")).mask(0).equal(mask)


def test_a_mask_that_an_array_names_and_constants_go_along(tmp_path: Path) -> None:
    x = np.array([0.0, 1, 3, 6, 10, 15])
    sea = np.array([1, 1, 0, 1, 1, 1], "i1")
    u = np.where(sea, 2 * x, 1e30) * np.ones((T, 1))
    text = (
        "axes: [time, x]\nfields: {u: u}\nconstants: {depth: depth}\ntime: {step: 1}\nmask: sea\n"
        "regrid: {to: [3.0]}\n"
    )
    store = opened(tmp_path, text, u=u, depth=x**2, x=x, sea=sea)
    np.testing.assert_allclose(store.grid.coordinates()[0], np.arange(0, 16, 3))
    mask = store.mask(0)
    assert mask is not None
    assert mask[0].tolist() == [True, False, True, True, True, True]  # at 3 there is land
    assert store.trajectory(0)[0, 0].tolist() == [0, 0, 12, 18, 24, 30]
    depth = np.interp(np.arange(0, 16, 3), x, x**2)
    np.testing.assert_allclose(store.constants(0)[0], depth)


def curved(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    i, j = np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, m), indexing="ij")
    return i + 0.1 * np.sin(3 * j), j + 0.05 * np.sin(4 * i)


@pytest.mark.parametrize("order", ["x, y", "y, x"])
def test_curvilinear_coordinates(tmp_path: Path, order: str) -> None:
    x, y = curved(24, 20)
    plane = np.stack([1 + 2 * x - 3 * y + t for t in range(T)])
    wave = np.stack([np.sin(3 * x + 2 * y + t) for t in range(T)])
    arrays = {"plane": plane, "wave": wave, "X": x, "Y": y}
    if order == "y, x":
        arrays = {name: array.swapaxes(-1, -2) for name, array in arrays.items()}
    text = (
        f"axes: [time, {order}]\nfields: {{plane: plane, wave: wave}}\ntime: {{step: 1}}\n"
        "grid: {x: X, y: Y}\n"
    )
    with pytest.raises(ValueError, match=r"are curvilinear.*regrid: \{to: 24×20\}"):
        opened(tmp_path, text, **arrays)
    store = opened(tmp_path, text + "regrid: {to: 30×26}\n", **arrays)
    a, b = np.meshgrid(*[each.numpy() for each in store.grid.coordinates()], indexing="ij")
    mask = store.mask(0)
    assert mask is not None
    inside = mask[0].numpy()
    assert 0.7 < inside.mean() < 0.95  # outside of the mesh nothing is predicted
    got = store.trajectory(0).numpy()
    exact = np.stack([1 + 2 * a - 3 * b + t for t in range(T)])
    np.testing.assert_allclose(got[:, 0][:, inside], exact[:, inside], atol=1e-5)
    peer = griddata((x.ravel(), y.ravel()), wave[1].ravel(), (a[inside], b[inside]))
    np.testing.assert_allclose(got[1, 1][inside], peer, atol=1e-2)
    near = opened(tmp_path, text + "regrid: {to: 30×26, method: nearest}\n", **arrays)
    peer = griddata((x.ravel(), y.ravel()), wave[1].ravel(), (a[inside], b[inside]), "nearest")
    np.testing.assert_allclose(near.trajectory(0)[1, 1][inside], peer, atol=1e-6)
    with pytest.raises(ValueError, match="method cubic needs coordinates of each axis of its own"):
        opened(tmp_path, text + "regrid: {to: 30×26, method: cubic}\n", **arrays)


def test_the_hole_of_a_mesh_stays_a_hole(tmp_path: Path) -> None:
    """A ring around a cylinder: a triangulation of its points would fill the cylinder."""
    r, phi = np.meshgrid(np.linspace(1, 2, 12), np.linspace(0, 2 * np.pi, 49), indexing="ij")
    x, y = r * np.cos(phi), r * np.sin(phi)
    u = np.stack([x + t for t in range(T)])
    text = (
        "axes: [time, x, y]\nfields: {u: u}\ntime: {step: 1}\ngrid: {x: X, y: Y}\n"
        "regrid: {to: 41×41}\n"
    )
    store = opened(tmp_path, text, u=u, X=x, Y=y)
    mask = store.mask(0)
    assert mask is not None
    a, b = np.meshgrid(*[each.numpy() for each in store.grid.coordinates()], indexing="ij")
    radius = np.hypot(a, b)
    assert not mask[0][((radius < 0.99) | (radius > 2.01))].any()
    assert mask[0][((radius > 1.02) & (radius < 1.98))].all()
    inside = mask[0].numpy()
    np.testing.assert_allclose(store.trajectory(0)[0, 0][inside], a[inside], atol=1e-6)


def test_longitudes_of_a_mesh_may_jump(tmp_path: Path) -> None:
    """An ocean grid, turned by 100 degrees, that goes around; and a part of it across 0."""
    east, north = np.meshgrid(np.arange(0, 360, 5.0), np.linspace(-60, 60, 25), indexing="ij")
    lat = north + 3 * np.sin(np.radians(2 * east))
    lon = (east + 100) % 360
    field = np.cos(np.radians(lon)) * np.cos(np.radians(lat))

    def saved(folder: Path, part: slice, to: str) -> Store:
        folder.mkdir()
        where = {
            "lon": (("i", "j"), lon[part], {"units": "degrees_east"}),
            "lat": (("i", "j"), lat[part], {"units": "degrees_north"}),
        }
        u = np.stack([field[part] + t for t in range(T)])
        dataset = xarray.Dataset({"u": (("time", "i", "j"), u)}, {"time": np.arange(T), **where})
        dataset.to_netcdf(folder / "a.nc", engine="h5netcdf")
        (folder / "description.yaml").write_text(
            "axes: [time, x, y]\nfields: {u: u}\ngrid: {x: lon, y: lat}\n"
            f"regrid: {{to: {to}}}\n"
        )
        return open_store(folder)

    for name, part, to, reach in (
        ("whole", slice(None), "72×25", 360),
        ("part", slice(40, 60), "20×25", 95),
    ):
        store = saved(tmp_path / name, part, to)
        a, b = np.meshgrid(*[each.numpy() for each in store.grid.coordinates()], indexing="ij")
        assert a[-1, 0] - a[0, 0] == pytest.approx(reach - (5 if reach == 360 else 0))
        mask = store.mask(0)
        assert mask is not None
        middle = np.abs(b) < 55
        assert mask[0].numpy()[middle].all()
        exact = np.cos(np.radians(a)) * np.cos(np.radians(b))
        np.testing.assert_allclose(
            store.trajectory(0)[0, 0].numpy()[middle], exact[middle], atol=6e-3
        )


def test_targets_that_fit_no_axes_are_refused(tmp_path: Path) -> None:
    x = np.array([0.0, 1, 3, 6])
    text = "axes: [time, x]\nfields: {u: u}\ntime: {step: 1}\nregrid: "
    for target, message in (
        ("{to: 8×8}", r"regrid.to: for each of the axes x .*got '8×8'"),
        ("{to: [1]}", r"regrid.to: .* its points \(2 or more\)"),
        ("{to: {y: 8}}", "regrid.to: no axis y"),
        ("{to: many}", "regrid.to: for each of the axes x"),
        ("{to: 8, method: spline}", "regrid.method"),
        ("{to: 100000000}", "more than 16777216 points"),
    ):
        with pytest.raises(ValueError, match=message):
            opened(tmp_path, text + target, u=np.ones((T, 4)), x=x)
    with pytest.raises(ValueError, match="method cubic needs 4 points"):
        opened(tmp_path, text + "{to: 8, method: cubic}", u=np.ones((T, 3)), x=x[:3])
    with pytest.raises(ValueError, match=r"do not say its period"):
        opened(tmp_path, "boundary: periodic\n" + text + "{to: 8}", u=np.ones((T, 4)), x=x)


# ------------------------------------------------------------------ faces


def test_all_faces(tmp_path: Path) -> None:
    u, v, p = values(T, 9, 6), values(T, 8, 7), values(T, 8, 6)
    text = "axes: [time, x, y]\nfields: {u: u, v: v, p: p}\ntime: {step: 1}\n"
    with pytest.raises(ValueError, match=r"staggered: \{u: x\}"):
        opened(tmp_path, text, u=u, v=v, p=p)
    store = opened(tmp_path, text + "staggered: {u: x, v: y}\n", u=u, v=v, p=p)
    expected = np.stack([(u[:, 1:] + u[:, :-1]) / 2, (v[..., 1:] + v[..., :-1]) / 2, p], 1)
    np.testing.assert_array_equal(store.trajectory(0), expected)
    np.testing.assert_array_equal(store.read(0, 1, 3, 1)[:, 0], expected[1:3, 0])
    with pytest.raises(ValueError, match="staggered: no field w"):
        opened(tmp_path, text + "staggered: {w: x}\n", u=u, v=v, p=p)


@pytest.mark.parametrize("first", [-0.5, 0.5])
def test_faces_of_a_periodic_axis(tmp_path: Path, first: float) -> None:
    u, p = values(2, T, 8), values(2, T, 8)
    x = np.arange(8.0)
    dataset = xarray.Dataset(
        {"u": (("run", "time", "x_u"), u), "p": (("run", "time", "x"), p)},
        {"time": np.arange(T), "x": x, "x_u": x + first},
    )
    dataset.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    text = "axes: [trajectory, time, x]\nfields: {u: u, p: p}\n"
    (tmp_path / "description.yaml").write_text(text + "boundary: periodic\n")
    store = open_store(tmp_path)  # found by the names
    expected = (u + np.roll(u, -1 if first < 0 else 1, -1)) / 2
    np.testing.assert_array_equal(store.trajectory(1)[:, 0], expected[1])
    assert store.grid.origin == (0.0,)
    (tmp_path / "description.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"has 8 faces along 'x' for 8 cells.*periodic"):
        open_store(tmp_path)
    (tmp_path / "description.yaml").unlink()
    with pytest.raises(ValueError, match=r"has 8 faces along 'x' for 8 cells.*periodic"):
        open_store(tmp_path / "a.nc")


def test_faces_at_walls_that_are_left_out(tmp_path: Path) -> None:
    u = values(T, 7)
    text = (
        "axes: [time, x]\nfields: {p: p, u: u}\ntime: {step: 1}\nboundary: wall\n"
        "staggered: {u: x}\n"
    )
    store = opened(tmp_path, text, u=u, p=values(T, 8))
    padded = np.pad(u, ((0, 0), (1, 1)))
    np.testing.assert_array_equal(store.trajectory(0)[:, 1], (padded[:, 1:] + padded[:, :-1]) / 2)


def test_faces_by_the_names_of_a_model(tmp_path: Path) -> None:
    """MOM6's xh, xq; only u and v, with no point at a centre of their own."""
    u, v = values(T, 6, 9), values(T, 7, 8)
    xh, yh = 0.5 + np.arange(8.0), 0.5 + np.arange(6.0)
    dataset = xarray.Dataset(
        {"u": (("time", "yh", "xq"), u), "v": (("time", "yq", "xh"), v)},
        {
            "time": np.arange(T) * 1.0,
            "xh": xh,
            "yh": yh,
            "xq": np.arange(9.0),
            "yq": np.arange(7.0),
        },
    )
    dataset.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    store = open_store(tmp_path / "a.nc")
    assert store.fields == ("u", "v")
    np.testing.assert_allclose(store.grid.coordinates()[store.axes.index("xh")], xh)
    got = store.trajectory(0).numpy()
    np.testing.assert_array_equal(got[:, 0], (u[..., 1:] + u[..., :-1]) / 2)
    np.testing.assert_array_equal(got[:, 1], (v[:, 1:] + v[:, :-1]) / 2)


def test_other_coordinates_of_one_axis_are_refused(tmp_path: Path) -> None:
    dataset = xarray.Dataset(
        {"p": (("time", "x"), values(T, 8)), "u": (("time", "position"), values(T, 8))},
        {"time": np.arange(T), "x": np.arange(8.0), "position": np.arange(8.0) + 0.5},
    )
    dataset.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    text = "axes: [time, x]\nfields: {p: p, u: u}\n"
    (tmp_path / "description.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"'u' has other coordinates along x.*staggered"):
        open_store(tmp_path)


# ------------------------------------------------------------------ no grids


def test_places_of_a_mesh_are_refused(tmp_path: Path) -> None:
    places = np.random.default_rng(0).random(8)
    text = "axes: [time, x]\nfields: {u: u}\ntime: {step: 1}\n"
    with pytest.raises(ValueError, match=r"neither increase nor decrease.*griddata"):
        opened(tmp_path, text, u=values(T, 8), x=places)
    text = "axes: [time, node]\nfields: {u: u}\ntime: {step: 1}\n"
    with pytest.raises(ValueError, match=r"'node' counts the places of an unstructured mesh"):
        opened(tmp_path, text, u=values(T, 8), x=places)
    lists = {"points": values(8, 2), "cells": np.zeros((5, 3), int), "u": values(T, 8)}
    with h5py.File(tmp_path / "b.h5", "w") as file:
        for name, array in lists.items():
            file[name] = array
    (tmp_path / "description.yaml").unlink()
    with pytest.raises(ValueError, match=r"points and cells list an unstructured mesh.*griddata"):
        open_store(tmp_path / "b.h5")
