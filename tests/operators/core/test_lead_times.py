"""Prediction and evaluation at lead times of one's own, directly and autoregressively."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray
from safetensors.torch import load_file

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.finetune.cli.console import dispatch
from pelagos.finetune.forecast.evaluate import evaluate
from pelagos.finetune.forecast.predict import predict
from pelagos.operators import Description, create
from pelagos.operators.compat import load_scot

SMALL = {"width": 8, "depths": (1,), "heads": (2,), "skips": (1,), "patch": 2, "window": 4}


@pytest.fixture
def operator():
    """Continuous in time, with weights that make the lead time count."""
    description = Description(("u",), time_scale=0.5)
    operator = create("multiscale", description=description, ndim=1, **SMALL)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in operator.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return operator


def frames(store):
    channel = store.fields.index("u")
    return torch.stack([store.trajectory(i)[:, channel, None] for i in range(len(store))])


def steps(operator, history, increments):
    state, found = operator.init(history), []
    for dt in increments:
        state, fields = operator.step(state, torch.full((len(history),), dt))
        found.append(fields[:, 0])
    return torch.stack(found, 1).detach().numpy()


def test_direct_and_autoregressive_at_fractional_times(operator, wave) -> None:
    """Directly every frame comes from the given one, else from the prediction before it."""
    store = open_store(wave, "test")  # frames 0.25 apart, from time 10
    history = frames(store)[:, 2:3]
    leads = (0.1, 0.5, 0.7)
    direct = predict(operator, store, start=2, lead_times=leads, mode="direct")
    alone = np.concatenate([steps(operator, history, [lead]) for lead in leads], 1)
    np.testing.assert_allclose(direct["u"], alone, rtol=1e-5, atol=1e-6)
    chained = predict(operator, store, start=2, lead_times=leads)
    expected = steps(operator, history, np.diff(leads, prepend=0.0).tolist())
    np.testing.assert_allclose(chained["u"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(direct["lead_time"], leads)
    np.testing.assert_allclose(direct["time"], 10.5 + np.array(leads), rtol=1e-6)
    # Only the second of these times is stored: frame 2 + 0.5 / 0.25.
    truth = direct["u_truth"].to_numpy()
    assert np.isnan(truth[:, [0, 2]]).all()
    np.testing.assert_array_equal(truth[:, 1], frames(store)[:, 4, 0])


def test_evaluation_at_stored_times(operator, wave) -> None:
    store = open_store(wave, "test")
    every = evaluate(operator, store, steps=4, mode="direct")
    some = evaluate(operator, store, lead_times=(0.5, 1.0), mode="direct")
    assert some["lead_times"] == [0.5, 1.0]
    assert some["mode"] == every["mode"] == "direct"
    found, expected = (x["scores"]["vrmse"]["u"]["mean"] for x in (some, every))
    np.testing.assert_allclose(found, [expected[1], expected[3]], rtol=1e-6)
    with pytest.raises(ValueError, match=r"no frame of .* is stored 0\.3, 9 after frame 0"):
        evaluate(operator, store, lead_times=(0.3, 0.5, 9.0))


def test_commands(operator, wave, tmp_path) -> None:
    checkpoint = str(operator.save_pretrained(tmp_path / "checkpoint"))
    out = str(tmp_path / "p.nc")
    options = ["--lead-times", "0.35,0.7", "--mode", "direct"]
    dispatch(["predict", checkpoint, str(wave), *options, "--out", out])
    with xarray.open_dataset(out) as data:
        np.testing.assert_allclose(data["lead_time"], (0.35, 0.7))
        assert data.attrs["mode"] == "direct"
    out = str(tmp_path / "e.json")
    dispatch(["evaluate", checkpoint, str(wave), "--lead-times", "0.25,0.75", "--out", out])
    assert json.loads(Path(out).read_text())["lead_times"] == [0.25, 0.75]
    with pytest.raises(ValueError, match="needs increasing numbers; got '2,1'"):
        dispatch(["predict", checkpoint, str(wave), "--lead-times", "2,1"])


def test_published_weights_predict_in_physical_units(tmp_path) -> None:
    """A directory in the published layout, as torch wrote it, through the command."""
    published = tmp_path / "published"
    published.mkdir()
    source = Path(__file__).parents[2] / "golden" / "scot" / "padshift_abspos_residual"
    (published / "config.json").write_text((source / "config.json").read_text())
    torch.save(load_file(source / "state_dict.safetensors"), published / "pytorch_model.bin")
    fluids = load_scot(published, normalization="fluids")
    checkpoint = fluids.save_pretrained(tmp_path / "checkpoint")
    names, grid = fluids.description.fields, Grid.unit((48, 48))
    values = np.random.default_rng(0).standard_normal((4, 2, 15, 48, 48)).astype(np.float32)
    data = WellData("flow", grid, np.arange(15.0), dict(zip(names, values, strict=True)))
    write_file(tmp_path / "flow" / "data" / "test" / "a.hdf5", data)
    out = tmp_path / "p.nc"
    options = ["--lead-times", "7,14", "--mode", "direct", "--out", str(out)]
    dispatch(["predict", str(checkpoint), str(tmp_path / "flow"), *options])
    mean, std = np.array([0.8, 0, 0, 0]), np.array([0.31, 0.391, 0.356, 0.185])
    scaled = (values[:, :, 0] - mean[:, None, None, None]) / std[:, None, None, None]
    inputs = torch.from_numpy(scaled).float().transpose(0, 1)
    with torch.no_grad():
        expected = load_scot(published).network(inputs, torch.full((2,), 0.7))
    with xarray.open_dataset(out) as found:
        for c, name in enumerate(names):
            physical = expected[:, c].numpy() * std[c] + mean[c]
            np.testing.assert_allclose(found[name][:, 1], physical, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(found[name + "_truth"][:, 1], values[c, :, 14], rtol=1e-6)


def test_refusals(operator, wave, shift) -> None:
    store = open_store(wave, "test")
    with pytest.raises(ValueError, match="need an operator that is continuous in time"):
        predict(shift(), store, lead_times=(0.5,))
    with pytest.raises(ValueError, match="direct prediction needs an operator"):
        predict(shift(), store, mode="direct")
    for times in ((), (0.0,), (0.5, 0.5), (float("nan"),)):
        with pytest.raises(ValueError, match="must be positive, finite and increasing"):
            predict(operator, store, lead_times=times)
    with pytest.raises(ValueError, match="either steps or lead_times"):
        predict(operator, store, lead_times=(0.5,), steps=2)
