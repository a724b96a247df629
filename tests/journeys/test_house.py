"""The house: wings say what they are for, imports go one way, others use exported names only."""

from __future__ import annotations

import ast
import importlib
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOORS = ("datasets", "operators", "pretrain", "finetune")
WINGS = sorted(
    f"{floor}/{path.parent.name}"
    for floor in FLOORS
    for path in (ROOT / floor).glob("*/__init__.py")
)


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_says_in_a_line_what_it_is_for(wing):
    text = (ROOT / wing / "__init__.py").read_text()
    line = (ast.get_docstring(ast.parse(text)) or "").splitlines()[0]
    assert 10 < len(line) <= 97
    assert line.endswith(".")


def test_every_wing_is_on_the_readmes_map():
    section = (ROOT / "README.md").read_text().split("## The wings")[1]
    missing = [wing for wing in WINGS if f"`{Path(wing).name}/`" not in section]
    assert not missing


def test_every_wing_is_shipped():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    listed = [name.split(".")[1:] for name in settings["packages"]]
    assert sorted("/".join(parts[:2]) for parts in listed if len(parts) == 2) == WINGS


def imports_between_wings() -> Iterator[tuple[Path, str, str]]:
    """File, module and name of every import of another wing."""
    for wing in WINGS:
        for path in (ROOT / wing).glob("*.py"):
            package = ["pelagos", *wing.split("/")]
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.ImportFrom) or not node.level:
                    continue
                base = package[: len(package) - node.level + 1]
                module = [*base, *(node.module or "").split(".")] if node.module else base
                if len(module) > 3 and module[:3] != package:
                    for alias in node.names:
                        yield path, ".".join(module), alias.name


def test_other_wings_use_exported_names_only():
    """An export named like its file would hide the file; such names are imported from the file."""
    wrong = []
    for path, module, name in imports_between_wings():
        wing = ".".join(module.split(".")[:3])
        exported = importlib.import_module(wing).__all__
        if name not in exported and name != module.rpartition(".")[2]:
            wrong.append(f"{path.relative_to(ROOT)}: {name} of {module}")
    assert not wrong


@pytest.mark.parametrize("wing", WINGS)
def test_what_a_wing_exports_is_there(wing):
    package = importlib.import_module("pelagos." + wing.replace("/", "."))
    for name in vars(package).get("__all__", ()):  # the command line offers nothing
        assert getattr(package, name) is not None


PLANTED = {
    "operators/core/operator.py": ("pelagos.datasets.stores.store", "floors of the house"),
    "datasets/solvers/etdrk.py": ("pelagos.datasets.equations.registry", "floors of the house"),
    "datasets/stores/xarray_view.py": ("pelagos.datasets.stores.store", "no circles"),
    "datasets/tools/check.py": ("pelagos.operators.core.operator", "data know no operators"),
    "operators/dymixop/mixing.py": (
        "pelagos.operators.multiscale.blocks",
        "operators do not know each other",
    ),
    "finetune/forecast/plan.py": ("pelagos.finetune.report.charts", "downstream"),
    "operators/core/state.py": ("pelagos.operators.core.operator", "no circles"),
}


LINT = """\
import sys
sys.path.insert(0, ".")
from importlinter.cli import lint_imports
sys.exit(lint_imports(no_cache=True))
"""


@pytest.mark.parametrize("file", PLANTED)
def test_a_planted_wrong_import_is_caught(tmp_path, file):
    module, contract = PLANTED[file]
    for floor in FLOORS:
        shutil.copytree(ROOT / floor, tmp_path / "pelagos" / floor)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    target = tmp_path / "pelagos" / file
    target.write_text(target.read_text() + f"\nimport {module}\n")
    done = subprocess.run(
        [sys.executable, "-c", LINT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    plain = re.sub(r"\x1b\[\d*m", "", done.stdout)  # some versions colour it
    assert f"{contract} BROKEN" in plain
