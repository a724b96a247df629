"""Ensembles of several checkpoints, errors of an observer's own, noise, and windows of steps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray

from pelagos.datasets import open_store
from pelagos.finetune import Request, evaluate, predict, write_forecast
from pelagos.finetune.cli.console import main
from pelagos.finetune.forecast.lead_windows import LeadWindow, lead_windows
from pelagos.finetune.forecast.request import Ensemble
from pelagos.operators import from_pretrained
from pelagos.operators.core.predicted import ensemble_dim

EARLIER = Path(__file__).parents[2] / "earlier"
OBSERVER, DATA = EARLIER / "checkpoints" / "observer", EARLIER / "datasets" / "burgers_1d"


@pytest.fixture(scope="module")
def data():
    return open_store(DATA, "test")


def test_every_checkpoint_is_a_member(shift, wave):
    store = open_store(wave)
    one, two = shift(), shift(speed=0.6)
    found = predict(one, store, steps=3, others=[two])
    assert found["u"].dims == ("member", "trajectory", "time", "x")
    for member, operator in enumerate((one, two)):
        alone = predict(operator, store, steps=3)
        np.testing.assert_array_equal(found["u"][member], alone["u"])
        assert ensemble_dim(alone) is None
    assert ensemble_dim(found) == "member"  # so that figures show its mean and spread


def test_perturbed_states_of_every_checkpoint(shift, wave):
    store, asked = open_store(wave), Ensemble(members=2, perturbation=0.1)
    one, two = shift(), shift(speed=0.6)
    found = predict(one, store, steps=2, others=[two], ensemble=asked)
    assert found.sizes["member"] == 4
    for first, operator in ((0, one), (2, two)):
        alone = predict(operator, store, steps=2, ensemble=asked)
        np.testing.assert_array_equal(found["u"][first : first + 2], alone["u"])


def test_members_must_predict_the_same_at_the_same_times(shift, wave):
    store = open_store(wave)
    with pytest.raises(ValueError, match="same fields"):
        predict(shift(), store, steps=2, others=[shift(fields=("tracer",))])
    with pytest.raises(ValueError, match="same steps"):
        predict(shift(), store, steps=2, others=[shift(time_steps=(0.5,))])
    with pytest.raises(ValueError, match="as many frames"):
        predict(shift(), store, steps=2, others=[shift(frames=2)])


def test_they_are_written_frame_by_frame_too(shift, wave, tmp_path):
    store, path = open_store(wave), tmp_path / "p.nc"
    one, two = shift(), shift(speed=0.6)
    write_forecast(one, store, path, steps=3, batch=2, others=[two])
    with xarray.open_dataset(path, engine="h5netcdf") as found:
        expected = predict(one, store, steps=3, others=[two])
        np.testing.assert_allclose(found["u"], expected["u"])
        assert found["member"].values.tolist() == [0, 1]


def test_several_checkpoints_on_the_command_line(shift, registered, wave, tmp_path):
    for name, speed in (("a", 0.3), ("b", 0.6), ("c", 0.0)):
        shift(speed=speed).save_pretrained(tmp_path / name)
    out = tmp_path / "p.nc"
    others = ["--with", str(tmp_path / "b"), "--with", str(tmp_path / "c")]
    main(["predict", str(tmp_path / "a"), str(wave), *others, "--steps", "2", "--out", str(out)])
    with xarray.open_dataset(out, engine="h5netcdf") as found:
        assert found.sizes["member"] == 3
        first = open_store(wave).trajectory(0)[0, open_store(wave).fields.index("u")].numpy()
        stands = found["u"].isel(member=2, trajectory=0, time=1)  # its speed is 0
        np.testing.assert_allclose(stands, first, atol=1e-6)
        assert not np.allclose(found["u"].isel(member=0), found["u"].isel(member=1))


def test_an_observer_s_own_errors(data):
    observer = from_pretrained(OBSERVER)
    asked = Ensemble(members=40, perturbation=0.2, errors="own")
    found = predict(observer, data, steps=1, trajectories=1, ensemble=asked)["u"].values[:, 0, 0]
    again = predict(observer, data, steps=1, trajectories=1, batch=1, ensemble=asked)
    np.testing.assert_array_equal(found, again["u"].values[:, 0, 0])
    exact = predict(observer, data, steps=1, trajectories=1)["u"].values[0, 0]
    np.testing.assert_array_equal(found[0], exact)
    spread = found[1:].std(0, ddof=1).mean()
    scale = float(observer.description.normalizer.scaling(
        torch.zeros(1, 1, 1, 32), ("u",), "burgers_1d").scale.mean())  # fmt: skip
    assert 0.1 * scale < spread < 0.4 * scale  # a step later, of 0.2 deviations
    with pytest.raises(ValueError, match="no errors of its own"):
        predict(from_pretrained(EARLIER / "checkpoints" / "dymixop"), data, steps=1, ensemble=asked)


def test_noise_on_the_given_frames(shift, wave):
    """Of an exact operator the error is the noise: a share of the field's deviation."""
    store = open_store(wave)
    found = evaluate(shift(), store, steps=2, noise=0.3)
    assert found["noise"] == 0.3
    assert found["summary"]["vrmse"] == pytest.approx(0.3, rel=0.3)
    assert evaluate(shift(), store, steps=2)["summary"]["vrmse"] < 1e-5
    again = evaluate(shift(), store, steps=2, noise=0.3, batch=1)
    assert again["summary"]["vrmse"] == pytest.approx(found["summary"]["vrmse"], rel=1e-6)
    with pytest.raises(ValueError, match="not negative"):
        Request(noise=-1.0)


def test_windows_of_steps(shift, wave):
    store = open_store(wave)
    found = evaluate(shift(speed=0.5), store, steps=8, windows=[LeadWindow(2, 4), LeadWindow(8, 8)])
    curve = np.array(found["scores"]["vrmse"]["u"]["mean"])
    assert found["windows"]["2:4"]["vrmse"] == pytest.approx(curve[1:4].mean())
    assert found["windows"]["8:8"]["vrmse"] == pytest.approx(curve[7])
    baseline = np.array(found["persistence"]["vrmse"]["u"]["mean"])
    assert found["windows"]["2:4"]["persistence"]["vrmse"] == pytest.approx(baseline[1:4].mean())
    with pytest.raises(ValueError, match="ends after the 8"):
        evaluate(shift(), store, steps=8, windows=[LeadWindow(6, 12)])


def test_windows_as_they_are_typed(shift, registered, wave, tmp_path, capsys):
    assert lead_windows("6:12, 13:30") == (LeadWindow(6, 12), LeadWindow(13, 30))
    for text in ("6", "6:", "5:4", "0:3", "a:b"):
        with pytest.raises(ValueError, match="window"):
            lead_windows(text)
    shift().save_pretrained(tmp_path / "a")
    out = tmp_path / "e.json"
    words = [str(tmp_path / "a"), str(wave), "--lead", "1:2,3:5", "--noise", "0.1"]
    main(["evaluate", *words, "--out", str(out)])
    assert set(json.loads(out.read_text())["windows"]) == {"1:2", "3:5"}
    assert "steps 3:5: mean VRMSE" in capsys.readouterr().out
