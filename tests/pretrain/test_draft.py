"""A recipe that is drafted for data trains, and says every key."""

import dataclasses
import re
import shutil

import pytest
import yaml
from accelerate.state import AcceleratorState

from pelagos.datasets.base.commented import commented
from pelagos.datasets.base.config import build
from pelagos.datasets.simulation.simulate import simulate
from pelagos.finetune.adapt.recipe import FinetuneRecipe
from pelagos.finetune.cli.console import main
from pelagos.pretrain.draft import draft
from pelagos.pretrain.recipe import TrainRecipe

EQUATIONS = {
    "burgers_1d": {"resolution": 48, "frames": 6},
    "heat_2d": {"resolution": 32, "frames": 14},
    "poisson_2d": {"resolution": 24},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    counts = {"train": 3, "valid": 2}
    return {k: simulate(k, root, trajectories=counts, **more) for k, more in EQUATIONS.items()}


# Of three trajectories the parameters of the next may well lie far away.
@pytest.mark.filterwarnings("ignore:parameter .* deviations from the training data")
@pytest.mark.parametrize(
    ("name", "operator"),
    [
        ("burgers_1d", "dymixop"),
        ("heat_2d", "multiscale"),
        ("heat_2d", "observer"),
        ("poisson_2d", "dymixop"),
    ],
)
def test_it_trains(data, name, operator, tmp_path, capsys):
    """At fewer steps and channels than it says."""
    main(["recipe", "new", str(data[name]), "--operator", operator])
    (tmp_path / "recipe.yaml").write_text(capsys.readouterr().out)
    AcceleratorState._reset_state(reset_partial_state=True)
    key = "width" if operator == "multiscale" else "hidden"
    size = ["--operator.width", "12"] if key == "width" else ["--operator.hidden", "4"]
    short = ["--steps", "2", "--batch", "2", "--micro-batch", "1", "--validation.horizon", "1"]
    main(["pretrain", str(tmp_path / "recipe.yaml"), str(tmp_path / "run"), *short, *size])
    assert (tmp_path / "run" / "checkpoint").is_dir()


def test_every_key_is_there_once_and_what_is_a_comment_is_the_default(data):
    """Without the `#` of every default the recipe says the same."""
    values = draft([str(data["burgers_1d"])])
    text = commented(TrainRecipe, values)
    plainly = build(TrainRecipe, values)
    assert build(TrainRecipe, yaml.safe_load(text)) == plainly
    for field in dataclasses.fields(TrainRecipe):
        assert len(re.findall(rf"^#?{field.name}:", text, re.MULTILINE)) == 1, field.name
    # What follows from data where it is left out, and what must be completed, stay comments.
    names = (
        "structure_change|resolution|time_input|simulate|early_stopping|average|layout|"
        "curriculum|leads|jacobian|conservation|residual"
    )
    measured = f"({names})"
    awake = re.sub(rf"^( *)#(?!{measured}:)(\w+:(?: |$))", r"\1\3", text, flags=re.MULTILINE)
    assert awake.count("\n") == text.count("\n")
    found = build(TrainRecipe, yaml.safe_load(awake))
    # These two stay mappings, which now hold more of their defaults.
    assert found.operator.items() >= plainly.operator.items()
    assert found.normalizer.items() >= {"name": "statistics"}.items()
    kept = {"operator": plainly.operator, "normalizer": plainly.normalizer}
    assert dataclasses.replace(found, **kept) == plainly


def test_most_of_the_training_is_one_step_at_a_time(data):
    values = draft([str(data["burgers_1d"])])
    ahead, curriculum = values["objective"]["horizon"], values["objective"]["curriculum"]
    assert curriculum == {"every": values["steps"] * 4 // 5, "growth": ahead - 1}
    assert (values["bounded"], values["conserved"]) == (2.0, ["u"])
    assert values["optimizer"] == {"learning_rate": 5e-3, "betas": [0.9, 0.98]}
    assert draft([str(data["heat_2d"])], "multiscale")["optimizer"] == {"learning_rate": 1e-3}
    steady = draft([str(data["poisson_2d"])])
    assert "curriculum" not in steady["objective"]
    assert "bounded" not in steady


def test_choices_ranges_and_defaults_are_said():
    text = commented(
        FinetuneRecipe, {"data": [{"path": "a"}], "steps": 7, "method": {"name": "lora"}}
    )
    assert "One of fp32, bf16." in text
    assert "# Optimizer steps. It must be at least 1. Default: 1000.\nsteps: 7\n" in text
    assert "\n#early_stopping: {patience: …}\n" in text
    assert "method:\n  name: lora\n" in text
    assert "  #rank: 8\n" in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_dataset_without_splits_is_divided(data, tmp_path):
    [file] = (data["burgers_1d"] / "data" / "train").iterdir()
    (tmp_path / "mine").mkdir()
    shutil.copy(file, tmp_path / "mine" / "mine.hdf5")
    values = draft([str(tmp_path / "mine" / "mine.hdf5")])
    assert values["data"][0]["splits"]["by"] in ("trajectory", "time")
    assert values["validation"]["trajectories"] >= 1


def test_too_little_is_said(data, tmp_path):
    one = {"trajectories": {"train": 1, "valid": 1}, "resolution": 32, "frames": 2}
    short = simulate("heat_1d", tmp_path, **one)
    with pytest.raises(ValueError, match="2 frames are too few to learn from"):
        draft([str(short)])
