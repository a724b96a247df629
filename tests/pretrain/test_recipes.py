"""The recipes that ship: they parse, their data come from one command, their operators run."""

import runpy
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pelagos.datasets import equations
from pelagos.datasets.base.config import read
from pelagos.datasets.base.parsing import parse
from pelagos.datasets.fields.window import Context
from pelagos.finetune.cli.data import simulate
from pelagos.operators import Description, create
from pelagos.pretrain.recipe import TrainRecipe

FOLDER = Path(__file__).parents[2] / "pretrain" / "recipes"
PUBLISHED = sorted(FOLDER.glob("dymixop_*.yaml"))


def command_of(path):
    """The arguments of the one `pelagos data simulate` in a recipe's header."""
    lines = [line for line in path.read_text().splitlines() if "pelagos data simulate" in line]
    assert len(lines) == 1
    words = shlex.split(lines[0].lstrip("# "))
    assert words[:3] == ["pelagos", "data", "simulate"]
    given = parse(simulate, words[3:], "data simulate").arguments
    return SimpleNamespace(**vars(given.pop("asked")), **vars(given.pop("splits")), **given)


def test_there_is_one_for_every_set_of_the_paper():
    names = {path.stem.removeprefix("dymixop_") for path in PUBLISHED}
    assert names == {
        "ks",
        "burgers",
        "navier_stokes",
        "ce_crp",
        "darcy",
        "brusselator",
        "shallow_water",
    }


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_its_command_makes_the_data_that_it_reads(path):
    recipe = read(TrainRecipe, path)
    arguments = command_of(path)
    assert Path(arguments.out, arguments.name) == Path(recipe.data[0].path)
    equation = equations.get(arguments.equation)
    points = arguments.resolution
    points = (points,) * equation.ndim if isinstance(points, int) else points
    assert points == tuple(recipe.operator["resolution"])
    assert set(recipe.fields) <= set(equation.fields)
    assert arguments.train >= 850
    if not equation.steady:
        assert arguments.frames >= recipe.operator["history"] + recipe.objective.horizon


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_its_operator_takes_the_published_grid(path):
    recipe = read(TrainRecipe, path)
    equation = equations.get(command_of(path).equation)
    config = dict(recipe.operator)
    history, shape = config["history"], config["resolution"]
    inputs = equation.constant_fields if equation.steady else ()
    fields = recipe.fields or equation.fields
    operator = create(
        config.pop("name"),
        description=Description(fields=fields, inputs=inputs),
        ndim=equation.ndim,
        **config,
    )
    frames = torch.randn(1, history, len(inputs or fields), *shape)
    context = Context(fields, equation.grid(shape), inputs=inputs)
    with torch.no_grad():
        _, out = operator.step(operator.init(frames, context), torch.ones(1))
    assert out.shape == (1, len(fields), *shape)
    assert out.isfinite().all()


@pytest.mark.parametrize("name", ["1d", "2d"])
def test_the_data_of_mixtures_are_those_that_the_benchmark_simulates(name: str) -> None:
    """The unit of time of each is the spacing of its frames."""
    recipe = read(TrainRecipe, FOLDER / f"mixture_{name}.yaml")
    sets = runpy.run_path(str(FOLDER.parents[1] / "benchmarks" / "mixtures.py"))["SETS"]
    assert {Path(data.path).name for data in recipe.data} == set(sets[name])
    for data in recipe.data:
        options = sets[name][Path(data.path).name]
        assert data.time_scale == options["dt"]
        assert options["frames"] >= recipe.operator["history"] + recipe.objective.horizon
        equation = equations.get(Path(data.path).name)
        assert set(equation.fields) <= set(recipe.fields) == set(recipe.fill)
    assert not set(sets["held_out"]) & set(sets[name])
