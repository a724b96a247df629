"""JSON schemas of recipes: those that ship fit, mistakes do not, every key is explained."""

import json
from pathlib import Path

import pytest
import yaml
from json_schema import fits

from pelagos.datasets.base.config import read
from pelagos.datasets.base.schema import schema
from pelagos.finetune.adapt import recipe as finetuning
from pelagos.pretrain.recipe import TrainRecipe

ROOT = Path(__file__).parents[3]
SHIPPED = [
    (cls, path)
    for cls, folder in ((TrainRecipe, "pretrain"), (finetuning.FinetuneRecipe, "finetune"))
    for path in sorted((ROOT / folder / "recipes").glob("*.yaml"))
]
RECIPE = {"data": [{"path": "a"}], "operator": {"name": "dymixop", "hidden": 8}}


@pytest.mark.parametrize(("cls", "path"), SHIPPED, ids=lambda x: getattr(x, "stem", ""))
def test_recipes_that_ship_fit(cls, path):
    assert fits(schema(cls), yaml.safe_load(path.read_text()))


def test_it_is_json():
    found = schema(finetuning.FinetuneRecipe)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize(
    "changes",
    [
        {"stesp": 3},
        {"steps": "many"},
        {"steps": 0},
        {"data": None},
        {"data": [{"pth": "a"}]},
        {"optimizer": {"betas": [0.9]}},
        {"optimizer": {"betas": [0.9, 1.0]}},
        {"operator": {"name": "dymixup"}},
        {"operator": {"name": "dymixop", "hiden": 8}},
        {"normalizer": {"name": "window", "groth": 2.0}},
        {"objective": {"kind": "rolout"}},
        {"objective": {"kind": "rollout", "assimilation": {}}},
        {"objective": {"kind": "assimilation", "assimilation": {"warm_up": 0}}},
        {"precision": "fp16"},
    ],
)
def test_mistakes_do_not_fit(changes):
    assert not fits(schema(TrainRecipe), {**RECIPE, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"normalizer": None},
        {"objective": {"horizon": 3}},
        {"objective": {"kind": "assimilation", "assimilation": {"sensors": [0.1, 1]}}},
        {"conditions": "all"},
        {"conditions": ["speed"]},
        {"data": [{"simulate": {"equation": "heat_1d", "lengths": [1, 2]}}]},
    ],
)
def test_what_can_be_read_fits(changes, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, **changes}))
    read(TrainRecipe, path)
    assert fits(schema(TrainRecipe), {**RECIPE, **changes})


def test_every_key_is_explained():
    found = schema(finetuning.FinetuneRecipe)["properties"]
    assert found["init_from"]["description"] == (
        "a checkpoint or run directory, `pelagos:NAME`, `hf:owner/model`; null: from scratch."
    )
    assert found["validation"]["properties"]["every"]["default"] == 200
    parts = [found, found["data"]["items"]["properties"], found["optimizer"]["properties"]]
    parts += [option["properties"] for option in found["objective"]["oneOf"]]
    for properties in parts:
        for key, about in properties.items():
            assert about.get("description") or key == "kind", key
