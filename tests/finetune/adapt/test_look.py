"""What is said before the first step: scale, gradients, distance from the checkpoint's data."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from pelagos.datasets import open_store
from pelagos.datasets.base.config import build
from pelagos.datasets.fields.normalization import Standard, Statistics
from pelagos.datasets.sampling.mixture import Mixture
from pelagos.datasets.sampling.windows import Windows
from pelagos.datasets.simulation.simulate import simulate
from pelagos.finetune.adapt.distance import distances
from pelagos.finetune.adapt.look import first_look
from pelagos.finetune.adapt.recipe import FinetuneRecipe
from pelagos.finetune.adapt.trained import require_trained, share_trained
from pelagos.operators import Description, create
from pelagos.operators.core.trained import Ranges
from pelagos.pretrain.objectives import objective_of

SMALL = {"ndim": 1, "hidden": 6, "layers": 2, "modes": 4}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    path = simulate("burgers_1d", root, trajectories={"train": 3}, resolution=64, frames=6, dt=0.02)
    return open_store(path, "train")


@pytest.fixture
def mixture(store):
    return Mixture([(Windows(store, history=1, horizon=2), 1.0)], 2, 0)


def described(mean=0.0, std=1.0, **about):
    statistics = Statistics({"*": {"u": mean}}, {"*": {"u": std}})
    return Description(("u",), normalizer=statistics, time_steps=(0.02,), **about)


RECIPE = build(FinetuneRecipe, {"data": [{"path": "x"}], "objective": {"horizon": 2}})


def test_loss_and_gradients_by_part_are_told_and_nothing_changes(mixture, store):
    operator = create("dymixop", description=described(), seed=2, **SMALL)
    before = {name: value.clone() for name, value in operator.state_dict().items()}
    [line] = first_look(operator, RECIPE, mixture, objective_of(RECIPE.objective))
    assert line.startswith("before the first step, on burgers_1d: loss ")
    assert [word for word in ("embedding", "blocks", "recovery", "norms") if word in line]
    assert all(value.equal(before[name]) for name, value in operator.state_dict().items())
    assert all(parameter.grad is None for parameter in operator.parameters())


def test_the_norm_is_that_of_the_gradient(mixture, shift, store):
    """The operator of one parameter: the derivative of its loss, by differences."""
    operator = shift(time_steps=(0.02,), speed=0.0)
    [line] = first_look(operator, RECIPE, mixture, objective_of(RECIPE.objective))
    told = float(line.rpartition("all ")[2])
    window = [Windows(store, history=1, horizon=2)[i] for i in (0, len(mixture.parts[0]) // 2)]

    def loss(gain):
        total = 0.0
        for each in window:
            guess = torch.stack((each.history[0] * gain, each.history[0] * gain**2))
            error = (guess - each.target).double().square().mean((1, 2))
            total += (error / (each.target.double().var((1, 2), correction=0) + 1e-7)).sqrt().mean()
        return float(total) / len(window)

    assert told == pytest.approx(abs(loss(1.01) - loss(0.99)) / 0.02, rel=0.02)


def test_another_scale_is_warned_of(mixture):
    operator = create("dymixop", description=described(mean=500.0), seed=2, **SMALL)
    warning, _ = first_look(operator, RECIPE, mixture, objective_of(RECIPE.objective))
    assert warning.startswith("warning: u of burgers_1d is predicted")
    assert "data[i].units" in warning


def test_a_gradient_that_is_not_finite_is_refused_by_part(mixture):
    operator = create("dymixop", description=described(), seed=2, **SMALL)
    operator.lift.weight.register_hook(lambda gradient: gradient * torch.nan)
    with pytest.raises(ValueError, match=r"gradient of embedding is not finite; .* data check"):
        first_look(operator, RECIPE, mixture, objective_of(RECIPE.objective))


def of_size(low, high):
    """The ranges of a dataset whose field varies by so much over space."""
    return {"d": Ranges({"u": {"deviation": (math.log10(low), math.log10(high))}})}


def test_data_far_from_the_checkpoints_are_warned_of(store):
    known = described(parameters=("viscosity",), condition_scales={"viscosity": Standard(9.0, 0.1)})
    known = replace(known, units={"u": "m/s"}, trained=of_size(0.5, 2.0))
    after = replace(described(), units={}, trained=of_size(100.0, 1000.0))
    units, sizes, parameters = distances(known, after, [store])
    assert "u in m/s is what they are taken for" in units
    assert "u varies by 100 to 1e+03 here and by 0.5 to 2 in the checkpoint's data" in sizes
    assert "parameter viscosity of burgers_1d reaches 0.0" in parameters
    assert "knows 9 ± 0.1" in parameters
    near = replace(described(), trained=of_size(10.0, 1000.0))
    assert not [*distances(replace(described(), trained=of_size(0.5, 2.0)), near, [store])]
    assert not [*distances(described(), near, [store])]  # an earlier checkpoint says nothing


def test_what_is_trained_and_what_that_saves_is_counted():
    operator = create("multiscale", fields=("u",), ndim=1, width=8, depths=(1,), heads=(2,),
                      skips=(0,), patch=2, window=4)  # fmt: skip
    total = sum(p.numel() for p in operator.parameters())
    operator.encoder.requires_grad_(False)
    kept = sum(p.numel() for p in operator.encoder.parameters())
    line = share_trained(operator)
    assert f"trained are {total - kept:,} of {total:,} parameters" in line
    assert f"{12 * (total - kept) / 1e3:.3g} kB instead of {12 * total / 1e3:.3g} kB" in line
    assert "operator.checkpoint_activations: true saves those" in line
    operator.requires_grad_(False)
    with pytest.raises(ValueError, match=r"nothing to train: freeze freezes .* such as recovery"):
        require_trained(operator, "freeze")
