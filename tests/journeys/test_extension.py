"""Another package adds components: the code of docs/extending.md, installed and used."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from processes import Launched

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tests" / "support" / "extension"
PAGE = ROOT / "docs" / "extending.md"
BLOCK = re.compile(r"^```\w+\n# (\S+\.(?:py|toml))\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MOST_LINES = 30

USE = """
import sys
from pelagos.operators import create, from_pretrained, names
from pelagos.operators.core.registry import OPERATORS

assert "pelagos_extension_example" not in sys.modules
assert "stencil" in names()
assert OPERATORS.provider("stencil") == "pelagos-extension-example 0.1.0"
operator = create("stencil", fields=("u",), ndim=2, size=5)
opened = from_pretrained(operator.save_pretrained(sys.argv[1]))
assert type(opened).__module__ == "pelagos_extension_example.operator"
assert opened.convolution.weight.equal(operator.convolution.weight)
for name, config in (("stencill", {}), ("stencil", {"sise": 5})):
    try:
        create(name, fields=("u",), ndim=2, **config)
    except ValueError as error:
        print(error)
"""


READ = """
import sys
import h5py, numpy as np
from pelagos.datasets import open_store

values = np.random.default_rng(0).random((3, 4, 5), dtype="f4")
with h5py.File(sys.argv[1], "w") as file:
    file["heat_runs"] = values
for layout in (None, "heatruns"):
    store = open_store(sys.argv[1], layout=layout)
    assert store.units == {"temperature": "K"}
    assert (store.trajectory(2)[:, 0].numpy() == values[2]).all()
try:
    open_store(sys.argv[1], layout="HeatRun")
except ValueError as error:
    print(error)
"""


TRAIN = """
import json, sys
from pathlib import Path
from pelagos.datasets import simulate
from pelagos.datasets.base.config import build
from pelagos.pretrain import TrainRecipe, pretrain

folder = Path(sys.argv[1])
splits = {"train": 2, "valid": 1}
data = simulate("fractional_diffusion_1d", folder, trajectories=splits, resolution=40, frames=5)
values = {
    "data": [{"path": str(data)}],
    "operator": {"name": "stencil", "history": 2},
    "objective": {"kind": "sobolev", "slopes": 0.2},
    "trackers": ["csv"],
    **dict.fromkeys(("steps", "batch", "micro_batch", "log_every", "save_every"), 2),
    "validation": {"every": 2, "horizon": 2},
}
pretrain(build(TrainRecipe, values), folder / "run")
for key, wrong in (("objective", {"kind": "sobolew"}), ("trackers", ["csw"])):
    try:
        pretrain(build(TrainRecipe, {**values, key: wrong}), folder / "other")
    except ValueError as error:
        print(error)
"""


FINETUNE = """
from pelagos.datasets.base.config import build
from pelagos.finetune.adapt import FinetuneRecipe
from pelagos.operators import Description, create
from pelagos.finetune.adapt.adapt import adapt

values = {"data": [{"path": "x"}], "operator": {"name": "dymixop"}, "init_from": "y"}
recipe = build(FinetuneRecipe, {**values, "method": {"name": "biases", "also": "unlift"}})
donor = create("dymixop", fields=("u",), ndim=1, hidden=4, layers=1, modes=2, history=1)
operator, report = adapt(donor, donor.description, method=recipe.adaptation)
trained = {name for name, p in operator.named_parameters() if p.requires_grad}
assert {"unlift.weight", "lift.bias"} <= trained, trained
assert "lift.weight" in report.frozen
for method in ({"name": "biasses"}, {"name": "biases", "alos": "x"}):
    try:
        build(FinetuneRecipe, {**values, "method": method})
    except ValueError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that has the package installed."""
    target = tmp_path_factory.mktemp("installed")
    source = tmp_path_factory.mktemp("source") / "extension"  # building leaves folders behind
    subprocess.run(["cp", "-r", PACKAGE, source], check=True)
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation"]
    options = ["--no-index", "--disable-pip-version-check", "--quiet", "--target", target]
    subprocess.run([*pip, *options, source], check=True, capture_output=True)
    return {**os.environ, "PYTHONPATH": str(target), "PYTHONSAFEPATH": "1"}


def run(environment: dict[str, str], *arguments: object) -> str:
    return Launched(*arguments, environment=environment).finish()


def test_an_operator_is_created_saved_and_opened_by_name(environment, tmp_path):
    operator, key = run(environment, "-c", USE, tmp_path / "checkpoint").splitlines()
    assert operator == "unknown operator 'stencill'; did you mean 'stencil'?"
    assert "'sise'" in key
    assert "did you mean 'size'?" in key


def test_a_layout_is_detected_and_asked_for(environment, tmp_path):
    line = run(environment, "-c", READ, tmp_path / "x.h5")
    assert line.startswith("no layout 'HeatRun'; did you mean 'HeatRuns'?")


def test_an_objective_and_a_tracker_take_part_in_a_run(environment, tmp_path):
    *_, objective, tracker = run(environment, "-c", TRAIN, tmp_path).splitlines()
    assert objective.endswith("unknown objective 'sobolew'; did you mean 'sobolev'?")
    assert tracker == "unknown tracker 'csw'; did you mean 'csv'?"
    lines = (tmp_path / "run" / "csv.csv").read_text().splitlines()
    log = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    [loss] = [json.loads(line)["loss"] for line in log if '"train"' in line]
    assert f"2,train/loss,{loss}" in lines
    assert "slopes: 0.2" in (tmp_path / "run" / "recipe.yaml").read_text()


def test_a_method_is_chosen_by_name(environment):
    name, key = run(environment, "-c", FINETUNE).splitlines()
    assert name.endswith("unknown fine-tuning method 'biasses'; did you mean 'biases'?")
    assert "did you mean 'method.also'" in key


def test_an_operator_of_another_package_is_held_to_the_contract(environment):
    """Our contract runs over it without a change."""
    contract = "tests/operators/core/test_operator.py"
    plugins = ["-p", "no:cacheprovider", "-p", "no:xdist"]
    found = subprocess.run(  # the type checks of tests want a process without any import
        [sys.executable, "-m", "pytest", contract, "-k", "stencil-1", "-q", *plugins],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert re.search(r"\d\d passed", found.stdout), found.stdout + found.stderr


def test_without_the_package_a_checkpoint_of_it_names_what_is_missing(environment, tmp_path):
    checkpoint = tmp_path / "checkpoint"
    run(environment, "-c", USE, checkpoint)
    from pelagos.operators import from_pretrained

    with pytest.raises(ValueError, match=r"config\.json: unknown operator 'stencil'.*install"):
        from_pretrained(checkpoint)


def test_the_page_shows_the_code_of_the_package():
    blocks = BLOCK.findall(PAGE.read_text())
    assert blocks
    for name, code in blocks:
        if name == "pyproject.toml":
            declared = tomllib.loads((PACKAGE / name).read_text())["project"]["entry-points"]
            assert tomllib.loads(code)["project"]["entry-points"] == declared
        else:
            assert code == (PACKAGE / name).read_text(), name
            assert len(code.splitlines()) <= MOST_LINES, name
    modules = {str(path.relative_to(PACKAGE)) for path in PACKAGE.glob("*/*.py")}
    assert modules - {"pelagos_extension_example/__init__.py"} <= {name for name, _ in blocks}
