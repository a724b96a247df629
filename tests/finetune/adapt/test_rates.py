"""Learning rates of fine-tuning: by part, by name, and by depth."""

from __future__ import annotations

import pytest

from pelagos.datasets.base.config import build
from pelagos.finetune.adapt.rates import rates_of
from pelagos.finetune.adapt.recipe import FinetuneRecipe
from pelagos.operators import create
from pelagos.pretrain.optimizer import build_optimizer

DYMIXOP = {"ndim": 1, "hidden": 4, "layers": 2, "modes": 3}
SCOT = {"ndim": 1, "width": 8, "depths": (1, 1), "heads": (2, 2), "skips": (0, 0), "patch": 2}


def recipe(**values):
    return build(FinetuneRecipe, {"data": [{"path": "x"}], **values})


def peaks(asked, operator):
    """Peak learning rate of every parameter, as the optimizer has it."""
    optimizer = build_optimizer(operator, asked.optimizer, rates_of(asked, operator))
    names = {parameter: name for name, parameter in operator.named_parameters()}
    return {names[p]: group["peak"] for group in optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize(
    ("name", "config", "slow", "fast"),
    [
        ("dymixop", DYMIXOP, "mixing", ("lift", "reduce", "unreduce", "unlift")),
        ("multiscale", {**SCOT, "window": 4}, "encoder", ("embedding", "recovery")),
    ],
)
def test_parts_have_rates_of_their_own(name, config, slow, fast):
    operator = create(name, fields=("u",), **config)
    asked = recipe(learning_rates={"embedding": 0.5, "recovery": 0.5, "norms": 0.25})
    found = peaks(asked, operator)
    for parameter, rate in found.items():
        expected = 0.5 if parameter.startswith(fast) else None
        if parameter.startswith(("gate", "evolution", "conditioning")):
            expected = 0.25
        assert rate == (expected or 1e-3), parameter
        assert not parameter.startswith(slow) or rate == 1e-3


def test_published_groups_decay_neither_norms_nor_biases():
    """Poseidon's four groups: decayed weights, norms and biases, embedding and recovery, time."""
    operator = create("multiscale", fields=("u",), window=4, **SCOT)
    asked = recipe(
        learning_rates={"embedding": 5e-4, "recovery": 5e-4, "conditioning": 5e-4},
        optimizer={"learning_rate": 5e-5, "weight_decay": 1e-6},
    )
    optimizer = build_optimizer(operator, asked.optimizer, rates_of(asked, operator))
    names = {parameter: name for name, parameter in operator.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            ours = names[parameter].startswith(("embedding", "recovery", "conditioning"))
            assert group["peak"] == (5e-4 if ours else 5e-5)
            assert group["weight_decay"] == (1e-6 if parameter.ndim > 1 else 0.0)


def test_rates_decay_with_the_distance_from_the_output():
    operator = create("dymixop", fields=("u",), **DYMIXOP)
    asked = recipe(layer_decay=0.5, optimizer={"learning_rate": 0.8})
    found = peaks(asked, operator)
    assert found["unlift.weight"] == found["gate"] == pytest.approx(0.8)
    assert found["mixing.1.expand.bias"] == pytest.approx(0.4)
    assert found["mixing.0.expand.bias"] == pytest.approx(0.2)
    assert found["lift.weight"] == pytest.approx(0.1)
    named = recipe(layer_decay=0.5, learning_rates={"embedding": 0.9, "mixing.0.expand": 0.7})
    found = peaks(named, operator)
    assert found["lift.weight"] == 0.9
    assert found["mixing.0.expand.bias"] == 0.7


def test_what_cannot_be_is_refused(shift):
    operator = create("dymixop", fields=("u",), **DYMIXOP)
    for more in ({}, {"layer_decay": 0.5}):
        with pytest.raises(ValueError, match=r"learning_rates: no module or parameter lfit"):
            peaks(recipe(learning_rates={"lfit": 0.1}, **more), operator)
    with pytest.raises(ValueError, match="layer_decay needs an operator that names its parts"):
        peaks(recipe(layer_decay=0.5), shift())
    with pytest.raises(ValueError, match=r"layer_decay must lie in \(0, 1\]"):
        recipe(layer_decay=0.0)
