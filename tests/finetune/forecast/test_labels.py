"""Labelled data as people have them: every answer is right, or refused in a line that is true."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.window import Context
from pelagos.finetune.adapt.adapt import adapt
from pelagos.operators import Description, Operator, create, verdict_of

LAT, LON = -33.75 + 2.5 * np.arange(8), 22.5 * np.arange(16)
GRID = Grid((8, 16), (20.0, 360.0), ("open", "periodic"), (-33.75, 0.0))
UNITS = {"t": "K", "q": "kg/kg", "time": "h", "length": "degree"}
DATES = pd.date_range("2020-02-27", periods=4, freq="6h")
Change = Callable[[xarray.Dataset], xarray.Dataset]


@pytest.fixture(scope="module")
def operator() -> Operator:
    about = Description(("t", "q"), units=UNITS, grid=GRID, axes=("lat", "lon"), time_steps=(6.0,))
    return create("dymixop", description=about, ndim=2, history=2, hidden=4, layers=1, modes=3)


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """(T, C, lat, lon)."""
    values = np.random.default_rng(0).standard_normal((4, 2, 8, 16))
    return (np.array([280.0, 0.01])[:, None, None] * (1 + 0.02 * values)).astype(np.float32)


@pytest.fixture
def data(frames: np.ndarray) -> xarray.Dataset:
    dims = ("time", "lat", "lon")
    return xarray.Dataset(
        {
            "t": (dims, frames[:, 0], {"units": "K"}),
            "q": (dims, frames[:, 1], {"units": "kg/kg"}),
        },
        {
            "time": DATES,
            "lat": ("lat", LAT, {"units": "degrees_north"}),
            "lon": ("lon", LON, {"units": "degrees_east"}),
        },
    )


@pytest.fixture
def expected(operator: Operator, frames: np.ndarray) -> np.ndarray:
    """(T, C, lat, lon) after the last frame."""
    history = torch.from_numpy(frames[None, -2:])
    steps = operator.rollout(history, Context(("t", "q"), GRID, dt=6.0), dt=6.0, steps=2)
    return torch.stack([*steps], 1)[0].numpy()


def in_units(unit: str, shift: float) -> Change:
    return lambda d: d.assign(t=(d.t.astype("f8") + shift).assign_attrs(units=unit))


def back_in_kelvin(found: xarray.Dataset) -> xarray.Dataset:
    return found.assign(t=found.t + 273.15)


def as_it_is(found: xarray.Dataset) -> xarray.Dataset:
    return found


SAME: dict[str, tuple[Change, Change]] = {
    "another order": (lambda d: d.transpose("lon", "time", "lat"), as_it_is),
    "each its own order": (lambda d: d.assign(q=d.q.transpose("lat", "lon", "time")), as_it_is),
    "x and y, turned": (
        lambda d: d.rename(lat="y", lon="x").transpose("time", "x", "y"),
        lambda d: d.rename(y="lat", x="lon"),
    ),
    "CF's axes, turned": (
        lambda d: d.rename(lat="j", lon="i").transpose("time", "i", "j").assign_coords(
            j=("j", LAT, {"axis": "Y"}), i=("i", LON, {"axis": "X"})),
        lambda d: d.rename(j="lat", i="lon"),
    ),
    "a level of one": (lambda d: d.expand_dims(level=[500.0]), lambda d: d.squeeze("level")),
    "members": (
        lambda d: xarray.concat([0.99 * d, d], "member"), lambda d: d.isel(member=1),
    ),
    "further coordinates": (
        lambda d: d.assign_coords(height=2.0, member=3, area=(("lat", "lon"), np.ones((8, 16)))),
        as_it_is,
    ),
    "degC": (in_units("degC", -273.15), back_in_kelvin),
    "° C": (in_units("° C", -273.15), back_in_kelvin),
    "no unit at all": (in_units(None, 0.0), as_it_is),  # pyright: ignore[reportArgumentType]
    "g kg**-1": (
        lambda d: d.assign(q=(1000 * d.q).assign_attrs(units="g kg**-1")),
        lambda d: d.assign(q=d.q / 1000),
    ),
    "seconds": (lambda d: d.assign_coords(time=DATES.astype("datetime64[s]")), as_it_is),
    "numbers of days": (
        lambda d: d.assign_coords(time=("time", 0.25 * np.arange(4), {"units": "days"})), as_it_is
    ),
    "another calendar": (
        lambda d: d.assign_coords(time=xarray.date_range(
            "2020-02-27", periods=4, freq="6h", calendar="360_day", use_cftime=True)), as_it_is
    ),
    "a hole before the given frames": (
        lambda d: d.where(d.time > np.datetime64("2020-02-27T01")), as_it_is
    ),
    "big-endian": (lambda d: d.astype(">f4"), as_it_is),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_the_answer_is_the_same(
    name: str, operator: Operator, data: xarray.Dataset, expected: np.ndarray
) -> None:
    change, back = SAME[name]
    found = back(operator.predict(change(data), steps=2))
    for channel, field in enumerate(("t", "q")):
        values = found[field].transpose("time", "lat", "lon")
        scale = np.abs(expected[:, channel]).max() + (273.15 if "C" in name else 0.0)
        np.testing.assert_allclose(values, expected[:, channel], atol=1e-5 * scale)


def around(d: xarray.Dataset) -> xarray.Dataset:
    """Longitudes from -180 on."""
    return d.assign_coords(lon=(d.lon + 180) % 360 - 180)


WRONG: dict[str, tuple[Change, dict[str, Any], str]] = {
    "south first": (lambda d: d.sortby("lat", ascending=False), {}, r"use data.sortby\('lat'\)"),
    "half a turn": (around, {}, r"use data.assign_coords\(lon=data\['lon'\] % 360\).sortby\("),
    "one point": (lambda d: d.isel(lat=[0]), {}, r"lat has 1 point\(s\), and a grid has at"),
    "texts": (lambda d: d.assign(t=d.t.astype(str)), {}, "t must hold real numbers; got <U32"),
    "dates": (lambda d: d.assign(t=d.t.astype("M8[ns]")), {}, "t must hold real numbers; got d"),
    "complex": (lambda d: d.astype("c8"), {}, "t must hold real numbers; got complex64"),
    "backwards": (lambda d: d.isel(time=slice(None, None, -1)), {}, r"data.sortby\('time'\)"),
    "times as texts": (
        lambda d: d.assign_coords(time=[str(x) for x in DATES]), {},
        "time must hold numbers or dates; got <U19, such as .*2020-02-27 00:00:00",
    ),
    "an ensemble of members": (
        lambda d: xarray.concat([d, d], "member"), {"members": 2}, r"data.rename\(member='traj"
    ),
    "no time": (as_it_is, {"times": []}, "no lead time is asked for"),
    "no date": (as_it_is, {"times": ["soon"]}, "'soon' is no date, such as 2020-02-27T18"),
    "no start": (as_it_is, {"start": "soon", "steps": 1}, "start must be a time of the data"),
    "a parameter that is none": (
        as_it_is, {"steps": 1, "parameters": {"nu": float("nan")}}, "nu must be a finite number"
    ),
    "endless noise": (
        as_it_is, {"steps": 1, "members": 2, "perturbation": float("inf")}, "must be finite and not"
    ),
    "a number beside dates": (
        as_it_is, {"start": 1, "steps": 1}, "start must be a time of the data"
    ),
    "names of members": (
        as_it_is, {"steps": 1, "members": ("a", "b")}, r"or other operators; got \('a', 'b'\)"
    ),
    "a seed below": (as_it_is, {"steps": 1, "seed": -1}, "seed must be a whole number from 0 on"),
    "half a member": (as_it_is, {"steps": 1, "members": 2.5}, "members must be a whole number, or"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_the_reason_is_true(name: str, operator: Operator, data: xarray.Dataset) -> None:
    change, asked, text = WRONG[name]
    with pytest.raises(ValueError, match=text) as error:
        operator.predict(change(data), **(asked or {"steps": 1}))
    assert len(str(error.value).splitlines()) == 1


def test_another_place_on_the_globe_is_outside_and_its_remedy_works(
    operator: Operator, data: xarray.Dataset, expected: np.ndarray
) -> None:
    turned = around(data).sortby("lon")
    with pytest.warns(UserWarning, match=r"it begins at -33\.75, -180 .*; in training at"):
        operator.predict(turned, steps=1)
    found = operator.predict(turned.assign_coords(lon=turned["lon"] % 360).sortby("lon"), steps=2)
    np.testing.assert_allclose(found["t"], expected[:, 0], rtol=1e-5)
    grid = next(f for f in verdict_of(found).findings if f.quantity == "grid")
    assert grid.status == "inside"


@pytest.mark.parametrize(
    "start",
    ["2020-02-27T12", datetime(2020, 2, 27, 12), pd.Timestamp("2020-02-27T12"), DATES[2]],
)
def test_dates_of_every_kind_are_dates(
    start: Any, operator: Operator, data: xarray.Dataset
) -> None:
    expected = operator.predict(data.isel(time=slice(0, 3)), steps=1)
    xarray.testing.assert_allclose(operator.predict(data, start=start, steps=1), expected)
    times = ["2020-02-27T18"] if isinstance(start, str) else [start + pd.Timedelta("6h")]
    xarray.testing.assert_allclose(operator.predict(data, start=start, times=times), expected)


def test_a_day_is_a_date_and_other_calendars_have_dates(
    operator: Operator, data: xarray.Dataset
) -> None:
    later = data.assign_coords(time=DATES - pd.Timedelta("18h"))
    day = operator.predict(later, start=date(2020, 2, 27), steps=1)  # its last frame
    xarray.testing.assert_allclose(day, operator.predict(later, steps=1))
    times = xarray.date_range("2020-02-27", periods=4, freq="6h", calendar="noleap",
                              use_cftime=True)  # fmt: skip
    other = data.assign_coords(time=times)
    found = operator.predict(other, start="2020-02-27T12:00", times=["2020-02-27T18:00"])
    again = operator.predict(data, start="2020-02-27T12", steps=1)
    np.testing.assert_allclose(found["t"], again["t"])


def test_a_file_that_is_none_is_said(operator: Operator, tmp_path: Path) -> None:
    (tmp_path / "a.nc").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"a\.nc cannot be read: it is damaged, or neit") as error:
        operator.predict(tmp_path / "a.nc", steps=1)
    assert len(str(error.value).splitlines()) == 1
    with pytest.raises(ValueError, match=r"/nowhere\.nc cannot be read: there is no such file"):
        operator.predict("/nowhere.nc", steps=1)


def test_a_figure_has_the_data_s_axes(operator: Operator, data: xarray.Dataset) -> None:
    """Samples with coordinates are no axis of space; times are hours where they are long."""
    both = xarray.concat([data, data], "number").assign_coords(number=[3, 4])
    found = operator.predict(both, steps=2)
    images = [axes for axes in found.pelagos.plot().axes if axes.images]
    assert [axes.get_title() for axes in images] == ["after 6 h", "after 12 h", "", ""]
    assert images[0].images[0].get_array().shape == (16, 8)
    bare = operator.predict(data.drop_vars(["lat", "lon"]), steps=1)
    (image,) = (axes.images[0] for axes in bare.pelagos.plot().axes[:1])
    np.testing.assert_allclose(image.get_array(), bare["t"][0].T)


def test_members_of_the_data_are_no_ensemble_of_ours(
    operator: Operator, data: xarray.Dataset
) -> None:
    """A figure shows one of them, as of any sample; of members that we made, their mean."""
    about = {"standard_name": "realization"}
    theirs = xarray.concat([0.99 * data, data], "member").assign_coords(
        member=("member", [4, 7], about)
    )
    found = operator.predict(theirs, steps=1)
    assert found.t.dims == theirs.t.dims
    assert found.member.values.tolist() == [4, 7]
    for chosen, number in (({}, 0), ({"member": 1}, 1)):
        images = [axes.images[0] for axes in found.pelagos.plot(**chosen).axes if axes.images]
        np.testing.assert_allclose(images[0].get_array(), found.t[number, 0].T)
    ours = operator.predict(data, steps=1, members=3)
    first = next(axes.images[0] for axes in ours.pelagos.plot().axes if axes.images)
    np.testing.assert_allclose(first.get_array(), ours.t.mean("member")[0].T)
    del ours.attrs["ensemble"]  # as in a file of `pelagos predict`
    first = next(axes.images[0] for axes in ours.pelagos.plot().axes if axes.images)
    np.testing.assert_allclose(first.get_array(), ours.t.mean("member")[0].T)
    with pytest.raises(ValueError, match=r"a coordinate 'member' .*rename\(member='given_"):
        operator.predict(theirs.swap_dims(member="run"), steps=1, members=2)


def test_time_is_the_dimension_of_that_name(operator: Operator, data: xarray.Dataset) -> None:
    """Also beside another one of time, in whatever order; that one counts samples."""
    both = data.expand_dims(valid_time=[0, 1])
    for given in (both, both.transpose("time", ...)):
        found = operator.predict(given, steps=1)
        assert found.t.sizes == {**given.t.sizes, "time": 1}
    with pytest.raises(ValueError, match=r"'lead_time' beside 'time'.*rename\(lead_time='given_at"):
        operator.predict(both.rename(valid_time="lead_time"), steps=1)


def test_arrays_start_at_the_frame_of_a_number(operator: Operator, frames: np.ndarray) -> None:
    for data, rows in ((frames, frames[:3]), (frames[None], frames[None, :3])):
        found = operator.predict(data, start=np.int64(2), steps=1)
        np.testing.assert_array_equal(found, operator.predict(rows, steps=1))
    for start in (-1, 4, "soon"):
        with pytest.raises(ValueError, match="start is the number of a frame, 0 to 3; got"):
            operator.predict(frames, start=start, steps=1)
    assert len(operator.predict(frames, steps=1, members=np.int64(2))) == 2


def test_conditions_that_vary_along_time_or_space_are_named() -> None:
    about = Description(("u",), constant_fields=("k",), parameters=("nu",), time_steps=(1.0,))
    operator = create("dymixop", description=about, ndim=1, history=1, hidden=4, layers=1, modes=3)
    u, x, one = np.zeros((2, 16), np.float32), np.arange(16) / 16, np.ones(16, np.float32)
    data = xarray.Dataset(
        {"u": (("time", "x"), u), "k": ("x", one)}, {"time": [0.0, 1.0], "x": x, "nu": 1.0}
    )
    operator.predict(data, steps=1)
    moving = data.assign(k=data["k"] * xarray.ones_like(data["time"]))
    with pytest.raises(ValueError, match=r"constant field k has the dimension\(s\) time, and may"):
        operator.predict(moving, steps=1)
    for dim in ("x", "time"):
        varied = data.assign_coords(nu=(dim, np.ones(data.sizes[dim])))
        said = rf"parameter nu has the dimension\(s\) {dim}, and may"
        with pytest.raises(ValueError, match=said):
            operator.predict(varied, steps=1)


def test_notebooks_show_the_verdict_of_a_prediction(
    operator: Operator, data: xarray.Dataset
) -> None:
    found = operator.predict(data, steps=1)
    assert "initial state" in found.pelagos._repr_html_()
    assert "verdict: " in repr(found.pelagos)
    _, report = adapt(operator, operator.description, source="<here>")
    shown = report._repr_html_()
    assert "&lt;here&gt;: 100.0% of the weights loaded" in shown
    assert "<td style='text-align:left'>fields kept</td>" in shown
