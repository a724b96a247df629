"""Boundaries go with their axes, in whatever order the dimensions of a file are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.operators import Description, create

GRID = Grid((16, 8), (1.0, 1.0), ("periodic", "open"))
Change = Callable[[xarray.Dataset], xarray.Dataset]


def given() -> xarray.Dataset:
    values = np.random.default_rng(0).standard_normal((2, 16, 8)).astype("f4")
    places = {"time": [0.0, 1.0], "x": np.arange(16.0) / 16, "y": np.arange(8.0) / 8}
    return xarray.Dataset({"u": (("time", "x", "y"), values)}, places)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_prediction_is_opened_with_the_boundaries_of_its_axes(when: str, tmp_path: Path) -> None:
    about = Description(("u",), grid=GRID, time_steps=(1.0,), axes=("x", "y"))
    operator = create("dymixop", description=about, ndim=2, hidden=4, layers=2, modes=2).eval()
    data = given()
    expected = operator.predict(operator.predict(data, steps=3), steps=2)
    turned = data.transpose("time", "y", "x") if when == "before" else data
    found = operator.predict(turned, steps=3)
    found = found.transpose("time", "y", "x") if when == "after" else found
    again = operator.predict(found, steps=2).transpose("time", "x", "y")
    np.testing.assert_allclose(again["u"], expected["u"], atol=1e-5)
    bare = found.drop_vars([str(name) for name in found.coords if name not in ("x", "y", "time")])
    bare.to_netcdf(tmp_path / "found.nc", engine="h5netcdf")
    store = open_store(tmp_path / "found.nc")
    kinds = dict(zip(store.axes, store.grid.boundary, strict=True))
    assert kinds == {"x": "periodic", "y": "open"}
