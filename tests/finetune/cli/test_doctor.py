"""`pelagos doctor`, and what `pelagos` alone advises."""

from __future__ import annotations

import platform
import shutil
from collections import namedtuple
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from pelagos.datasets.base import requirements
from pelagos.finetune.cli.console import main
from pelagos.finetune.cli.doctor import examine
from pelagos.finetune.cli.whats_next import steps


def test_this_machine_will_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    lines = {line.name: line for line in examine(tmp_path)}
    assert torch.__version__ in lines["torch"].text
    assert "gzip" in lines["HDF5"].text
    assert lines["disk"].rank == "ok"
    main(["doctor"])
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told] == [line.rank for line in lines.values()]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".pelagos")]


def test_problems_are_named_and_are_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    full = namedtuple("usage", "total used free")(2**26, 2**26, 0)  # 64 MB: Docker's /dev/shm
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(SystemExit) as stopped:
        main(["doctor"])
    assert stopped.value.code == 1
    told = capsys.readouterr().out
    assert "problem  shared memory" in told
    assert "--shm-size" in told
    assert "problem  disk" in told


def test_packages_that_are_missing_or_too_old_are_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each with what installs it; the rest of the machine is told all the same."""
    asked = ["torch>=99", "nowhere-to-be-had>=1", "h5py>=1", 'zarr>=99; extra == "zarr"']
    monkeypatch.setattr(requirements, "requires", lambda name: asked)
    monkeypatch.setattr(requirements, "metadata", lambda name: {"Requires-Python": ">=3.99"})
    lines = list(examine(tmp_path))
    found = [(line.name, line.text) for line in lines if line.rank == "problem"]
    assert found == [
        (
            "Python",
            f"{platform.python_version()}, and Pelagos needs >=3.99; make an environment with "
            "another",
        ),
        (
            "torch",
            f"{version('torch')}, and Pelagos needs >=99; pip install --upgrade 'torch>=99'",
        ),
        ("nowhere-to-be-had", "missing; pip install 'nowhere-to-be-had>=1'"),
    ]
    assert "disk" in [line.name for line in lines]


def test_what_comes_next_follows_from_what_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def commands() -> list[str]:
        return [line.split("   #")[0].strip() for line in steps(tmp_path)]

    assert commands()[0] == "pelagos data simulate burgers_1d --out data"
    (tmp_path / "data/mine").mkdir(parents=True)
    (tmp_path / "data/mine/stats.yaml").touch()
    assert commands()[0] == "pelagos data check data/mine"
    run = tmp_path / "runs/one"
    run.mkdir(parents=True)
    (run / "recipe.yaml").touch()
    assert commands() == ["pelagos pretrain runs/one/recipe.yaml runs/one --resume auto"]
    (run / "recipe.yaml").write_text("steps: 3\ninit_from: null\n")
    assert commands() == ["pelagos finetune runs/one/recipe.yaml runs/one --resume auto"]
    run.rename(tmp_path / "runs/my one")
    told = ["pelagos finetune 'runs/my one/recipe.yaml' 'runs/my one' --resume auto"]
    assert commands() == told
    (tmp_path / "runs/my one").rename(run)
    (run / "checkpoint").mkdir()
    report = "pelagos report runs/one --out report.html"
    assert commands() == ["pelagos evaluate runs/one data/mine", report]
    (run / "evaluation.json").touch()
    assert commands() == [report]
    monkeypatch.chdir(tmp_path)
    main([])
    assert report in capsys.readouterr().out
