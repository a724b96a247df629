"""A subset of training trajectories is all that training knows of the split."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml

from pelagos.datasets import open_store
from pelagos.datasets.base.config import build
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.datasets.stores.choosing import choose, chosen
from pelagos.finetune.adapt.command import finetune
from pelagos.finetune.adapt.recipe import FinetuneRecipe
from pelagos.pretrain.data import open_stores
from pelagos.pretrain.start import describe

POINTS, FRAMES = 16, 6
LEVELS = np.array([1.0, 2.0, 4.0, 8.0, 16.0])  # of the trajectories, which tell them apart


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of training data, trajectories of levels 1, 2, 4 | 8, 16."""
    folder = tmp_path_factory.mktemp("data") / "levels"
    rng = np.random.default_rng(0)
    for name, levels in (("train/a", LEVELS[:3]), ("train/b", LEVELS[3:]), ("valid/a", LEVELS)):
        noise = rng.standard_normal((len(levels), FRAMES, POINTS))
        data = WellData(
            dataset="levels",
            grid=Grid.unit((POINTS,)),
            times=np.arange(FRAMES) / 4,
            fields={"u": levels[:, None, None] * (1 + 0.1 * noise)},
            parameters={"level": levels},
        )
        write_file(folder / "data" / f"{name}.hdf5", data)
    return folder


def recipe(root: Path, **data: object) -> FinetuneRecipe:
    return build(
        FinetuneRecipe,
        {
            "data": [{"path": str(root), **data}],
            "operator": {"name": "dymixop", "hidden": 4, "layers": 1, "modes": 2},
            "normalizer": {"name": "statistics"},
            "conditions": "all",
            "steps": 2,
            "batch": 2,
            "micro_batch": 2,
            "log_every": 1,
            "save_every": 2,
            "validation": {"every": 2, "horizon": 2},
        },
    )


def levels_of(root: Path, count: int, seed: int) -> set[float]:
    stores = open_stores(recipe(root, trajectories=count, subset_seed=seed))
    return {float(level) for level in stores[0].parameter_table()[:, 0]}


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_subsets_are_nested(root, seed):
    subsets = [levels_of(root, count, seed) for count in range(1, 6)]
    assert [len(subset) for subset in subsets] == [1, 2, 3, 4, 5]
    assert all(small < large for small, large in pairwise(subsets))


def test_seeds_choose_other_subsets(root):
    assert len({frozenset(levels_of(root, 2, seed)) for seed in range(8)}) > 1


@pytest.mark.parametrize("count", [1, 3])
def test_statistics_and_conditions_are_those_of_the_subset(root, count):
    asked = recipe(root, trajectories=count, subset_seed=3)
    stores = open_stores(asked)
    used = stores[0].parameter_table()[:, 0]
    whole = np.concatenate([open_store(root, "train").trajectory(i).numpy() for i in range(5)])
    means = {level: whole[FRAMES * i : FRAMES * (i + 1)].mean() for i, level in enumerate(LEVELS)}
    about = describe(asked, stores)
    assert about.normalizer.mean["levels"]["u"] == pytest.approx(
        np.mean([means[level] for level in used]), rel=1e-5
    )
    scale = about.scale_of("level")
    spread = np.log(used) if scale.log else used
    assert scale.mean == pytest.approx(spread.mean())


def test_the_store_has_the_same_trajectories_across_files(root):
    store = open_store(root, "train")
    part = chosen(store, 4, seed=2)
    for i, number in enumerate(choose(store, 4, seed=2)):
        assert (part.trajectory(i) == store.trajectory(number)).all()
        assert part.parameters(i) == store.parameters(number)
    assert part.splits == {"train": range(4)}


def test_more_than_there_are_is_refused(root):
    with pytest.raises(ValueError, match="'levels' has 5 trajectories; cannot use 6 of them"):
        open_stores(recipe(root, trajectories=6))


def test_a_run_keeps_the_subset_in_its_recipe(root, tmp_path):
    finetune(recipe(root, trajectories=2, subset_seed=5), tmp_path / "run")
    kept = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert kept["data"][0]["subset_seed"] == 5
    config = json.loads((tmp_path / "run" / "checkpoint" / "config.json").read_text())
    low, high = sorted(levels_of(root, 2, 5))
    mean = config["normalizer"]["mean"]["levels"]["u"]
    assert mean == pytest.approx((low + high) / 2, rel=0.05)
