"""`operator.predict`: labelled data, stores, files and arrays in, the same kind out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.operators import from_pretrained, plot_prediction, verdict_of
from pelagos.operators.core.trained import Ranges
from pelagos.operators.core.verdict import verdict_from_json

EARLIER = Path(__file__).parents[2] / "earlier"
SPEED, LENGTH, POINTS, DT = 0.3, 2.0, 32, 0.25
GRID = Grid((POINTS,), (LENGTH,), ("periodic",))
X = np.arange(POINTS) * LENGTH / POINTS


def wave_at(times, amplitude=1.0) -> np.ndarray:
    """sin(2π (x − c t) / L), (T, x)."""
    return amplitude * np.sin(2 * np.pi * (X - SPEED * np.asarray(times)[:, None]) / LENGTH)


def known(operator, **about):
    """The operator with its training grid and units."""
    units = {"u": "m/s", "time": "s", "length": "m"}
    operator.description = replace(operator.description, grid=GRID, units=units, **about)
    return operator


def labelled(times, unit="m/s", scale=1.0) -> xarray.Dataset:
    values = scale * wave_at(times).astype(np.float32)
    return xarray.Dataset(
        {"u": (("time", "x"), values, {"units": unit, "comment": "mine"})},
        {
            "time": ("time", np.asarray(times), {"units": "s"}),
            "x": ("x", X, {"units": "m"}),
            "station": "A",
        },
    )


def test_a_dataset_comes_back_with_its_own_labels(shift) -> None:
    data = labelled([1.0, 1.25, 1.5])
    found = known(shift()).predict(data, steps=3)
    assert found["u"].dims == ("time", "x")
    np.testing.assert_allclose(found["time"], [1.75, 2.0, 2.25])
    np.testing.assert_allclose(found["lead_time"], [0.25, 0.5, 0.75])
    np.testing.assert_allclose(found["u"], wave_at([1.75, 2.0, 2.25]), atol=1e-5)
    assert found["u"].attrs["units"] == "m/s"
    assert found["u"].attrs["comment"] == "mine"
    assert found["x"].attrs == {"units": "m", "boundary": "periodic"}
    assert found["station"] == "A"
    assert found.attrs["Conventions"] == "CF-1.11"
    assert json.loads(found.attrs["provenance"]) == {"seed": 7}
    assert found["lead_time"].attrs["standard_name"] == "forecast_period"
    assert float(found["forecast_reference_time"]) == 1.5


def test_units_are_converted_and_given_back(shift) -> None:
    data = labelled([0.0, 0.25], unit="mm/s", scale=1000.0)
    data = data.assign_coords(x=("x", X * 100, {"units": "cm"}))
    data = data.assign_coords(time=("time", [0.0, 250.0], {"units": "ms"}))
    found = known(shift()).predict(data, steps=2)
    np.testing.assert_allclose(found["u"], 1000 * wave_at([0.5, 0.75]), atol=1e-2)
    np.testing.assert_allclose(found["time"], [500.0, 750.0])
    assert found["lead_time"].attrs["units"] == "ms"
    with pytest.raises(ValueError, match="'u' in 'm/s', the data in 'K'; which cannot be conv"):
        known(shift()).predict(labelled([0.0], unit="K"), steps=1)


def test_dates_and_timedeltas(shift) -> None:
    begin = np.datetime64("2020-02-28T23:59:59.500", "ns")
    dates = begin + (1000 * DT * np.arange(3)).astype("timedelta64[ms]")
    data = labelled([0.0, DT, 2 * DT]).assign_coords(time=dates)
    operator = known(shift())
    found = operator.predict(data, steps=2)
    np.testing.assert_array_equal(found["time"], dates[-1] + np.array([250, 500], "m8[ms]"))
    assert found["lead_time"].dtype == np.dtype("timedelta64[ns]")
    asked = operator.predict(data, times=[np.datetime64("2020-02-29T00:00:01.000")])
    np.testing.assert_allclose(asked["u"], wave_at([6 * DT]), atol=1e-5)
    spans = operator.predict(data, times=np.array([500, 1000], "timedelta64[ms]"))
    np.testing.assert_allclose(spans["u"], wave_at([4 * DT, 6 * DT]), atol=1e-5)
    early = operator.predict(data, start="2020-02-28T23:59:59.750")
    np.testing.assert_allclose(early["u"], wave_at([2 * DT]), atol=1e-5)
    with pytest.raises(ValueError, match="no frame is at 2021"):
        operator.predict(data, start="2021-01-01", steps=1)
    operator.description = replace(operator.description, units={})
    with pytest.raises(ValueError, match="unit of time is not known: give times as numbers"):
        operator.predict(data, steps=1)


def test_samples_are_any_other_dimensions(shift) -> None:
    data = xarray.concat([labelled([0.0, 0.25]) * a for a in (1, 2, 3)], "city")
    data = data.expand_dims(run=[7, 9]).transpose("x", "city", "time", "run", ...)
    data["x"].attrs = {"units": "m"}
    found = known(shift()).predict(data, steps=2, batch=4)
    assert found["u"].dims == ("x", "city", "time", "run")
    one = found["u"].sel(run=9).isel(city=2).transpose("time", "x")
    np.testing.assert_allclose(one, wave_at([0.5, 0.75], 3.0), atol=1e-5)
    assert found["run"].values.tolist() == [7, 9]


def test_a_store_a_file_and_an_array_say_the_same(wave, shift) -> None:
    store, operator = open_store(wave), known(shift())
    found = operator.predict(store)
    assert found["u"].dims == ("trajectory", "time", "x")
    np.testing.assert_allclose(found["u"], store.to_xarray()["u"][:, 1:], atol=5e-5)
    xarray.testing.assert_identical(operator.predict(str(wave)), found)
    assert found["mode"].values.tolist() == [1.0, 2.0, 3.0]
    history = np.stack([store.trajectory(i)[:1, 1:].numpy() for i in range(3)])
    array = operator.predict(history, steps=11)
    np.testing.assert_allclose(array[:, :, 0], found["u"], atol=1e-5)
    tensor = operator.predict(torch.from_numpy(history[1]), times=[0.5, 1.0])
    np.testing.assert_allclose(tensor[:, 0], array[1, [1, 3], 0], atol=1e-5)
    later = operator.predict(store, start=10.5, steps=1)
    np.testing.assert_allclose(later["u"][:, 0], found["u"][:, 2], atol=1e-5)


def test_xarray_opens_every_layout(wave) -> None:
    with xarray.open_dataset(wave, engine="pelagos", split="test") as data:
        assert data["u"].dims == ("trajectory", "time", "x")
        np.testing.assert_array_equal(data["u"][1, 2], open_store(wave).trajectory(1)[2, 1])


def test_land_stays_land(shift) -> None:
    data = labelled([0.0, 0.25])
    data["u"] = data["u"].where(X > 0.5)
    found = known(shift()).predict(data, steps=2)
    assert np.isnan(found["u"][:, X <= 0.5]).all()
    assert np.isfinite(found["u"][:, X > 0.5]).all()
    data["u"][1, 20] = np.nan
    with pytest.raises(ValueError, match="u has NaN in some of the given frames only"):
        known(shift(frames=2)).predict(data, steps=1)


def test_members(shift) -> None:
    operator = known(shift())
    data = labelled([0.0, 0.25])
    found = operator.predict(data, steps=2, members=5, perturbation=0.1)
    assert found["u"].dims == ("member", "time", "x")
    np.testing.assert_allclose(found["u"][0], wave_at([0.5, 0.75]), atol=1e-5)
    off = (found["u"][1:] - found["u"][0]).std("x") / found["u"][0].std("x")
    np.testing.assert_allclose(off, 0.1, rtol=0.2)
    again = operator.predict(data, steps=2, members=5, perturbation=0.1)
    xarray.testing.assert_identical(found, again)
    other = operator.predict(data, steps=2, members=5, perturbation=0.1, seed=1)
    assert (other["u"][1] != found["u"][1]).any()
    slower = known(shift(speed=0.0))
    both = operator.predict(data, steps=1, members=[slower])
    np.testing.assert_allclose(both["u"][1, 0], wave_at([0.25])[0], atol=1e-5)
    verdict = verdict_from_json(both.attrs["verdict"])
    assert "spread of u" in {f.quantity for f in verdict.findings}


def test_members_of_the_data_stay_theirs(shift) -> None:
    """A dimension called as that of an ensemble: kept, or refused where both would be."""
    one = labelled([0.0, 0.25])
    data = xarray.concat([one, 2 * one], "member").assign_coords(member=["low", "high"])
    found = known(shift()).predict(data, steps=2)
    assert found["u"].dims == ("member", "time", "x")
    assert found["member"].values.tolist() == ["low", "high"]
    for number, amplitude in enumerate((1.0, 2.0)):
        np.testing.assert_allclose(found["u"][number], wave_at([0.5, 0.75], amplitude), atol=1e-5)
    with pytest.raises(ValueError, match=r"'member' of their own.*data.rename\(member="):
        known(shift()).predict(data, steps=2, members=3)
    renamed = known(shift()).predict(data.rename(member="trajectory"), steps=2, members=3)
    assert renamed["u"].dims == ("member", "trajectory", "time", "x")
    chosen = known(shift()).predict(data.isel(member=1), steps=1, members=3)
    assert chosen["member"].values.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("change", "asked", "message"),
    [
        (lambda d: d.rename(u="v"), {"steps": 1}, "the data have no u; they have v. Rename"),
        (lambda d: d, {}, "say how far to predict, by times or steps"),
        (lambda d: d, {"times": [0.3]}, r"steps by 0\.25 and cannot predict at 0\.3"),
        (lambda d: d, {"times": [0.5, 0.25]}, "positive, finite and increasing"),
        (lambda d: d, {"steps": 1, "times": [1.0]}, "either steps or times"),
        (lambda d: d, {"steps": 0}, "steps must be at least 1"),
        (lambda d: d, {"steps": 1, "mode": "direct"}, "needs an operator that is continuous"),
        (lambda d: d.assign_coords(x=X[::-1]), {"steps": 1}, r"use data\.sortby\('x'\)"),
        (lambda d: d.assign_coords(x=X**2), {"steps": 1}, "increase in equal steps; use data.int"),
        (lambda d: d.drop_vars("x").isel(x=slice(9)), {"steps": 1}, "x needs coordinates"),
        (lambda d: d.isel(x=0), {"steps": 1}, "u has the dimension.* needs 1 of space"),
        (lambda d: d.where(d.time < 0), {"steps": 1}, "u is NaN everywhere in the given"),
        (lambda d: d.assign_coords(time=[0.0, 0.1]), {"steps": 1}, r"trained at dt = 0\.25"),
        (lambda d: d, {"steps": 1, "start": 0.1}, r"no frame is at 0\.1.*nearest is at 0"),
        (lambda d: d, {"steps": 1, "parameters": {"nu": 1.0}}, "takes no parameter nu; it takes n"),
        (lambda d: [1.0], {"steps": 1}, "takes an xarray.Dataset, a store.* got list"),
    ],
)
def test_mistakes(shift, change, asked, message) -> None:
    with pytest.raises(ValueError, match=message):
        known(shift()).predict(change(labelled([0.0, 0.25])), **asked)


def ranges(high: float) -> dict[str, Ranges]:
    limits = {"mean": (-0.1, 0.1), "deviation": (-1.0, high), "wave number": (0.4, 1.5)}
    drifts = {"u": {"mean": (0.0, 0.0), "size": (-0.01, 0.01)}}
    return {"wave": Ranges({"u": limits}, {}, drifts, GRID)}


def test_the_verdict_names_what_is_outside(shift) -> None:
    operator = known(shift(), trained=ranges(0.0))
    found = operator.predict(labelled([0.0, 0.25]), steps=2)
    verdict = verdict_from_json(found.attrs["verdict"])
    assert verdict.status == "inside"
    assert {f.quantity for f in verdict.findings} >= {
        "time step", "grid", "mean of u", "deviation of u", "drift of the mean of u",
    }  # fmt: skip
    large = labelled([0.0, 0.25], scale=100.0)
    with pytest.warns(UserWarning, match="deviation of u: 70.7; in training 0.1 to 1"):
        found = operator.predict(large, steps=2)
    assert [f.quantity for f in verdict_from_json(found.attrs["verdict"]).outside] == [
        "deviation of u"
    ]
    with pytest.raises(ValueError, match=r"trained \(deviation of u: 70\.7"):
        operator.predict(large, steps=2, strict=True)


def test_the_verdict_sees_drift_and_blow_up(shift) -> None:
    growing = known(shift(gain=2.0), trained=ranges(1.0))
    with pytest.warns(UserWarning, match="drift of the size of u: 16; in training"):
        growing.predict(labelled([0.0, 0.25]), steps=4)
    with pytest.warns(UserWarning, match="finite values: 1 of 1 are infinite or NaN"):
        growing.predict(labelled([0.0, 0.25]), steps=200)


def test_a_checkpoint_without_ranges_says_unknown(shift) -> None:
    verdict = verdict_from_json(
        known(shift()).predict(labelled([0.0, 0.25]), steps=1).attrs["verdict"]
    )
    found = {f.quantity: f.status for f in verdict.findings}
    assert found["initial state"] == "unknown"
    assert found["grid"] == "inside"
    assert verdict.status == "unknown"  # whatever the state is like


def test_what_a_notebook_shows(shift, wave) -> None:
    operator = known(shift())
    assert "u [m/s]" in operator._repr_html_()
    assert "32 points" in operator._repr_html_()
    assert "12, 0.25 apart" in open_store(wave)._repr_html_()
    found = operator.predict(labelled([0.0, 0.25]), steps=4, members=3, perturbation=0.1)
    assert found.pelagos.verdict == verdict_of(found)
    assert ">inside</td>" in found.pelagos.verdict._repr_html_()
    mean, spread = (axes for axes in found.pelagos.plot().axes if axes.images)
    np.testing.assert_allclose(mean.images[0].get_array(), found["u"].mean("member"), rtol=1e-5)
    expected = found["u"].std("member", ddof=1)
    np.testing.assert_allclose(spread.images[0].get_array(), expected, rtol=1e-5)
    (one,) = (a for a in plot_prediction(operator.predict(open_store(wave)), trajectory=2).axes
              if a.images)  # fmt: skip
    assert one.images[0].get_array().shape == (11, 32)
    with pytest.raises(ValueError, match="carries no verdict"):
        verdict_of(labelled([0.0]))


def test_parameters_of_a_known_linear_part_are_found_by_name_too() -> None:
    operator = from_pretrained(EARLIER / "checkpoints" / "observer")
    store = open_store(EARLIER / "datasets" / "burgers_1d", "test")
    window = store.window(1, 0, 1, 3)
    expected = [*operator.rollout(window.history, window.context, dt=0.02, steps=3)]
    stored = operator.predict(store, steps=3)
    np.testing.assert_allclose(stored["u"][1], torch.stack(expected)[:, 0], rtol=1e-5)
    verdict = verdict_of(stored)
    assert "parameter viscosity" in [finding.quantity for finding in verdict.findings]
    data = store.to_xarray().isel(trajectory=1, time=slice(0, 1)).drop_vars("viscosity")
    with pytest.raises(ValueError, match=r"takes the parameter\(s\) viscosity, which the data do"):
        operator.predict(data, steps=3)
    value = float(window.context.parameters[0])
    given = operator.predict(data, steps=3, parameters={"viscosity": value})
    np.testing.assert_allclose(given["u"], stored["u"][1], rtol=1e-5)
    array = operator.predict(window.history.numpy(), steps=3, parameters={"viscosity": value})
    np.testing.assert_allclose(array[:, 0], stored["u"][1], rtol=1e-5)
    with pytest.raises(ValueError, match="takes no parameter viscsity; it takes viscosity"):
        operator.predict(window.history.numpy(), steps=3, parameters={"viscsity": value})
