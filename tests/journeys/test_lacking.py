"""What a machine lacks is told in one line, with a remedy."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

from pelagos.datasets import open_store
from pelagos.datasets.base import requirements
from pelagos.datasets.base.cli import run_command
from pelagos.finetune.cli.console import main
from pelagos.finetune.cli.doctor import examine
from pelagos.operators import create, from_pretrained

ROOT = Path(__file__).parents[2]


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """As if packages were not installed."""
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def told(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """The one line that a command ends with, for the user to mend."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    assert stopped.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    return line.removeprefix("pelagos: error: ")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    operator = create("dymixop", fields=("u",), ndim=1, hidden=4, layers=1, modes=2)
    return operator.save_pretrained(tmp_path / "checkpoint")


def test_an_error_in_an_environment_that_is_too_old_is_told_by_that(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(argv: object) -> None:
        raise AttributeError("module 'torch.nn' has no attribute 'RMSNorm'")

    with pytest.raises(AttributeError):  # a mistake of ours: nothing is too old
        run_command(broken, [])
    monkeypatch.setattr(requirements, "version", lambda name: "2.4.0" if name == "torch" else "99")
    monkeypatch.setattr(requirements, "requires", lambda name: ["torch>=2.8", "numpy>=1.26"])
    with pytest.raises(SystemExit):
        run_command(broken, [])
    [line] = capsys.readouterr().err.splitlines()
    asked = "torch 2.4.0, and Pelagos needs >=2.8; pip install --upgrade 'torch>=2.8'"
    assert line == f"pelagos: error: {asked}"
    monkeypatch.setenv("PELAGOS_TRACEBACK", "1")
    with pytest.raises(AttributeError):
        run_command(broken, [])


def test_make_wants_a_python_that_is_new_enough(tmp_path: Path) -> None:
    for name in ("Makefile", "quickstart.mk", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    old = tmp_path / "python"
    code = "import sys; sys.version_info = (3, 10, 4); exec(sys.argv[2])"
    old.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$@"\n')
    old.chmod(0o755)
    command = ["make", "--silent", "-C", tmp_path, "test", f"PYTHON={old}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("find:", "make"))]
    assert lines == ["Python 3.11 or newer is needed; set PYTHON=…"]
    assert not (tmp_path / ".venv").exists()


def test_a_checkpoint_of_the_hub_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object, **options: object) -> None:
        raise LocalEntryNotFoundError("An error happened while trying") from cause

    monkeypatch.setattr("huggingface_hub.snapshot_download", refused)
    for cause in (
        httpx.ConnectError("[Errno 111] Connection refused"),
        OfflineModeIsEnabled("offline mode is enabled; unset HF_HUB_OFFLINE"),
    ):
        with pytest.raises(ValueError, match="hf:me/small was never downloaded here") as error:
            from_pretrained("hf:me/small")
        line = str(error.value)
        assert f"cannot be reached ({cause}); try again with a network" in line
        assert "give the folder of a checkpoint that was downloaded elsewhere" in line


def test_data_behind_an_address_without_a_network_or_its_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unreachable(url: str) -> None:
        raise ConnectionRefusedError("[Errno 111] Connection refused")

    monkeypatch.setattr("fsspec.core.url_to_fs", unreachable)
    with pytest.raises(ValueError, match=r"Connection refused\); check address and network, or co"):
        open_store("https://127.0.0.1:9/data.hdf5")
    monkeypatch.undo()
    without(monkeypatch, "s3fs")
    with pytest.raises(ValueError, match=r"Install s3fs to access S3\); pip install s3fs$"):
        open_store("s3://bucket/data.hdf5")


def test_extras(
    checkpoint: Path,
    tmp_path: Path,
    wave: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without(monkeypatch, "zarr", "uvicorn", "onnxruntime")
    line = told(capsys, "predict", checkpoint, wave, "--out", tmp_path / "p.zarr", "--steps", "1")
    assert line == (
        "writing Zarr needs the package zarr: pip install 'pelagos[zarr]', or name a .nc file"
    )
    line = told(capsys, "serve", checkpoint)
    assert line.endswith("(uvicorn is missing): pip install 'pelagos[serve]'")
    line = told(capsys, "export", checkpoint, tmp_path / "step.onnx", "--format", "onnx")
    assert line.endswith("(onnxruntime is missing): pip install 'pelagos[onnx]'")


def test_a_zarr_store_without_its_package(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.create_array("u", data=torch.ones(2, 3, 4).numpy())
    without(monkeypatch, "zarr")
    line = told(capsys, "data", "describe", tmp_path / "a.zarr")
    assert line.endswith("pip install zarr to read it")


def test_doctor_tells_of_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training refuses `compile` without one: test_accelerating.py."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    [line] = [line for line in examine(tmp_path) if line.name == "C++ compiler"]
    assert (line.rank, line.text) == ("note", "none: `compile` needs one (package g++ or clang)")
