"""The page about fine-tuning, run as written from the checkpoint that ships."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from accelerate.state import AcceleratorState

from pelagos.datasets import open_store
from pelagos.finetune.cli.console import main
from pelagos.operators import from_pretrained

PAGE = (Path(__file__).parents[2] / "docs" / "finetune.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
SHORT = {"finetune": ["--steps", "2", "--log-every", "1"]}


@pytest.fixture(scope="module")
def tour(tmp_path_factory):
    """Every block in order, in one folder, with few steps."""
    folder = tmp_path_factory.mktemp("tour")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for kind, block in BLOCKS:
            if kind == "python":
                exec(compile(block, "finetune.md", "exec"), {})
            for line in block.strip().splitlines() if kind == "sh" else ():
                _, *words = shlex.split(line, comments=True)
                main([*words, *SHORT.get(words[0], ())])
                AcceleratorState._reset_state(reset_partial_state=True)
        patch.setenv("PELAGOS_CHECKPOINTS", str(folder / "library"))
        yield folder


def test_the_tour_leaves_what_it_says(tour):
    for path in (
        "runs/mine/checkpoint/model.safetensors",
        "runs/scratch/evaluation.json",
        "mine.html",
        "adapters/mine/adapter.json",
        "checkpoints/mine/config.json",
        "library/mine/README.md",
    ):
        assert (tour / path).is_file(), path
    assert from_pretrained("pelagos:mine").description.fields == ("u",)


def test_the_data_are_the_wave_of_the_page(tour):
    store = open_store(tour / "data" / "mine")
    assert (len(store), store.fields, store.n_frames(0)) == (9, ("u",), 21)
    energy = store.trajectory(0)[:, 0].square().mean(1).double().numpy()
    np.testing.assert_allclose(energy[20] / energy[0], np.exp(-1.0), rtol=1e-4)


def test_every_method_is_on_the_page():
    from pelagos.finetune.adapt import METHODS

    assert all(f"| `{name}` |" in PAGE for name in METHODS.names())
