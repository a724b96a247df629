"""What an earlier commit wrote opens, predicts the same, and is continued to the same end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import run
from safetensors.torch import load_file

from pelagos.datasets import open_store
from pelagos.datasets.fields import Window, collate
from pelagos.operators import Observation, from_pretrained
from pelagos.operators.core.operator import Operator

EARLIER = Path(__file__).parents[1] / "earlier"
# Checkpoint: the dataset of its input, and the frames that it predicts.
CHECKPOINTS = {
    "dymixop": ("burgers_1d", 6),
    "multiscale": ("burgers_2d", 3),
    "observer": ("burgers_1d", 6),
    "assimilated": ("burgers_1d", 6),
}
# Interrupted run: the command that continues it, and a recipe (written, or resolved by the run).
RUNS = {
    "dymixop": ("pretrain", "recipes/dymixop.yaml"),
    "observer": ("pretrain", "run/recipe.yaml"),
    "finetune": ("finetune", "recipes/finetune.yaml"),
}


def analyses(operator: Operator, window: Window) -> Iterator[torch.Tensor]:
    """Every second step, every third point is measured; the second time without a noise level."""
    state = operator.init(window.history, window.context)
    steps = window.lead_times.diff(dim=1, prepend=torch.zeros_like(window.lead_times[:, :1]))
    for t, truth in enumerate(window.target.unbind(1)):
        observation = None
        if t % 2 == 0:
            mask = torch.zeros_like(truth, dtype=torch.bool)
            mask[..., t::3] = True
            noise = None if t == 2 else torch.full_like(truth, 0.02)
            observation = Observation(truth + 0.01, mask, window.fields, noise)
        state, fields = operator.step(state, steps[:, t], observation)
        yield fields


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_predicts_the_same(name: str) -> None:
    dataset, steps = CHECKPOINTS[name]
    operator = from_pretrained(EARLIER / "checkpoints" / name)
    store = open_store(EARLIER / "datasets" / dataset, "test")
    count = min(2, len(store))
    window = collate([store.window(i, 0, operator.history, steps) for i in range(count)])
    with np.load(EARLIER / "io" / f"{name}.npz") as file:
        expected = {key: torch.from_numpy(file[key]) for key in file.files}
    for key in ("history", "target", "lead_times"):
        assert torch.equal(getattr(window, key), expected[key])
    with torch.no_grad():
        torch.testing.assert_close(operator(window), expected["forecast"], rtol=1e-5, atol=2e-6)
        assert operator.assimilates == ("analysis" in expected)
        if operator.assimilates:
            found = torch.stack(list(analyses(operator, window)), 1)
            torch.testing.assert_close(found, expected["analysis"], rtol=1e-5, atol=2e-6)


def records(run: Path) -> list[dict[str, Any]]:
    """Losses and scores in the log, without times."""
    lines = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return [
        {key: value for key, value in line.items() if key != "seconds"}
        for line in lines
        if line["kind"] in ("train", "valid")
    ]


@pytest.mark.parametrize("name", RUNS)
def test_an_interrupted_run_goes_on_to_the_same_end(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the rounding of another processor than the one that the files were made on."""
    command, recipe = RUNS[name]
    for part in ("datasets", "recipes", "checkpoints"):
        shutil.copytree(EARLIER / part, tmp_path / part)
    shutil.copytree(EARLIER / "interrupted" / name, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    run("-m", f"pelagos.{command}", recipe, "run", "--resume", "auto")
    found, expected = records(tmp_path / "run"), records(EARLIER / "expected" / name)
    for one, two in zip(found, expected, strict=True):
        for key, value in two.items():
            close = pytest.approx(value, rel=1e-3) if isinstance(value, float) else value
            assert one[key] == close, (key, two["step"])
    weights = load_file(tmp_path / "run" / "checkpoint" / "model.safetensors")
    target = load_file(EARLIER / "expected" / name / "model.safetensors")
    assert weights.keys() == target.keys()
    for key, value in target.items():
        torch.testing.assert_close(weights[key], value, rtol=1e-3, atol=1e-5)
