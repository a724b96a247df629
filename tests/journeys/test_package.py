"""What is shipped, and what importing it costs."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("datasets", "operators", "pretrain", "finetune")


@pytest.mark.filterwarnings("ignore")
def test_the_wheel_holds_the_tree(tmp_path):
    """A file that is in a code folder but not in the wheel would be missed only by users."""
    source = tmp_path / "source"  # a copy: building leaves folders behind
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path]
    subprocess.run([*command, source], check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
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


def test_operators_import_no_file_library():
    """A checkpoint opens without the data stack; help needs no training stack."""
    code = "import sys, pelagos.operators; print(*sorted(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert not {"h5py", "xarray", "accelerate", "wandb", "matplotlib"} & set(found)
