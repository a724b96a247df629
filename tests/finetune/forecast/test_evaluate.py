from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from pelagos.datasets import open_store
from pelagos.datasets.base.sealed import unsealed
from pelagos.datasets.fields import metrics
from pelagos.datasets.simulation.simulate import simulate
from pelagos.finetune.forecast.evaluate import evaluate, write_evaluation
from pelagos.finetune.forecast.predict import predict

PHASE = np.pi * 0.3 * np.array([[1], [2], [3]])  # of modes 1, 2, 3 per unit time: 2π m c / L


def test_exact_operator_has_no_error(wave, shift) -> None:
    result = evaluate(shift(), open_store(wave, "test"), batch=2)
    assert max(result["scores"]["vrmse"]["u"]["p90"]) < 1e-5
    assert min(result["scores"]["correlation"]["u"]["p10"]) > 1 - 1e-9
    assert result["nonfinite_trajectories"] == 0
    assert result["valid_time"]["u"]["reached_end"] == 3
    assert result["valid_time"]["u"]["median"] == pytest.approx(11 * 0.25)


def test_persistence_of_a_travelling_sine(wave, shift) -> None:
    """A sine shifted by the phase δ has VRMSE 2 |sin δ/2|, correlation cos δ."""
    result = evaluate(shift(frames=2), open_store(wave), start=1)
    lead = np.array(result["lead_times"])
    np.testing.assert_allclose(lead, 0.25 * np.arange(1, 10))
    vrmse = 2 * np.abs(np.sin(PHASE * lead / 2))
    found = result["persistence"]["vrmse"]["u"]
    np.testing.assert_allclose(found["mean"], vrmse.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found["median"], np.median(vrmse, 0), rtol=1e-5)
    np.testing.assert_allclose(found["p10"], np.percentile(vrmse, 10, 0), rtol=1e-5)
    np.testing.assert_allclose(
        result["persistence"]["nrmse"]["u"]["mean"], vrmse.mean(0), rtol=1e-5
    )
    correlation = np.cos(PHASE * lead)
    np.testing.assert_allclose(
        result["persistence"]["correlation"]["u"]["mean"], correlation.mean(0), rtol=1e-5, atol=1e-6
    )
    summary = result["summary"]["persistence"]
    assert summary["vrmse"] == pytest.approx(vrmse.mean(), rel=1e-5)
    assert summary["vrmse_one_step"] == pytest.approx(vrmse[:, 0].mean(), rel=1e-5)
    assert summary["vrmse_median"] == pytest.approx(np.median(vrmse.mean(1)), rel=1e-5)
    valid = []
    for row in correlation:
        k = np.argmax(row < 0.8)
        crossed = k and lead[k - 1] + 0.25 * (row[k - 1] - 0.8) / (row[k - 1] - row[k])
        valid.append(crossed)
    assert summary["valid_time"] == pytest.approx(np.mean(valid), rel=1e-5)


def test_scores_agree_with_the_metrics_of_a_prediction(wave, shift) -> None:
    operator, store = shift(speed=0.5, gain=0.9), open_store(wave)
    result, data = evaluate(operator, store), predict(operator, store)
    pair = [torch.from_numpy(data[n].values[:, :, None]).double() for n in ("u", "u_truth")]
    scores = metrics.vrmse(*pair, 1).mean(0)[:, 0]
    np.testing.assert_allclose(result["scores"]["vrmse"]["u"]["mean"], scores, rtol=1e-9)
    valid = metrics.valid_time(*pair, torch.tensor(result["lead_times"]), 1)
    assert result["valid_time"]["u"]["mean"] == pytest.approx(valid.mean().item())
    assert result["valid_time"]["u"]["reached_end"] == 0


def test_errors_in_the_unit_of_the_field(wave, shift) -> None:
    operator, store = shift(speed=0.5, gain=0.9), open_store(wave)
    result, data = evaluate(operator, store), predict(operator, store)
    pair = [torch.from_numpy(data[n].values[:, :, None]).double() for n in ("u", "u_truth")]
    expected = {"rmse": metrics.rmse(*pair, 1), "brmse": metrics.brmse(*pair, 1)}
    bands = metrics.spectral_rmse(*pair, 1).unbind(-1)
    expected |= dict(zip(("rmse_low", "rmse_middle", "rmse_high"), bands, strict=True))
    for name, value in expected.items():
        found = result["scores"][name]["u"]["mean"]
        np.testing.assert_allclose(found, value.mean(0)[:, 0], rtol=1e-9, atol=1e-12)
    conserved = metrics.crmse(*pair, 1).mean().item()
    assert result["summary"]["crmse"] == pytest.approx(conserved, abs=1e-9)


def test_spectra_are_those_of_the_modes(wave, shift) -> None:
    spectra = evaluate(shift(gain=0.5), open_store(wave), trajectories=[2])["spectra"]
    np.testing.assert_allclose(spectra["lead_times"], [0.25, 1.5, 2.75])
    assert spectra["wavenumber"] == [*range(17)]
    energy = np.zeros(17)
    energy[3] = 5**2 / 2  # of 5 sin(3 · 2π x / L)
    truth = np.array(spectra["fields"]["u"]["truth"])
    np.testing.assert_allclose(truth, np.tile(energy, (3, 1)), rtol=1e-5, atol=1e-9)
    prediction = np.array(spectra["fields"]["u"]["prediction"])
    gain = 0.25 ** np.array([[1], [6], [11]])
    np.testing.assert_allclose(prediction, gain * energy, rtol=1e-4, atol=1e-9)


def test_spectra_are_medians_over_trajectories(wave, shift) -> None:
    store = open_store(wave)
    three = evaluate(shift(), store, batch=2)["spectra"]["fields"]["u"]["truth"]
    alone = [evaluate(shift(), store, trajectories=[i])["spectra"] for i in range(3)]
    each = [one["fields"]["u"]["truth"] for one in alone]
    np.testing.assert_allclose(three, np.median(each, axis=0), atol=1e-12)


def test_blown_up_rollout_gives_a_valid_file(wave, shift, tmp_path) -> None:
    result = evaluate(shift(gain=1e20), open_store(wave))
    path = write_evaluation(result, tmp_path / "evaluation.json")
    read = unsealed(json.loads(path.read_text(), parse_constant=pytest.fail))
    assert read == result
    assert read["nonfinite_trajectories"] == 3
    assert read["scores"]["vrmse"]["u"]["mean"][0] is not None
    assert read["scores"]["vrmse"]["u"]["mean"][-1] is None
    assert read["scores"]["correlation"]["u"]["p90"][-1] is None
    assert read["summary"]["vrmse"] is read["summary"]["vrmse_median"] is None
    assert read["summary"]["persistence"]["vrmse"] == pytest.approx(
        np.mean(read["persistence"]["vrmse"]["u"]["mean"])
    )


def test_bookkeeping(wave, shift) -> None:
    result = evaluate(shift(time_steps=(0.5,)), open_store(wave, "test"), steps=3, trajectories=2)
    assert result["store"]["name"] == "wave"
    assert result["store"]["split"] == "test"
    assert result["store"]["trajectories"] == 2
    assert (result["start"], result["steps"], result["stride"], result["history"]) == (0, 3, 2, 1)
    assert result["dt"] == pytest.approx(0.5)
    assert result["provenance"] == {"seed": 7}
    assert result["seconds_per_step"] > 0
    missing = {*result["scores"], "valid_time", "spectra", "order", "null"} - {
        *result["conventions"]
    }
    assert not missing


def test_more_steps_than_stored_are_refused(wave, shift) -> None:
    with pytest.raises(ValueError, match=r"12 steps do not fit.*at most 11"):
        evaluate(shift(), open_store(wave), steps=12)


def test_nothing_is_overwritten(tmp_path) -> None:
    path = write_evaluation({"a": 1}, tmp_path / "e.json")
    with pytest.raises(ValueError, match="exists already"):
        write_evaluation({"a": 2}, path)
    assert unsealed(json.loads(path.read_text())) == {"a": 1}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_evaluation({"a": float("nan")}, path, overwrite=True)
    assert unsealed(json.loads(path.read_text())) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["e.json"]


def test_chaotic_data_say_their_lyapunov_time(tmp_path) -> None:
    """In a box of another length it is another one."""
    data = simulate("kuramoto_sivashinsky_1d", tmp_path, trajectories={"train": 1}, frames=2)
    assert open_store(data).provenance["lyapunov_time"] == pytest.approx(12.3)
    other = simulate(
        "kuramoto_sivashinsky_1d",
        tmp_path / "other",
        trajectories={"train": 1},
        frames=2,
        lengths=32.0,
        resolution=64,
    )
    assert "lyapunov_time" not in open_store(other).provenance
