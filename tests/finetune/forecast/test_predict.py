from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import xarray

from pelagos.datasets import open_store
from pelagos.finetune.forecast.predict import predict, write_prediction


def test_exact_operator_reproduces_the_truth(wave, shift) -> None:
    store = open_store(wave, "test")
    data = predict(shift(), store, batch=2)
    assert data["u"].dims == data["u_truth"].dims == ("trajectory", "time", "x")
    assert data["u"].shape == (3, 11, 32)
    np.testing.assert_allclose(data["u"], data["u_truth"], atol=2e-5)
    np.testing.assert_array_equal(data["u_truth"][1], store.trajectory(1)[1:, 1].numpy())


def test_coordinates_are_physical(wave, shift) -> None:
    data = predict(shift(), open_store(wave), start=2, trajectories=[2, 0])
    np.testing.assert_allclose(data["time"], 10 + 0.25 * np.arange(3, 12))
    np.testing.assert_allclose(data["lead_time"], 0.25 * np.arange(1, 10))
    np.testing.assert_allclose(data["x"], np.arange(32) / 16)
    assert data["trajectory"].values.tolist() == [2, 0]
    assert data["mode"].values.tolist() == [3.0, 1.0]
    assert [data[name].attrs["units"] for name in ("u", "u_truth", "time", "x")] == [
        "m/s",
        "m/s",
        "s",
        "m",
    ]


def test_stride_follows_from_the_trained_step(wave, shift) -> None:
    store = open_store(wave)
    data = predict(shift(time_steps=(0.75, 0.5), frames=2), store, start=1)
    assert data.attrs["stride"] == 2
    assert data.attrs["dt"] == pytest.approx(0.5)
    np.testing.assert_allclose(data["time"], 10 + 0.25 * np.array([5, 7, 9, 11]))
    np.testing.assert_allclose(data["u"], data["u_truth"], atol=2e-5)


def test_steps_beyond_the_data_have_no_truth(wave, shift) -> None:
    store = open_store(wave)
    data = predict(shift(), store, start=8, steps=5)
    assert np.isfinite(data["u"]).all()
    assert np.isfinite(data["u_truth"][:, :3]).all()
    assert np.isnan(data["u_truth"][:, 3:]).all()
    np.testing.assert_allclose(data["time"], 10 + 0.25 * np.arange(9, 14))
    last = predict(shift(), store, start=11, steps=2)
    assert list(last.data_vars) == ["u"]
    phase = 2 * np.pi * (last["x"] - 0.3 * (last["time"])) / 2.0
    np.testing.assert_allclose(last["u"][0], np.sin(phase).T, atol=2e-5)


@pytest.mark.parametrize(
    ("operator", "options", "message"),
    [
        ({"time_steps": (0.3,)}, {}, r"trained at dt = 0\.3.*dt = 0\.25"),
        ({"time_steps": (0.1,)}, {}, r"trained at dt = 0\.1.*dt = 0\.25"),
        ({"fields": ("pressure",)}, {}, "no field pressure; it has tracer, u"),
        ({"frames": 13}, {}, "leaves no 13 history"),
        ({"frames": 12}, {}, "no step fits"),
        ({}, {"start": 12}, "start 12"),
        ({}, {"start": -1}, "start -1"),
        ({}, {"steps": 0}, "steps must be at least 1"),
        ({}, {"trajectories": 4}, "has 3 trajectories; 4"),
        ({}, {"trajectories": [0, 3]}, "0 to 2 of 'wave'; got 3"),
        ({}, {"trajectories": []}, "got none"),
    ],
)
def test_mistakes(wave, shift, operator, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        predict(shift(**operator), open_store(wave), **options)


def test_netcdf_round_trip(wave, shift, tmp_path) -> None:
    data = predict(shift(), open_store(wave))
    path = write_prediction(data, tmp_path / "new" / "p.nc")
    with xarray.open_dataset(path) as read:
        xarray.testing.assert_identical(read.load(), data)
        assert json.loads(read.attrs["provenance"]) == {"seed": 7}
        assert read.attrs["dataset"] == "wave"
    assert [p.name for p in path.parent.iterdir()] == ["p.nc"]


def test_nothing_is_overwritten(wave, shift, tmp_path) -> None:
    data = predict(shift(), open_store(wave), steps=1)
    path = tmp_path / "p.nc"
    path.write_text("mine")
    with pytest.raises(ValueError, match="exists already"):
        write_prediction(data, path)
    assert path.read_text() == "mine"
    write_prediction(data, path, overwrite=True)
    assert xarray.load_dataset(path).sizes["time"] == 1


def test_full_disk_is_told_before_writing(wave, shift, tmp_path, monkeypatch) -> None:
    data = predict(shift(), open_store(wave))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    with pytest.raises(ValueError, match=r"needs 0\.1 MiB and only 0\.0 MiB are free"):
        write_prediction(data, tmp_path / "new" / "p.nc")
    assert not [*(tmp_path / "new").iterdir()]
