"""Another package adds components: the code of docs/extending.md, installed and used."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

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
    found = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_an_operator_is_created_saved_and_opened_by_name(environment, tmp_path):
    operator, key = run(environment, "-c", USE, tmp_path / "checkpoint").splitlines()
    assert operator == "unknown operator 'stencill'; did you mean 'stencil'?"
    assert "'sise'" in key
    assert "did you mean 'size'?" in key


def test_an_operator_of_another_package_is_held_to_the_contract(environment):
    """Our contract runs over it without a change."""
    contract = "tests/operators/core/test_operator.py"
    plugins = ["-p", "no:cacheprovider", "-p", "no:xdist"]
    found = run(environment, "-m", "pytest", contract, "-k", "stencil-1", "-q", *plugins)
    assert re.search(r"\d\d passed", found), found


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
