"""Steady problems from checkpoints that step in time, and the reverse."""

from __future__ import annotations

import pytest
import torch
import yaml

from pelagos.datasets import open_store
from pelagos.datasets.base.config import build, plain
from pelagos.datasets.fields.normalization import Statistics, WindowScaling
from pelagos.datasets.fields.window import collate
from pelagos.datasets.simulation.simulate import simulate
from pelagos.finetune import finetune
from pelagos.finetune.adapt.command import start_operator
from pelagos.finetune.adapt.donor import donor_of
from pelagos.finetune.adapt.plan import plan_of
from pelagos.finetune.study.cells import Cell, Place, Recipes
from pelagos.finetune.study.recipe import StudyRecipe
from pelagos.operators import Description, create, from_pretrained

FIELDS = ("u", "v")
KNOWN = Statistics({"*": dict.fromkeys(FIELDS, 0.0)}, {"*": dict.fromkeys(FIELDS, 1.0)})
SIZES = {
    "dymixop": {"history": 3, "time_input": True, "hidden": 6, "layers": 1, "modes": 3},
    "multiscale": {
        "width": 8, "depths": (1,), "heads": (2,), "skips": (0,), "patch": 2, "window": 4,
        "learn_residual": True,
    },
}  # fmt: skip
OBJECTIVES = {
    "dymixop": {"kind": "rollout", "horizon": 3, "loss": "relative_l2", "curriculum": {"start": 1}},
    "multiscale": {"kind": "all2all", "horizon": 4, "loss": "relative_l2", "identity": False},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    counts = {"train": 3, "valid": 1, "test": 1}
    return simulate("poisson_2d", root, trajectories=counts, resolution=12)


@pytest.fixture
def make(tmp_path):
    def make(name, **about):
        normalizer = WindowScaling() if name == "dymixop" else KNOWN
        recipe = {"objective": OBJECTIVES[name], "batch": 2, "micro_batch": 2}
        usual = {
            "normalizer": normalizer,
            "time_scales": {"slow": 5.0, "fast": 0.1},
            "time_steps": (0.1, 5.0),
            "fill": {"u": 0.0, "v": 0.0},
            "provenance": {"recipe": recipe},
        }
        description = Description(FIELDS, **{**usual, **about})
        operator = create(name, description=description, seed=1, ndim=2, **SIZES[name])
        return operator.save_pretrained(tmp_path / name)

    return make


@pytest.mark.parametrize("name", ["dymixop", "multiscale"])
def test_what_lies_between_comes_over(name, make, data):
    checkpoint = make(name)
    plan = plan_of(str(checkpoint), None, ["--data", str(data)], False)
    operator = start_operator(plan.recipe, [open_store(data, "train")])
    about, donor = operator.description, from_pretrained(checkpoint)
    assert (about.fields, operator.history) == (("u",), 1)
    assert about.inputs == open_store(data, "train").inputs
    assert (about.normalizer.name, about.time_scale, about.time_scales) == ("statistics", 1.0, {})
    body = "mixing." if name == "dymixop" else "encoder."
    same = {k: v for k, v in donor.state_dict().items() if k.startswith(body)}
    assert same
    assert all(torch.equal(operator.state_dict()[k], v) for k, v in same.items())
    first = "lift." if name == "dymixop" else "embedding.projection."
    embedding = {k: v for k, v in operator.state_dict().items() if k.startswith(first)}
    fresh = create(name, description=about, seed=0, **plain(operator.config)).state_dict()
    assert embedding
    assert all(torch.equal(fresh[k], v) for k, v in embedding.items())  # coordinates, too
    assert plan.recipe.objective.horizon == 1
    assert plan.recipe.objective.loss == "relative_l2"
    assert "a steady problem, from a checkpoint that steps in time" in " ".join(plan.notes)


def test_one_line_trains_a_steady_problem(make, data, tmp_path):
    few = ["--data", str(data), "--steps", "2"]
    path = finetune(str(make("multiscale")), tmp_path / "run", few)
    operator, store = from_pretrained(path), open_store(data, "test")
    prediction = operator(collate([store.window(0, 0, 1, 1)]))
    assert prediction.shape == (1, 1, 1, 12, 12)
    assert prediction.isfinite().all()
    stored = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert stored["operator"]["learn_residual"] is False  # so is it from scratch, then


def test_what_a_recipe_says_itself_counts(make, data):
    checkpoint = make("dymixop")
    values = {"init_from": str(checkpoint), "data": [{"path": str(data)}]}
    donor, store = donor_of(str(checkpoint)), open_store(data, "train")
    assert donor.changes_for(store, {"history": 2}) == {"time_input": False}
    assert donor.changes_for(store, {}) == {"history": 1, "time_input": False}
    study = build(StudyRecipe, {**values, "objective": {"horizon": 1}})
    changes = donor.changes_for(store, study.operator)
    recipes = Recipes(study, from_pretrained(checkpoint), store, changes)
    scratch = recipes.of(Cell(Place("scratch", 2, 1), 0, 1e-3))
    assert scratch.operator["history"] == 1
    assert scratch.fill == {"u": 0.0}  # v is not there to be filled
    assert (scratch.normalizer, scratch.time_scale) == ({"name": "statistics"}, 1.0)


def test_a_checkpoint_of_steady_problems_may_learn_to_step(make, tmp_path):
    grid = {"resolution": 26, "frames": 4, "dt": 0.1}
    path = simulate("heat_2d", tmp_path, trajectories={"train": 2, "valid": 1}, **grid)
    sizes = {**SIZES["multiscale"], "learn_residual": False}
    about = Description(("u",), normalizer=KNOWN, inputs=("forcing",), time_steps=(1.0,))
    steady = create("multiscale", description=about, seed=1, ndim=2, **sizes)
    steady.save_pretrained(tmp_path / "steady")
    found = finetune(
        str(tmp_path / "steady"), tmp_path / "run", ["--data", str(path), "--steps", "2"]
    )
    assert from_pretrained(found).description.inputs == ()
