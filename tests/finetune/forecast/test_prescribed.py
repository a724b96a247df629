"""Forecasts along what is prescribed: in the data, or in a file of its own."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray
from driven_tank import DT, FRAMES, POINTS, START, TIMES, Tank, inflow, level, tank, write_tank

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.finetune.assimilate.start import start_cold, start_from
from pelagos.finetune.cli.console import main
from pelagos.finetune.forecast.evaluate import evaluate
from pelagos.finetune.forecast.predict import predict
from pelagos.finetune.forecast.request import Request
from pelagos.finetune.forecast.stream import write_forecast
from pelagos.operators import assimilate, verdict_of
from pelagos.operators.assimilation.correction import CorrectionConfig
from pelagos.operators.core import registry
from pelagos.operators.core.trained import Ranges


@pytest.fixture
def tanks(tmp_path: Path) -> Path:
    return write_tank(tmp_path / "tank", {"test": 3})


def labelled(q: np.ndarray, frames: int) -> xarray.Dataset:
    """One tank: its first frames, and its inflow at all times."""
    u = level(q[None])[0, :frames].astype(np.float64)
    x = np.arange(POINTS) / POINTS
    return xarray.Dataset(
        {
            "u": (("time", "x"), u, {"units": "m"}),
            "q": (("forcing_time",), 1000.0 * q, {"units": "mm/s"}),
        },
        {"time": TIMES[:frames], "forcing_time": ("forcing_time", TIMES[: len(q)]), "x": x},
    )


def known(operator: Tank) -> Tank:
    grid = Grid.unit((POINTS,))
    units = {"u": "m", "q": "m/s"}
    operator.description = replace(operator.description, grid=grid, units=units)
    return operator


@pytest.mark.parametrize("scalar", [True, False])
def test_stored_inflows_lead_to_the_stored_levels(tmp_path: Path, scalar: bool) -> None:
    store = open_store(write_tank(tmp_path / "tank", {"test": 3}, scalar=scalar))
    operator = tank()
    scores = evaluate(operator, store)
    assert max(np.ravel(scores["scores"]["vrmse"]["u"]["mean"])) < 1e-5
    found = predict(operator, store, start=2, steps=4)
    np.testing.assert_allclose(found["u"], found["u_truth"], atol=1e-5)
    assert found.attrs["prescribed"] == "q"
    with pytest.raises(ValueError, match=r"q is prescribed .* until time 14, and 15 is asked for"):
        predict(operator, store, steps=10)


def test_fields_that_a_layout_calls_predicted_are_found_by_name(tmp_path: Path) -> None:
    path = write_tank(tmp_path / "tank", {"test": 2}, scalar=False, prescribed=())
    store = open_store(path)
    assert store.prescribed is None
    scores = evaluate(tank(), store)
    assert max(np.ravel(scores["scores"]["vrmse"]["u"]["mean"])) < 1e-5
    with pytest.raises(ValueError, match=r"takes flow as prescribed .* no such field"):
        evaluate(tank(prescribed=("flow",)), store)
    filled = predict(tank(prescribed=("flow",), fill={"flow": 0.0}), store, steps=2)
    np.testing.assert_allclose(filled["u"][:, 1], store.trajectory(0)[0, 0].expand(2, -1))


def test_a_file_takes_the_place_of_the_store_s_own(tanks: Path, tmp_path: Path) -> None:
    store = open_store(tanks)
    longer = inflow(5, 1, 2 * FRAMES)[0]
    times = START + DT * np.arange(2 * FRAMES)
    path = tmp_path / "inflow.nc"
    xarray.Dataset({"q": (("time",), longer)}, {"time": times}).to_netcdf(path, engine="h5netcdf")
    request = Request(steps=12, prescribed=str(path))
    out = write_forecast(tank(), store, tmp_path / "p.nc", request).path
    with xarray.open_dataset(out, engine="h5netcdf") as found:
        gained = level(longer[None])[0, 1:13] - level(longer[None])[0, :1]
        expected = store.trajectory(2)[0, 0].numpy() + gained
        np.testing.assert_allclose(found["u"][2], expected, atol=1e-4)
    with pytest.raises(ValueError, match=r"from 10 until 30; there are 10 to 18.5: give more"):
        predict(tank(), store, replace(request, steps=40))
    other = xarray.Dataset({"q": (("time",), longer[::2])}, {"time": times[::2]})
    other.to_netcdf(tmp_path / "coarse.nc", engine="h5netcdf")
    with pytest.warns(UserWarning, match="at 1 of 3 it is taken as linear"):
        predict(tank(), store, replace(request, steps=2, prescribed=str(tmp_path / "coarse.nc")))


def test_labelled_data_have_it_at_times_of_their_own() -> None:
    q = inflow(1, 1)[0]
    data = labelled(q, 3)
    found = known(tank()).predict(data, steps=5)
    np.testing.assert_allclose(found["u"], level(q[None])[0, 3:8], atol=1e-4)
    with pytest.raises(ValueError, match=r"q is prescribed .* from 11 until 16; there are 10 to"):
        known(tank()).predict(data, steps=10)
    with pytest.raises(ValueError, match=r"the data have no such variable: data.assign\(q="):
        known(tank()).predict(data.drop_vars("q"), steps=2)
    broken = data.copy(deep=True)
    broken["q"][4] = np.nan
    with pytest.raises(ValueError, match=r"q holds NaN .* at times of the forecast"):
        known(tank()).predict(broken, steps=3)
    known(tank()).predict(broken, steps=1)  # NaN later than what is asked for
    apart = data.drop_vars(["q", "forcing_time"])
    given = data[["q"]].rename(forcing_time="time")
    other = known(tank()).predict(apart, steps=5, prescribed=given)
    np.testing.assert_allclose(other["u"], found["u"])
    away = xarray.Dataset({"q": (("time", "x"), np.ones((9, POINTS)))},
                          {"time": TIMES, "x": 0.5 + data["x"].values})  # fmt: skip
    with pytest.raises(ValueError, match="other coordinates along x"):
        known(tank()).predict(apart, steps=2, prescribed=away)
    here = away.assign_coords(x=data["x"].values)
    turned = here.assign(q=here["q"] * here["x"]).isel(x=slice(None, None, -1))
    with pytest.raises(ValueError, match="other coordinates along x"):  # without units, too
        known(tank()).predict(apart, steps=2, prescribed=turned)
    with pytest.raises(ValueError, match="q must hold real numbers; got <U"):
        known(tank()).predict(apart, steps=2, prescribed=here.astype(str))
    with pytest.raises(ValueError, match="arrays have no times"):
        known(tank()).predict(data["u"].values, steps=2, prescribed=given)


def in_unit(data: xarray.Dataset, unit: str, seconds: float) -> xarray.Dataset:
    """The same with its times in a unit of so many seconds, which they say."""
    about = {"units": unit} if unit else {}
    return data.assign_coords(time=("time", data["time"].values / seconds, about))


@pytest.mark.parametrize(
    ("unit", "own", "given"),
    [
        ("s", ("s", 1), ("min", 60)),
        ("s", ("ms", 1e-3), ("s", 1)),
        ("s", ("s", 1), ("", 1)),
        ("s", ("ms", 1e-3), ("", 1e-3)),
        ("", ("s", 1), ("min", 60)),
        ("1", ("s", 1), ("min", 60)),
    ],
)
def test_times_of_another_unit_are_converted(unit, own, given, tmp_path: Path) -> None:
    """Numbers that say no unit count as those of the initial frames."""
    q = inflow(1, 1)[0]
    data = labelled(q, 3)
    operator = known(tank())
    units = {**operator.description.units, "time": unit}
    operator.description = replace(operator.description, units=units)
    apart = in_unit(data.drop_vars(["q", "forcing_time"]), *own)
    beside = in_unit(data[["q"]].rename(forcing_time="time"), *given)
    found = operator.predict(apart, steps=5, prescribed=beside)
    np.testing.assert_allclose(found["u"], level(q[None])[0, 3:8], atol=1e-4)


def test_a_file_of_another_unit_goes_with_stored_times(tanks: Path, tmp_path: Path) -> None:
    store, operator = open_store(tanks), tank()
    units = {**operator.description.units, "time": "s"}
    operator.description = replace(operator.description, units=units)
    q = inflow(5, 1, FRAMES)[0]
    times = xarray.DataArray((START + DT * np.arange(FRAMES)) / 3600, dims="time")
    hours = xarray.Dataset({"q": (("time",), q)}, {"time": times.assign_attrs(units="hour")})
    hours.to_netcdf(tmp_path / "hours.nc", engine="h5netcdf")
    found = predict(operator, store, steps=4, prescribed=str(tmp_path / "hours.nc"))
    gained = level(q[None])[0, 1:5] - level(q[None])[0, :1]
    expected = store.trajectory(2)[0, 0].numpy() + gained
    np.testing.assert_allclose(found["u"][2], expected, atol=1e-4)


def test_what_is_the_same_at_all_times_is_said_once_and_without_a_word() -> None:
    data = labelled(inflow(1, 1)[0], 3).drop_vars("forcing_time").assign(q=0.5)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".* taken as linear")
        found = known(tank()).predict(data.assign(q=data["q"].assign_attrs(units="m/s")), steps=3)
    gained = found["u"].values - data["u"].values[-1]
    np.testing.assert_allclose(gained, [[0.5 * DT * k] * POINTS for k in (1, 2, 3)], atol=1e-5)


def test_dates_and_samples_go_together() -> None:
    q = inflow(3, 2)
    dates = np.datetime64("2030-01-01T00", "ns") + (500 * np.arange(FRAMES)).astype("m8[ms]")
    data = xarray.Dataset(
        {
            "u": (("basin", "time", "x"), level(q)[:, :2]),
            "q": (("time_q", "basin"), q.T),
        },
        {"time": dates[:2], "time_q": ("time_q", dates), "x": np.arange(POINTS) / POINTS},
    )
    operator = known(tank())
    operator.description = replace(operator.description, units={"time": "s"})
    found = operator.predict(data, steps=3)
    np.testing.assert_allclose(found["u"], level(q)[:, 2:5], atol=1e-4)
    numbers = xarray.Dataset({"q": (("time",), q[0])}, {"time": TIMES})
    with pytest.raises(ValueError, match="give both as dates, or both as numbers"):
        operator.predict(data, steps=3, prescribed=numbers)


@pytest.mark.filterwarnings("ignore:outside of what was trained")
def test_the_verdict_compares_it_with_training() -> None:
    q = inflow(1, 1)[0]
    data = labelled(q, 3)
    ranges = Ranges({"u": {}}, prescribed={"q": (-3.0, 3.0)})
    operator = known(tank(trained={"tank": ranges}))
    inside = verdict_of(operator.predict(data, steps=4))
    assert {f.quantity: f.status for f in inside.findings}["prescribed q"] == "inside"
    far = data.assign(q=40 * data["q"])
    outside = verdict_of(operator.predict(far, steps=4))
    assert "prescribed q" in [f.quantity for f in outside.outside]


def test_estimates_start_along_it(tanks: Path, tmp_path: Path) -> None:
    store, operator = open_store(tanks), known(tank())
    start = start_from(operator, store, 1, 2)
    given = start.context.prescribed
    assert given is not None
    np.testing.assert_allclose(given.times[0], DT * np.arange(FRAMES - 2), rtol=1e-6)
    expected = inflow(0, 3)[1, 2:]
    np.testing.assert_allclose(given.values[0, :, 0, 0], expected, rtol=1e-6)
    xarray.Dataset({"q": (("time",), inflow(9, 1)[0])}, {"time": TIMES}).to_netcdf(
        tmp_path / "q.nc", engine="h5netcdf"
    )
    cold = start_cold(operator, None, {}, START + DT, str(tmp_path / "q.nc"))
    assert cold.context.prescribed is not None
    at = cold.context.prescribed.at(torch.tensor([DT]))
    np.testing.assert_allclose(at[0, 0, 0], inflow(9, 1)[0, 2], rtol=1e-6)


def test_the_command_line_takes_a_file(
    tanks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.OPERATORS.added, Tank.name, Tank)
    checkpoint = tank().save_pretrained(tmp_path / "checkpoint")
    longer = xarray.Dataset({"q": (("time",), np.ones(40))}, {"time": START + DT * np.arange(40)})
    longer.to_netcdf(tmp_path / "q.nc", engine="h5netcdf")
    words = ["predict", str(checkpoint), str(tanks), "--steps", "20", "--trajectories", "1"]
    words += ["--prescribed-from", str(tmp_path / "q.nc"), "--out", str(tmp_path / "p.nc")]
    main(words)
    with xarray.open_dataset(tmp_path / "p.nc", engine="h5netcdf") as found:
        first = open_store(tanks).trajectory(0)[0, 0].numpy()
        np.testing.assert_allclose(found["u"][0, -1], first + 20 * DT, atol=1e-4)
        assert json.loads(found.attrs["verdict"])["status"] in ("inside", "unknown", "outside")


@pytest.mark.filterwarnings("ignore:outside of what was trained")
def test_an_estimate_goes_on_along_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(registry.OPERATORS.added, Tank.name, Tank)
    wrapped = assimilate(known(tank()), None, correction=CorrectionConfig(modes=3, hidden=4))
    checkpoint = wrapped.save_pretrained(tmp_path / "checkpoint")
    readings = ["time,x,field,value,std", *(f"10.5,{k / POINTS},u,{k},0.01" for k in range(POINTS))]
    (tmp_path / "readings.csv").write_text("\n".join(readings), encoding="utf-8")
    q = inflow(9, 1)[0]
    flow = xarray.Dataset({"q": (("time",), 1000.0 * q, {"units": "mm/s"})}, {"time": TIMES})
    flow.to_netcdf(tmp_path / "q.nc", engine="h5netcdf")
    words = ["assimilate", str(checkpoint), str(tmp_path / "readings.csv"), "--forecast", "4"]
    words += ["--start-time", str(START), "--out", str(tmp_path / "analysis.nc")]
    along = ["--prescribed-from", str(tmp_path / "q.nc")]
    with pytest.raises(SystemExit):
        main(words)
    said = capsys.readouterr().err
    assert "takes q as prescribed" in said
    assert "--prescribed-from" in said
    main([*words, *along])
    with xarray.open_dataset(tmp_path / "analysis.nc", engine="h5netcdf") as found:
        np.testing.assert_allclose(found["time"], START + DT * np.arange(1, 6))
        estimate = found["u"].values
    gained = DT * (q[1:5] + q[2:6]) / 2  # after the analysis, at the first step of the inflow
    np.testing.assert_allclose(np.diff(estimate, axis=0), np.repeat(gained[:, None], 8, 1),
                               atol=1e-4)  # fmt: skip
    np.testing.assert_allclose(estimate[0], np.arange(POINTS), atol=0.5)
    flow.isel(time=slice(0, 4)).to_netcdf(tmp_path / "short.nc", engine="h5netcdf")
    with pytest.raises(SystemExit):
        main([*words, "--overwrite", "--prescribed-from", str(tmp_path / "short.nc")])
    assert "must be given at all times" in capsys.readouterr().err
