"""What an operator's config takes from the training data where the recipe says nothing."""

import math

import numpy as np
import pytest

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.operators import from_pretrained
from pelagos.pretrain.recipe import DataConfig, TrainRecipe
from pelagos.pretrain.start import create_operator

POINTS, TURN = 24, 0.3


def wave(root, name, dt):
    """A wave whose phase turns by TURN per frame."""
    x = 2 * np.pi * np.arange(POINTS) / POINTS
    fields = {"u": np.sin(x - TURN * np.arange(6)[:, None])[None]}
    data = WellData(name, Grid.unit((POINTS,)), dt * np.arange(6), fields)
    write_file(root / name / "data" / "train" / f"{name}.hdf5", data)
    return root / name


def operator(paths, **config):
    recipe = TrainRecipe(
        data=tuple(DataConfig(str(path)) for path in paths),
        operator={"name": "dymixop", "hidden": 4, "layers": 2, "modes": 3, "history": 2, **config},
    )
    return create_operator(recipe, [open_store(path, "train") for path in paths])


def test_dymixop_learns_about_grid_and_time_from_the_data(tmp_path):
    made = operator([wave(tmp_path, "one", 0.1)])
    assert made.config.resolution == (POINTS,)
    assert made.config.structure_change == pytest.approx(1 - math.cos(TURN), abs=1e-5)
    assert not made.config.time_input
    again = from_pretrained(made.save_pretrained(tmp_path / "checkpoint"))
    assert again.config == made.config


def test_several_time_steps_become_an_input(tmp_path):
    paths = [wave(tmp_path, "one", 0.1), wave(tmp_path, "other", 0.2)]
    made = operator(paths)
    assert made.config.time_input
    assert made.description.time_steps == (0.1, 0.2)


def test_the_recipe_has_the_last_word(tmp_path):
    made = operator([wave(tmp_path, "one", 0.1)], structure_change=0.7, resolution=[])
    assert (made.config.structure_change, made.config.resolution) == (0.7, ())
