"""Units that a recipe or a command asks for, against pint and plain numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pint
import pytest
import xarray

from pelagos.datasets import open_store
from pelagos.datasets.stores.opening import Reading
from pelagos.datasets.tools.convert import convert
from pelagos.datasets.tools.precision import rounding_findings
from pelagos.finetune.cli.console import main
from pelagos.pretrain.data import open_stores
from pelagos.pretrain.recipe import DataConfig, SimulateConfig, TrainRecipe

T, X = 6, 8
U = np.random.default_rng(0).normal(10, 2, (T, X)).astype("f4")
RECIPE: Any = {"operator": {"name": "dymixop", "history": 2, "hidden": 4, "layers": 1, "modes": 2}}


def saved(path: Path, field: str, length: str, hours: str, factor: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    xarray.Dataset(
        {"u": (("time", "x"), U * factor, {"units": field}), "depth": ((), 20.0, {"units": "m"})},
        {
            "time": ("time", np.arange(T) * 12.0, {"units": hours}),
            "x": ("x", np.arange(X) * 2.0, {"units": length}),
        },
    ).to_netcdf(path, engine="h5netcdf")
    return path


def test_everything_is_converted(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.nc", "degC", "km", "hours")
    units = {"u": "K", "length": "m", "time": "days", "depth": "cm"}
    store = open_store(path, units=units)
    kelvin = pint.UnitRegistry().Quantity(U.astype(float), "degC").to("kelvin").magnitude
    np.testing.assert_allclose(store.trajectory(0)[:, 0], kelvin, rtol=1e-7)
    assert (store.dt, store.grid.lengths) == (0.5, (16000.0,))
    assert store.parameter_table().tolist() == [[2000.0]]
    assert {name: store.units[name] for name in units} == units
    assert open_store(path).units["u"] == "degC"
    copy = open_store(convert(path, tmp_path / "out", reading=Reading(units=units)))
    assert copy.trajectory(0).equal(store.trajectory(0))
    assert copy.units["u"] == "K"


def test_what_cannot_be_converted_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.nc", "m/s", "km", "hours")
    for units, message in (
        ({"u": "K"}, "has 'u' in 'm/s', which cannot be converted to 'K'"),
        ({"v": "m/s"}, "no field or parameter 'v'"),
        ({"u": "metres by the hour"}, "units.u: .* is no unit"),
    ):
        with pytest.raises(ValueError, match=message):
            open_store(path, units=units)


def test_files_of_a_dataset(tmp_path: Path) -> None:
    saved(tmp_path / "a.nc", "m/s", "m", "hours")
    saved(tmp_path / "b.nc", "mm/s", "km", "hours", 1000)
    with pytest.raises(ValueError, match=r"a.nc has u in the units m/s, .*b.nc in mm/s; convert"):
        open_store(tmp_path, units={"length": "m"})
    saved(tmp_path / "b.nc", "mm/s", "m", "hours", 1000)
    store = open_store(tmp_path, units={"u": "m/s"})
    np.testing.assert_allclose(store.trajectory(1)[:, 0], U, rtol=1e-6)
    main(["data", "inspect", str(tmp_path), "--units", "u=m/s", "--units", "time=s"])


def test_members_of_a_mixture(tmp_path: Path) -> None:
    saved(tmp_path / "a" / "data.nc", "m/s", "m", "hours")
    saved(tmp_path / "b" / "data.nc", "mm/s", "m", "hours", 1000)
    splits: Any = {"by": "time", "train": 0.5, "valid": 0.5, "gap": 0}

    def recipe(**more: Any) -> TrainRecipe:
        one = DataConfig(path=str(tmp_path / "a"), splits=splits, name="a")
        other = DataConfig(path=str(tmp_path / "b"), splits=splits, name="b", **more)
        return TrainRecipe(data=(one, other), steps=1, **RECIPE)

    with pytest.raises(ValueError, match=r"a has 'u' in 'm/s', b in 'mm/s'; .*units: \{u: m/s\}"):
        open_stores(recipe())
    one, other = open_stores(recipe(units={"u": "m/s"}))
    np.testing.assert_allclose(one.trajectory(0), other.trajectory(0), rtol=1e-6)
    _, other = open_stores(recipe(units={"w": "m/s"}, rename={"u": "w"}))
    assert other.units["w"] == "m/s"
    with pytest.raises(ValueError, match=r"data\.units has no meaning for a simulated dataset"):
        DataConfig(simulate=SimulateConfig(equation="heat_1d"), units={"u": "m"})


def test_an_offset_that_was_subtracted_is_a_difference(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["p"] = 101325 + 1e-3 * U.astype(float)
        file["p"].attrs["units"] = "Pa"
    text = "axes: [time, x]\nfields: {p: p}\ntime: {step: 1}\n"
    (tmp_path / "description.yaml").write_text(text)
    splits: Any = {"by": "time", "train": 0.5, "valid": 0.5}
    for more in ({}, {"splits": splits}):  # what is seen through parts of a file, too
        assert "subtract" in rounding_findings(open_store(tmp_path, **more))["p"].remedy
    (tmp_path / "description.yaml").write_text(text + "subtract: {p: 101325}\n")
    store = open_store(tmp_path, units={"p": "hPa"})
    np.testing.assert_allclose(store.trajectory(0)[:, 0], 1e-5 * U, rtol=1e-5)
    assert store.provenance["subtracted"] == {"p": 1013.25}
    assert not rounding_findings(store)


def test_joined_files_count_in_the_unit_that_is_asked_for(tmp_path: Path) -> None:
    for month in range(2):
        hours = f"hours since 2000-01-{1 + 3 * month:02d}"
        saved(tmp_path / f"{month}.nc", "m/s", "m", hours)
    text = "axes: [time, x]\nfields: {u: u}\njoin: time\n"
    (tmp_path / "description.yaml").write_text(text + "units: {time: days}\n")
    expected = np.arange(2 * T) * 0.5
    np.testing.assert_allclose(open_store(tmp_path).times, expected)
    (tmp_path / "description.yaml").write_text(text)
    np.testing.assert_allclose(open_store(tmp_path, units={"time": "days"}).times, expected)
