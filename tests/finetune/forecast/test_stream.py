"""Forecasts written frame by frame: the same numbers, and the same bytes after an interruption."""

from __future__ import annotations

import itertools
import tracemalloc

import h5py
import numpy as np
import pytest
import xarray

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.finetune.assimilate.settings import Outputs
from pelagos.finetune.forecast import frames, stream
from pelagos.finetune.forecast.marks import alone
from pelagos.finetune.forecast.predict import predict, stored
from pelagos.finetune.forecast.request import Ensemble
from pelagos.finetune.forecast.stream import write_forecast
from pelagos.operators.core.trained import Ranges


@pytest.fixture(params=["p.nc", "p.zarr"])
def path(request, tmp_path):
    return tmp_path / "new" / request.param


def read(path) -> xarray.Dataset:
    engine = "zarr" if path.suffix == ".zarr" else "h5netcdf"
    with xarray.open_dataset(path, engine=engine) as data:
        return data.load()


def contents(path) -> dict[str, bytes | str]:
    """Of every file; of NetCDF before h5py 3.15, which notes the time, what can be read from it."""
    if path.is_file() and h5py.version.version_tuple < (3, 15):
        return {path.name: repr(read(path).to_dict())}
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return {str(p.relative_to(path.parent)): p.read_bytes() for p in files}


def test_the_file_is_the_prediction(wave, shift, path) -> None:
    store = open_store(wave)
    written = write_forecast(shift(), store, path, batch=2)
    data, expected = read(path), predict(shift(), store, batch=2)
    for name in ("u", "u_truth", "time", "lead_time", "x", "trajectory", "mode"):
        np.testing.assert_array_equal(data[name], expected[name])
        assert data[name].dims == expected[name].dims
        assert data[name].attrs == expected[name].attrs
    assert data.attrs["dataset"] == "wave"
    assert written.verdict.status == "unknown"  # of an operator that was not trained
    assert written.broken == 0
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_forecast_opens_as_data_on_the_same_grid(wave, shift, path) -> None:
    """Also where its axes are periodic, which no coordinates tell."""
    store = open_store(wave)
    write_forecast(shift(), store, path, steps=3)
    assert store.grid.boundary == ("periodic",)
    assert open_store(path).grid == store.grid


def test_truth_is_stored_where_there_is_some(wave, shift, path) -> None:
    store = open_store(wave)
    write_forecast(shift(), store, path, start=8, steps=5)
    data, expected = read(path), predict(shift(), store, start=8, steps=5)
    assert data["u_truth"].dims == ("trajectory", "truth_time", "x")
    np.testing.assert_array_equal(data["truth_time"], [0.25, 0.5, 0.75])
    truth = stored(data, "u")
    np.testing.assert_array_equal(truth, expected["u_truth"])
    assert truth.dims == data["u"].dims
    write_forecast(shift(), store, path, start=11, steps=2, overwrite=True)
    assert list(read(path).data_vars) == ["u"]


@pytest.mark.parametrize("stop", [1, 7, 9, 20])
@pytest.mark.parametrize("frames_given", [1, 3])
def test_an_interrupted_forecast_goes_on_to_the_same_bytes(
    wave, shift, path, monkeypatch, stop, frames_given
) -> None:
    monkeypatch.setattr(stream, "_PAUSE", 0.0)
    monkeypatch.setattr(stream, "_BLOCK", 2 * 4 * 32)  # two frames
    asked = {"steps": 7, "batch": 2, "ensemble": Ensemble(2, 0.1)}
    store, operator = open_store(wave), shift(frames=frames_given)
    write_forecast(operator, store, path.with_stem("whole"), **asked)
    whole = contents(path.with_stem("whole"))

    class Killed(BaseException):
        pass

    counter, advance = itertools.count(1), frames._timed_step

    def step(ahead):
        if next(counter) == stop:
            raise Killed
        return advance(ahead)

    monkeypatch.setattr(frames, "_timed_step", step)
    with pytest.raises(Killed):
        write_forecast(operator, store, path, **asked)
    assert not path.exists()
    steps_before = next(counter)
    write_forecast(operator, store, path, **asked)
    assert {k.replace("whole", path.stem): v for k, v in whole.items()} == contents(path)
    assert sorted(p.name for p in path.parent.iterdir()) == sorted(
        [f"whole{path.suffix}", path.name]
    )
    done = next(counter) - steps_before - 1
    assert done < 28 or stop <= 2  # 2 members × 2 batches × 7 steps: not all of them again


def test_another_request_starts_anew(wave, shift, path, monkeypatch) -> None:
    monkeypatch.setattr(stream, "_PAUSE", 0.0)
    store, advance = open_store(wave), frames._timed_step
    monkeypatch.setattr(frames, "_timed_step", lambda ahead: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_forecast(shift(), store, path, steps=4)
    monkeypatch.setattr(frames, "_timed_step", advance)
    write_forecast(shift(), store, path, steps=5)
    assert read(path).sizes["time"] == 5


def test_a_name_that_says_another_format_is_refused(wave, shift, tmp_path) -> None:
    with pytest.raises(ValueError, match=r"NetCDF, and \.csv says otherwise; .* \.nc or \.zarr"):
        write_forecast(shift(), open_store(wave), tmp_path / "p.csv")
    with pytest.raises(ValueError, match=r"NetCDF, and \.zarr says otherwise; .* \.nc$"):
        Outputs(tmp_path / "analysis.zarr").require_free()
    assert not [*tmp_path.iterdir()]


def test_members_and_parameters(wave, shift, path) -> None:
    store = open_store(wave)
    ensemble = Ensemble(3, 0.2)
    write_forecast(shift(), store, path, steps=3, ensemble=ensemble, batch=2)
    data = read(path)
    assert data["u"].dims == ("member", "trajectory", "time", "x")
    assert data["u_truth"].dims == ("trajectory", "time", "x")
    expected = predict(shift(), store, steps=3, ensemble=ensemble, batch=3)
    np.testing.assert_array_equal(data["u"], expected["u"])  # whatever the batches are
    np.testing.assert_array_equal(data["u"][0], predict(shift(), store, steps=3)["u"])
    spread = (data["u"][1] - data["u"][0]).std("x") / data["u"][0].std("x")
    np.testing.assert_allclose(spread, 0.2, rtol=0.1)
    with pytest.raises(ValueError, match="takes no parameter mode; it takes none"):
        predict(shift(), store, parameters={"mode": 2.0})


def test_trajectories_that_break_are_counted(wave, shift, path) -> None:
    found = write_forecast(shift(gain=1e9), open_store(wave), path, steps=6)
    assert [f.quantity for f in found.verdict.outside] == ["finite values"]
    assert (found.broken, found.broken_from) == (3, pytest.approx(1.25))


def test_strict_writes_nothing(wave, shift, path) -> None:
    operator = shift()
    operator.description.trained["wave"] = Ranges({"u": {"deviation": (-5.0, -4.0)}})
    with pytest.raises(ValueError, match=r"trained \(deviation of u"):
        write_forecast(operator, open_store(wave), path, strict=True)
    assert not [*path.parent.iterdir()]


def test_one_process_at_a_time(wave, shift, path) -> None:
    with (
        alone(path),
        pytest.raises(ValueError, match="another process is writing"),
    ):
        write_forecast(shift(), open_store(wave), path, steps=1)


def test_memory_does_not_grow_with_steps(shift, tmp_path) -> None:
    """What is held at a time is a block of frames: 1 MiB of 2^14 points are 16 of them."""
    points = 2**14
    data = WellData(
        dataset="fine",
        grid=Grid((points,), (2.0,), ("periodic",)),
        times=np.array([0.0, 0.25]),
        fields={"u": np.sin(np.linspace(0, 7, 2 * points)).reshape(1, 2, points)},
    )
    write_file(tmp_path / "fine.hdf5", data)
    store, peaks = open_store(tmp_path / "fine.hdf5"), []
    for steps in (32, 160):
        tracemalloc.start()
        write_forecast(shift(), store, tmp_path / "p.nc", steps=steps, overwrite=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2**20  # 8 MiB more are written
