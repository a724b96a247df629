"""A run that is shared: its card, its scores, and halves that change nothing that matters."""

from __future__ import annotations

import json

import pytest
import torch
from accelerate.state import AcceleratorState

from pelagos.datasets import open_store
from pelagos.datasets.simulation.simulate import simulate
from pelagos.finetune.cli.console import main
from pelagos.finetune.report.release import Release, release
from pelagos.operators import from_pretrained
from pelagos.operators.core import checkpoint


@pytest.fixture
def run(tmp_path):
    data = simulate(
        "advection_1d",
        tmp_path,
        trajectories={"train": 2, "valid": 2},
        resolution=40,
        frames=5,
        dt=0.02,
    )
    size = ["--operator.hidden", "24", "--operator.layers", "1", "--operator.modes", "4"]
    few = ["--steps", "2", "--batch", "2", "--micro-batch", "2", "--log-every", "1"]
    often = ["--save-every", "1", "--validation.every", "2", "--objective.horizon", "1"]
    history = ["--operator.history", "2", "--validation.horizon", "2"]
    data = ["--data", f"[{{path: {data}}}]"]
    arguments = [*size, *few, *often, *history, *data]
    main(["pretrain", "quickstart", str(tmp_path / "runs" / "small"), *arguments])
    AcceleratorState._reset_state(reset_partial_state=True)
    return tmp_path / "runs" / "small"


def test_a_run_is_shared_by_name_with_a_card(run, tmp_path, monkeypatch, capsys):
    library = tmp_path / "library"
    main(["publish", str(run), "--to", str(library), "--half", "--license", "CC0-1.0"])
    monkeypatch.setenv("PELAGOS_CHECKPOINTS", str(library))
    main(["checkpoints"])
    printed = capsys.readouterr().out
    assert "pelagos:small\n  dymixop in 1D" in printed
    one, other = from_pretrained(run), from_pretrained("pelagos:small")
    assert other.description.license == "CC0-1.0"
    config = json.loads((library / "small" / "config.json").read_text())
    assert config["provenance"]["recipe"]["data"][0]["path"] == "advection_1d"

    card = (library / "small" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: pelagos\n")
    assert "licence of the weights: CC0-1.0" in card
    assert "2 steps of 2 windows (4 windows)" in card
    assert "time steps: 0.02 to 0.02 in training; only these are taken" in card
    assert "Large tensors are stored in half precision" in card
    store = open_store(tmp_path / "advection_1d", "valid")
    errors = []
    for i in range(2):
        frames = store.trajectory(i)
        first = next(one.rollout(frames[None, :2], dt=0.02, steps=1))[0, 0]
        truth = frames[2, 0]
        errors.append(float((first - truth).norm() / (truth - truth.mean()).norm()))
        again = next(other.rollout(frames[None, :2], dt=0.02, steps=1))[0, 0]
        assert 0 < float((again - first).norm() / first.norm()) < 1e-3
    row = next(line for line in card.splitlines() if line.startswith("| advection_1d"))
    assert float(row.split("|")[4]) == pytest.approx(sum(errors) / 2, rel=5e-3)


def test_halves_that_change_predictions_are_refused(run, tmp_path):
    path = run / "checkpoint"
    config, state = checkpoint.read_config(path), checkpoint.read_state(path)
    big = state["mixing.0.globals.0.weight"]
    assert big.numel() > 1024
    state["mixing.0.globals.0.weight"] = big * 1e-6  # rounded to nothing
    state["mixing.0.expand.weight"] *= 1e10  # what it feeds would count
    checkpoint.write(path, config, state)
    with pytest.raises(ValueError, match=r"in half precision predictions on advection_1d .*--half"):
        release(run, tmp_path / "library", Release(half=True))
    assert not (tmp_path / "library").exists()
    out = release(run, tmp_path / "library", Release(name="whole"))
    found = from_pretrained(out).state_dict()
    assert all(torch.equal(found[name], value) for name, value in state.items())
    with pytest.raises(ValueError, match="exists already"):
        release(run, tmp_path / "library", Release(name="whole"))
