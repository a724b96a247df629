"""What is shipped, and what importing it costs."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("datasets", "operators", "pretrain", "finetune")


# What a user of the wheel does first, with what lies beside the code: recipes, pages, stubs.
SMOKE = """
import sys
from pathlib import Path

import pelagos.datasets, pelagos.finetune, pelagos.operators, pelagos.pretrain
from pelagos.datasets import open_store, simulate
from pelagos.finetune import evaluate, write_report
from pelagos.finetune.cli.console import main

site = Path(sys.argv[1])
for module in (pelagos.datasets, pelagos.operators, pelagos.pretrain, pelagos.finetune):
    assert Path(module.__file__).is_relative_to(site), module.__file__
counts = {"train": 2, "valid": 1, "test": 1}
simulate("heat_1d", Path("data"), resolution=32, frames=4, trajectories=counts)
Path("my.yaml").write_text("{data: [{path: data/heat_1d}], operator: {name: dymixop, history: 2, "
    "hidden: 4, layers: 1, modes: 2}, normalizer: {name: window}, objective: {horizon: 1}, "
    "optimizer: {learning_rate: 0.001}, steps: 1, batch: 1, micro_batch: 1, "
    "validation: {every: 1, horizon: 1}, save_every: 1, log_every: 1}")
operator = pelagos.operators.from_pretrained(pelagos.pretrain.pretrain("my.yaml", "run"))
evaluate(operator, open_store("data/heat_1d", "test"), steps=2)
for line in ("help data", "recipe show quickstart", "recipe show poseidon", "report run"):
    main([*line.split(), *(["--out", "report.html"] if line == "report run" else [])])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from the source distribution, so that what that lacks is missed here."""
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"  # a copy: building leaves folders behind
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    for part in FOLDERS:
        shutil.copytree(ROOT / part, source / part)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, source]
    subprocess.run(command, check=True, capture_output=True)
    [built] = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_tree(wheel):
    """A file that is in a code folder but not in the wheel would be missed only by users."""
    shipped = {
        name.removeprefix("pelagos/")
        for name in zipfile.ZipFile(wheel).namelist()
        if name.startswith("pelagos/")
    }
    tree = {
        str(path.relative_to(ROOT))
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shipped == tree


def test_the_wheel_alone_trains_and_reports(wheel, tmp_path):
    """In an empty folder, with the code from the wheel and none from here."""
    site, here = tmp_path / "site", tmp_path / "here"
    here.mkdir()
    with zipfile.ZipFile(wheel) as archive:  # as an installer does with a pure wheel
        archive.extractall(site)
    done = subprocess.run(
        [sys.executable, "-c", SMOKE, site],
        cwd=here,
        env=os.environ | {"PYTHONPATH": str(site), "ACCELERATE_USE_CPU": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "<html" in (here / "report.html").read_text()


def test_operators_import_no_file_library():
    """A checkpoint opens without the data stack; help needs no training stack."""
    code = "import sys, pelagos.operators; print(*sorted(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert not {"h5py", "xarray", "accelerate", "wandb", "matplotlib"} & set(found)
