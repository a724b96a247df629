"""What a checkpoint and data both state is compared before a forecast."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.normalization import Statistics
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.finetune.forecast.evaluate import evaluate
from pelagos.finetune.forecast.predict import predict
from pelagos.operators import Description, Operator

POINTS, FRAMES = 16, 4
MEANS = {"warm": 300.0, "cold": 250.0}


@dataclass(frozen=True)
class HalvingConfig:
    history: int = 1
    ndim: int = 1


class Halving(Operator):
    """The scaled field halves in each step: u → mean + (u − mean) / 2."""

    name, Config, conditioned = "halving", HalvingConfig, True

    def __init__(self, config, description) -> None:
        super().__init__(config, description)
        self.factor = nn.Parameter(torch.tensor(0.5))

    def reset(self, generator) -> None:
        self.factor.data.fill_(0.5)

    def step(self, state, dt, observation=None):
        self.check_step(state, dt)
        scaling = self.scaling(state)
        scaled = self.factor * scaling.encode(state.history)[:, -1]
        fields = scaling.decode(scaled, state.history[:, -1])
        return state.advance(fields, dt), fields


def halving(**about) -> Halving:
    mean = {name: {"u": value} for name, value in {**MEANS, "*": 275.0}.items()}
    std = {"warm": {"u": 2.0}, "cold": {"u": 1.0}, "*": {"u": 25.0}}
    return Halving(HalvingConfig(), Description(("u",), normalizer=Statistics(mean, std), **about))


@pytest.fixture
def cold(tmp_path):
    """Three trajectories that halve their distance from 250."""
    x = 2 * np.pi * np.arange(POINTS) / POINTS
    waves = np.stack([np.sin(x), np.sin(2 * x), np.cos(x)])[:, None]
    data = WellData(
        dataset="cold",
        grid=Grid.unit((POINTS,)),
        times=0.5 * np.arange(FRAMES),
        fields={"u": 250 + waves * 0.5 ** np.arange(FRAMES)[:, None]},
        parameters={"speed": np.arange(3.0)},
        units={"speed": "m/s", "u": "K"},
    )
    write_file(tmp_path / "a.hdf5", data)
    return open_store(tmp_path)


def test_the_same_data_under_another_name_score_the_same(cold) -> None:
    known = evaluate(halving(), cold, batch=1)["summary"]
    assert known["nrmse"] < 1e-6
    cold.name = "copy of the data"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        renamed = evaluate(halving(), cold, batch=1)["summary"]
        predicted = predict(halving(), cold)
    assert renamed == known
    [one, two] = [str(warning.message) for warning in caught]  # of three batches, only one warns
    assert one == two
    assert "named 'copy of the data': those of 'cold' are taken, the nearest of" in one
    np.testing.assert_allclose(predicted["u"], predicted["u_truth"], rtol=1e-6)


def test_a_parameter_in_another_unit_is_refused(cold) -> None:
    operator = halving(parameters=("speed",), units={"speed": "km/h", "u": "K"})
    with pytest.raises(ValueError, match=r"has 'speed' in 'km/h', dataset 'cold' in 'm/s'"):
        predict(operator, cold)
    same = replace(operator.description, units={"speed": "m/s", "u": "K"})
    predict(Halving(HalvingConfig(), same), cold)
