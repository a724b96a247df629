"""Objectives by name: how a recipe spells them, and one that another package brings."""

import json
from dataclasses import dataclass, replace
from typing import Literal

import pytest
import yaml

from pelagos.datasets.base.config import build, plain, read
from pelagos.datasets.simulation.simulate import simulate
from pelagos.pretrain import TrainRecipe, pretrain
from pelagos.pretrain.objectives import OBJECTIVES, Objective, ObjectiveConfig, Phase, objective_of
from pelagos.pretrain.objectives.all2all import All2AllConfig
from pelagos.pretrain.objectives.assimilation import AssimilationObjectiveConfig
from pelagos.pretrain.objectives.rollout import RolloutConfig


def recipe_with(objective):
    values = {"data": [{"path": "x"}], "operator": {"name": "dymixop"}, "objective": objective}
    return build(TrainRecipe, values)


@pytest.mark.parametrize(
    ("spelling", "config"),
    [
        ({}, RolloutConfig()),
        ({"horizon": 4}, RolloutConfig(horizon=4)),
        ({"kind": "all2all", "identity": False}, All2AllConfig(identity=False)),
        ({"kind": "assimilation"}, AssimilationObjectiveConfig()),
    ],
)
def test_the_key_kind_chooses(spelling, config):
    recipe = recipe_with(spelling)
    assert recipe.objective == config
    assert isinstance(objective_of(recipe.objective), OBJECTIVES.get(config.kind))
    assert recipe_with(plain(recipe)["objective"]).objective == config


@pytest.mark.parametrize("kind", ["rollout", "all2all", "assimilation"])
def test_recipes_of_earlier_versions_hold_the_keys_of_all_kinds(kind):
    old = {"kind": kind, "horizon": 2, "identity": True, "loss": "vrmse", "assimilation": None}
    assert recipe_with(old) == recipe_with({"kind": kind, "horizon": 2})


@pytest.mark.parametrize(
    ("spelling", "match"),
    [
        ({"kind": "all2al"}, "unknown objective 'all2al'; did you mean 'all2all'"),
        ({"kind": 3}, "objective"),
        ({"horizn": 3}, "did you mean '(objective.)?horizon'"),
        ({"kind": "all2all", "assimilation": {}}, "no meaning for objective.kind all2all"),
        ({"horizon": 0}, "horizon must be at least 1"),
        ("rollout", "objective must be a mapping"),
    ],
)
def test_misspelt(spelling, match):
    with pytest.raises(ValueError, match=match):
        recipe_with(spelling)


def test_an_override_changes_the_kind(tmp_path):
    path = tmp_path / "recipe.yaml"
    values = {"data": [{"path": "x"}], "operator": {}, "objective": {"horizon": 3}}
    path.write_text(yaml.safe_dump(values))
    words = ["--objective.kind", "all2all", "--objective.horizon", "3"]
    assert read(TrainRecipe, path, words).objective == All2AllConfig(horizon=3)


@dataclass(frozen=True)
class SquaresConfig(ObjectiveConfig):
    kind: Literal["squares"] = "squares"
    power: float = 2.0


class Squares(Objective[SquaresConfig]):
    """Of the error, twice: the bias of the first half of the steps, then the square."""

    Config = SquaresConfig

    def loss(self, model, window, normalizer, seed):
        return (model(window) - window.target).abs().pow(self.config.power).mean()

    def phases(self, operator, steps):
        half = steps // 2
        return (
            Phase(range(half), self.loss, lambda name: name.startswith("lift")),
            Phase(range(half, steps), self.loss, begins="now everything is trained"),
        )


@pytest.fixture
def data(tmp_path):
    return simulate(
        "advection_1d",
        tmp_path / "data",
        trajectories={"train": 2, "valid": 1},
        resolution=40,
        frames=5,
        dt=0.02,
    )


def test_an_objective_of_another_package_is_trained_like_ours(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(OBJECTIVES.added, "squares", Squares)
    recipe = build(
        TrainRecipe,
        {
            "data": [{"path": str(data)}],
            "operator": {"name": "dymixop", "history": 2, "hidden": 4, "layers": 1},
            "objective": {"kind": "squares", "power": 1.5},
            "steps": 4,
            "batch": 2,
            "micro_batch": 2,
            "log_every": 1,
            "save_every": 4,
            "validation": {"every": 4, "horizon": 2},
        },
    )
    run = tmp_path / "run"
    pretrain(recipe, run)
    assert "now everything is trained" in capsys.readouterr().err
    assert yaml.safe_load((run / "recipe.yaml").read_text())["objective"]["power"] == 1.5
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in log if r["kind"] == "train"] == [1, 2, 3, 4]
    pretrain(recipe, run, resume=True)
    assert "finished already" in capsys.readouterr().out
    other = replace(recipe, objective=replace(recipe.objective, power=2.0))
    with pytest.raises(ValueError, match=r"objective\.power was 1\.5, now 2\.0"):
        pretrain(other, run, resume=True)
