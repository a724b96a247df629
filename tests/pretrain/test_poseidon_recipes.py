"""The shipped recipes with Poseidon's hyper-parameters, on small data."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from pelagos.datasets.base.config import read
from pelagos.datasets.simulation.simulate import simulate
from pelagos.finetune.adapt.plan import RECIPES as FINETUNING
from pelagos.finetune.adapt.recipe import FinetuneRecipe
from pelagos.finetune.cli.training import main as finetune
from pelagos.operators import create, from_pretrained
from pelagos.operators.multiscale.config import PRESETS, MultiscaleConfig
from pelagos.pretrain.command import RECIPES as PRETRAINING
from pelagos.pretrain.command import main as pretrain
from pelagos.pretrain.optimizer import build_optimizer
from pelagos.pretrain.recipe import TrainRecipe

SMALL = {"width": 8, "depths": [1, 1], "heads": [2, 2], "skips": [1, 0], "resolution": [16, 16]}
FEW = {
    "steps": 2,
    "batch": 4,
    "micro_batch": 2,
    "log_every": 2,
    "save_every": 2,
    "validation": {"every": 2, "trajectories": 1, "horizon": 2},
}


@pytest.fixture(scope="module")
def flows(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("flows")
    names = [f"navier_stokes_{kind}_2d" for kind in ("sines", "gauss")]
    trajectories = {"train": 2, "valid": 1}
    return [simulate(n, root, trajectories=trajectories, resolution=16) for n in names]


def small(source: Path, data: list[Path], target: Path, **changes: object) -> str:
    """A shipped recipe with its data replaced, made small; everything else as it ships."""
    recipe = yaml.safe_load(source.read_text())
    for entry, path in zip(recipe["data"], data, strict=True):
        entry["path"] = str(path)
        entry.pop("trajectories", None)
    target.write_text(yaml.safe_dump({**recipe, **FEW, "workers": 0, **changes}))
    return str(target)


def test_the_pretraining_recipe_is_the_published_one() -> None:
    recipe = read(TrainRecipe, PRETRAINING / "poseidon_t.yaml", [])
    settings = {key: value for key, value in recipe.operator.items() if key != "name"}
    operator = create("multiscale", fields=("u",), ndim=2, **settings)
    assert isinstance(operator.config, MultiscaleConfig)
    assert operator.config == PRESETS["T"]
    assert recipe.optimizer.learning_rate == 1e-3
    assert (recipe.batch, recipe.objective.horizon, recipe.objective.identity) == (640, 10, True)


def test_fine_tuning_groups_have_the_published_rates() -> None:
    recipe = read(FinetuneRecipe, FINETUNING / "poseidon.yaml", [])
    operator = create("multiscale", fields=("u",), ndim=2, **SMALL)
    optimizer = build_optimizer(operator, recipe.optimizer, recipe.learning_rates)
    names = {parameter: name for name, parameter in operator.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            name = names[parameter]
            fast = name.startswith(("embedding", "recovery", "conditioning"))
            assert group["lr"] == (5e-4 if fast else 5e-5), name
            matrix = parameter.ndim > 1
            assert group["weight_decay"] == (1e-6 if matrix else 0.0), name


def test_pretrain_then_fine_tune(flows: list[Path], tmp_path: Path) -> None:
    operator = {"name": "multiscale", **SMALL}
    recipe = small(
        PRETRAINING / "poseidon_t.yaml", flows[:2], tmp_path / "p.yaml", operator=operator
    )
    pretrain([recipe, str(tmp_path / "dry"), "--dry-run"])
    assert not (tmp_path / "dry").exists()
    pretrain([recipe, str(tmp_path / "pretrained")])
    recipe = small(FINETUNING / "poseidon.yaml", flows[1:], tmp_path / "f.yaml")
    finetune([recipe, str(tmp_path / "tuned"), "--init-from", str(tmp_path / "pretrained")])
    before, after = (
        from_pretrained(tmp_path / run / "checkpoint") for run in ("pretrained", "tuned")
    )
    assert before.config == after.config
    changes = [
        not torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True)
    ]
    assert all(changes)  # nothing is frozen
    assert after.description.time_steps == pytest.approx([0.1 * k for k in range(1, 8)], rel=1e-3)
