"""Checkpoints by name: found without a network, halves read whole, unknown names answered."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from pelagos.operators import create, from_pretrained
from pelagos.operators.core import checkpoint
from pelagos.operators.core.halves import HALF, STORED, halved
from pelagos.operators.core.shipped import shipped, summary

SMALL = {"ndim": 1, "hidden": 24, "layers": 1, "modes": 3}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PELAGOS_CHECKPOINTS", str(tmp_path / "library"))
    return tmp_path / "library"


def test_a_checkpoint_goes_by_its_name(folder):
    operator = create("dymixop", fields=("u",), seed=3, **SMALL)
    operator.save_pretrained(folder / "small")
    (folder / "small" / "README.md").write_text("---\ntags: [x]\n---\n# small\n\nA small one.\n")
    opened = from_pretrained("pelagos:small")
    assert torch.equal(opened.lift.weight, operator.lift.weight)
    assert shipped()["small"] == folder / "small"
    assert summary(folder / "small") == "A small one."
    with pytest.raises(ValueError, match="no checkpoint pelagos:smal; did you mean 'small'"):
        from_pretrained("pelagos:smal")


def test_the_first_folder_counts(tmp_path, monkeypatch):
    for name, seed in (("one", 1), ("two", 2)):
        operator = create("dymixop", fields=("u",), seed=seed, **SMALL)
        operator.save_pretrained(tmp_path / name / "same")
    monkeypatch.setenv("PELAGOS_CHECKPOINTS", f"{tmp_path / 'two'}:{tmp_path / 'one'}")
    assert shipped()["same"] == tmp_path / "two" / "same"


def test_halves_are_read_into_single_precision(folder):
    operator = create("dymixop", fields=("u",), seed=3, **SMALL)
    config, state = checkpoint.config_of(operator), halved(operator.state_dict())
    checkpoint.write(folder / "half", {**config, STORED: HALF}, state)
    stored = load_file(folder / "half" / "model.safetensors")
    assert stored["mixing.0.globals.0.weight"].dtype is torch.float16
    assert stored["gate"].dtype is torch.float32  # small tensors are kept as they are
    opened = from_pretrained("pelagos:half")
    for name, value in operator.state_dict().items():
        found = opened.state_dict()[name]
        assert found.dtype is torch.float32
        assert torch.equal(found, value.half().float() if value.numel() >= 1024 else value)
    again = opened.save_pretrained(folder / "again")
    assert "stored" not in json.loads((again / "config.json").read_text())


def test_halves_that_nobody_announced_are_refused(folder):
    operator = create("dymixop", fields=("u",), seed=3, **SMALL)
    checkpoint.write(folder / "half", checkpoint.config_of(operator), halved(operator.state_dict()))
    with pytest.raises(ValueError, match="is float16, expected float32"):
        from_pretrained("pelagos:half")


def test_what_has_no_room_in_half_precision_stays():
    state = {"large": torch.full((2000,), 1e5), "fits": torch.ones(2000)}
    assert {k: v.dtype for k, v in halved(state).items()} == {
        "large": torch.float32,
        "fits": torch.float16,
    }
