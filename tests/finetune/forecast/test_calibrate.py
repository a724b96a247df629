"""Error bands hold as often as they say, on trajectories that calibration never saw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.finetune.cli.console import main
from pelagos.finetune.forecast.calibrate import calibrate, held
from pelagos.finetune.forecast.stream import write_forecast
from pelagos.operators import from_pretrained
from pelagos.operators.core.calibration import Calibration, conformal, score
from pelagos.operators.core.verdict import verdict_from_json

POINTS, LENGTH, DT, FRAMES, SPEED = 32, 2.0, 0.25, 6, 0.3


def waves(count: int, seed: int) -> np.ndarray:
    """Waves of random amplitude and phase, (n, T, x)."""
    random = np.random.default_rng(seed)
    x, t = np.arange(POINTS) * LENGTH / POINTS, DT * np.arange(FRAMES)
    phase = 2 * np.pi * (x - SPEED * t[:, None]) / LENGTH
    return random.exponential(size=(count, 1, 1)) * np.sin(
        phase + 2 * np.pi * random.random((count, 1, 1))
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "waves"
    for seed, (split, count) in enumerate({"valid": 39, "test": 200}.items()):
        content = WellData(
            dataset="waves",
            grid=Grid((POINTS,), (LENGTH,), ("periodic",)),
            times=DT * np.arange(FRAMES),
            fields={"u": waves(count, seed)},
            units={"u": "m/s", "time": "s"},
        )
        write_file(root / "data" / split / "a.hdf5", content)
    return root


def test_bands_hold_as_often_as_stated() -> None:
    random = np.random.default_rng(0)
    shares = []
    for _ in range(2000):
        scores = random.lognormal(size=19)
        shares.append(random.lognormal(size=50) <= conformal(scores, 0.9))
    # The exact expectation is 18 / 20 for 19 scores.
    assert np.mean(shares) == pytest.approx(0.9, abs=0.01)


def test_the_rank_and_what_it_needs() -> None:
    scores = np.arange(1.0, 10.0)
    assert conformal(scores, 0.9) == 9
    assert conformal(scores, 0.5) == 5
    with pytest.raises(ValueError, match=r"0\.95 needs at least 19 held-out trajectories; there a"):
        conformal(scores, 0.95)
    with pytest.raises(ValueError, match="between 0 and 1; got 1"):
        conformal(scores, 1.0)
    errors = np.array([[-3.0, 1.0, 2.0, np.nan], [np.inf, 0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(score(errors, 0.5), [2.0, 0.0])
    assert score(errors, 1.0)[1] > 1e300


def test_bands_of_a_slow_operator_hold_on_other_trajectories(data, shift) -> None:
    operator = shift(speed=0.9 * SPEED)
    found = calibrate(operator, open_store(data, "valid"), 0.8)
    assert found.trajectories == 39
    assert list(found.leads) == pytest.approx([DT * k for k in range(1, FRAMES)])
    bands = np.array(found.bands["u"])
    assert (np.diff(bands) > 0).all()  # the error of a slow wave grows
    shares = held(found, operator, open_store(data, "test"))["u"]
    assert shares.min() > 0.7
    assert shares.max() < 0.95


def test_bands_between_and_beyond_lead_times() -> None:
    found = Calibration(0.9, 20, "waves", (1.0, 2.0), {"u": (0.1, 0.4)})
    np.testing.assert_allclose(found.band("u", (0.5, 1.5, 2.0)), [0.05, 0.25, 0.4])
    assert np.isnan(found.band("u", (2.5,))).all()


def test_the_command_and_what_predictions_carry(data, shift, registered, tmp_path, capsys) -> None:
    run = tmp_path / "run"
    shift(speed=0.9 * SPEED).save_pretrained(run / "checkpoint")
    (run / "checkpoint" / "best").mkdir()
    asked = ["calibrate", str(run), str(data), "--coverage", "0.8"]
    main(asked)
    text = capsys.readouterr().out
    main([*asked, "--units", "u=m/s"])  # of the same trajectories
    assert capsys.readouterr().out == text
    assert "at coverage 0.8, by 39 trajectories" in text
    assert "of the test trajectories" in text
    assert (run / "checkpoint" / "best").is_dir()
    operator = from_pretrained(run)
    store = open_store(data, "test")
    operator.description = replace(operator.description, units={"u": "m/s", "time": "s"})
    found = operator.predict(store, steps=3)
    assert found["u_band"].dims == ("time",)
    assert found["u_band"].attrs["units"] == "m/s"
    write_forecast(operator, store, tmp_path / "p.nc", steps=3)
    with xarray.open_dataset(tmp_path / "p.nc") as written:
        np.testing.assert_array_equal(written["u_band"], found["u_band"])
    bands = {f.quantity: f for f in verdict_from_json(found.attrs["verdict"]).findings}
    assert bands["error bands"].text == "0.8 by 39 held-out trajectories"
    again = operator.save_pretrained(tmp_path / "copy")
    assert from_pretrained(again).description.calibration == operator.description.calibration
    millimetres = store.to_xarray()
    millimetres["u"] = (millimetres["u"] * 1000).assign_attrs(units="mm/s")
    scaled = operator.predict(millimetres, start=0.0, steps=3)
    np.testing.assert_allclose(scaled["u_band"], 1000 * found["u_band"])
