"""The commands and code of the README, and of the page about data, run as written."""

import pkgutil
import re
import shlex
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from accelerate.state import AcceleratorState

from pelagos.datasets import open_store
from pelagos.datasets.tools.summary import summary
from pelagos.finetune.cli.console import main

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
# Of the page about data: what is printed of the tour's dataset, and arrays that become one.
DATA = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "docs" / "data.md").read_text(), re.DOTALL)
ARRAYS = next(block for kind, block in DATA if "write_stats" in block)


# Most of the tour's time is the training of one operator.
FEWER = ["--steps", "10", "--validation.every", "10", "--save-every", "10"]


def run_shell(block, whole):
    """Run the `pelagos` lines of a block in this process, as the console command would."""
    for line in block.strip().splitlines():
        words = shlex.split(line, comments=True)
        if words and words[0] == "pelagos":
            main([*words[1:], *([] if whole or words[1] != "pretrain" else FEWER)])
            AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module", params=["short", pytest.param("whole", marks=pytest.mark.slow)])
def tour(request, tmp_path_factory):
    """Every block in order, in one folder, as a reader would: with fewer steps, or all."""
    folder = tmp_path_factory.mktemp("tour")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        # Few steps of training leave an operator that does not conserve the mean, and says so.
        warnings.filterwarnings("ignore", "outside of what was trained: drift", UserWarning)
        patch.chdir(folder)
        printed = {}
        for kind, block in [*BLOCKS, ("python", ARRAYS)]:
            if kind == "sh":
                run_shell(block, whole=request.param == "whole")
            elif kind == "yaml":
                name = "description.yaml" if block.startswith("axes:") else "my.yaml"
                (folder / name).write_text(block)
            elif kind == "python":
                printed[block] = scope = {}
                exec(compile(block, "README.md", "exec"), scope)
    return folder, printed


def test_the_tour_leaves_what_it_says(tour):
    folder, scopes = tour
    for path in (
        "data/burgers_1d/stats.yaml",
        "runs/mine/checkpoint/model.safetensors",
        "runs/mine/evaluation.json",
        "runs/mine/prediction.nc",
        "report.html",
        "runs/advection/checkpoint/config.json",
        "data/mine/stats.yaml",
    ):
        assert (folder / path).is_file(), path
    shapes = [
        (tuple(scope["window"].history.shape), len(scope["frames"]), scope["frames"][0].shape)
        for scope in scopes.values()
        if "frames" in scope
    ]
    assert shapes == [((4, 1, 128), 10, (1, 128))]


def test_own_data_opens(tour):
    store = open_store(tour[0] / "data" / "mine", "train")
    assert (len(store), store.fields, store.grid.shape) == (8, ("u",), (64,))
    assert store.dt == pytest.approx(0.1)


def test_the_description_describes(tour):
    values = {name: np.zeros((10, 5, 4, 3)) for name in ("u", "v")}
    with h5py.File(tour[0] / "runs.h5", "w") as file:
        file.update(values)
    store = open_store(tour[0] / "runs.h5")
    assert store.fields == ("velocity_x", "velocity_y")
    assert (store.dt, store.grid.boundary) == (pytest.approx(0.1), ("periodic", "periodic"))
    assert {name: len(part) for name, part in store.splits.items()} == dict(
        train=8, valid=1, test=1
    )


def test_the_tour_prints_what_it_says(tour):
    (shown,) = [block for kind, block in DATA if block.startswith("burgers_1d\nfields")]
    printed = summary(open_store(tour[0] / "data" / "burgers_1d"))
    assert printed.startswith(shown)


def test_it_fits_on_three_screens():
    assert len(README.splitlines()) <= 165


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_mentioned_path_exists(page):
    text = page.read_text()
    paths = re.findall(r"\]\((?!http)([^)#\s]+)", text) + re.findall(r'src="(?!http)([^"]+)"', text)
    assert [path for path in paths if not (page.parent / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_prose_is_within_120_columns(page):
    """But for commands, which a reader copies whole, and links."""
    lines = page.read_text().splitlines()
    long = [line for line in lines if len(line) > 120]
    assert [
        line for line in long if not re.match(r"pelagos |torchrun |\[\S+\]\(\S+\)$", line)
    ] == []


NAME = re.compile(r"`(?:pelagos\.)?((?:datasets|operators|pretrain|finetune)(?:\.\w+)+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_name_in_python_exists(page):
    for name in NAME.findall(page.read_text()):
        pkgutil.resolve_name(f"pelagos.{name}")
