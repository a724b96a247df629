"""Every checkpoint that ships: small, open without a network, and as good as its card says."""

from __future__ import annotations

import re
import socket

import numpy as np
import pytest
import torch
from safetensors import safe_open

from pelagos.datasets import open_store
from pelagos.datasets.fields.window import collate
from pelagos.datasets.simulation.simulate import simulate
from pelagos.finetune.cli.console import main
from pelagos.operators import from_pretrained
from pelagos.operators.core import checkpoint
from pelagos.operators.core.shipped import shipped

# A family of the pretraining, at the grid and step that it had there.
KNOWN = {
    "dymixop-1d": ("burgers_1d", {"resolution": 128, "dt": 0.02}),
    "dymixop-2d": ("burgers_2d", {"resolution": 32, "dt": 0.04}),
    "multiscale-2d": ("burgers_2d", {"resolution": 32, "dt": 0.04}),
    "dymixop-3d": ("klein_gordon_3d", {"resolution": 16, "subsample": 2, "dt": 0.4}),
    "dymixop-steady-2d": ("poisson_2d", {"resolution": 25}),
}
FAMILIES = {"dymixop-3d": 5, "dymixop-steady-2d": 2}  # of pretraining, at least; of others eight
MOST_BYTES = 8e6
TRAJECTORIES = 8
FACTOR = (
    2.0  # between the card's mean over other trajectories, and that over a few of the test part
)


@pytest.fixture(autouse=True)
def own(monkeypatch):
    """Nothing but what ships, and no network."""
    monkeypatch.delenv("PELAGOS_CHECKPOINTS", raising=False)

    def refuse(*_: object) -> None:
        raise AssertionError("a shipped checkpoint needs no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_each_has_a_family_to_be_measured_on():
    assert {*shipped()} == {*KNOWN}


def test_the_command_names_them(capsys):
    main(["checkpoints"])
    printed = capsys.readouterr().out
    assert all(f"pelagos:{name}\n  " in printed for name in KNOWN)


@pytest.mark.parametrize("name", KNOWN)
def test_it_is_small_and_says_what_it_is(name):
    folder = shipped()[name]
    assert sum(file.stat().st_size for file in folder.iterdir()) <= MOST_BYTES
    card = (folder / "README.md").read_text()
    for part in ("## Budget", "## Data and scores", "of the weights: MIT", "half precision"):
        assert part in card
    error = re.search(r"change by at most (\S+) of themselves", card)
    assert error is not None
    assert float(error[1]) <= 1e-3
    with safe_open(folder / "model.safetensors", "np") as file:
        large = [k for k in file.keys() if np.prod(file.get_slice(k).get_shape()) >= 1024]  # noqa: SIM118
        assert {file.get_slice(k).get_dtype() for k in large} == {"F16"}
    known = checkpoint.read_config(folder)
    assert len(known["provenance"]["datasets"]) >= FAMILIES.get(name, 8)
    assert {*known["trained"]} == {*known["provenance"]["datasets"]}  # what verdicts go by
    assert not any("/" in data["path"] for data in known["provenance"]["recipe"]["data"])


@pytest.mark.parametrize("name", KNOWN)
def test_it_is_as_good_as_its_card_says(name, tmp_path):
    family, grid = KNOWN[name]
    row = re.search(rf"\| {family} \| (.*) \|", (shipped()[name] / "README.md").read_text())
    assert row is not None
    _, frames, first, every, persistence = map(float, row[1].split(" | "))
    operator = from_pretrained(f"pelagos:{name}").eval()
    about, steps, history = operator.description, int(frames), operator.history
    counts = {"train": 1, "test": TRAJECTORIES}
    if not about.inputs:
        grid = {"frames": history + steps, **grid}
    store = open_store(simulate(family, tmp_path, trajectories=counts, **grid), "test")
    windows = collate([store.window(i, 0, history, steps) for i in range(TRAJECTORIES)])
    own = [about.fields.index(field) for field in store.fields]
    truth, last = windows.target.double().numpy(), windows.history[:, -1:].double().numpy()
    windows = windows.filled(about.channel_fill, about.inputs).select(about.fields, about.inputs)
    with torch.no_grad():
        found = operator(windows).double().numpy()
    scores = vrmse(found[:, :, own], truth)
    assert np.isfinite(scores).all()
    assert scores[:, 0].mean() < FACTOR * first
    assert scores.mean() < FACTOR * every
    still = np.zeros_like(truth) if about.inputs else np.broadcast_to(last, truth.shape)
    nothing = vrmse(still, truth).mean()
    assert scores.mean() < 0.5 * nothing
    assert nothing == pytest.approx(persistence, rel=FACTOR - 1)


def vrmse(prediction, truth):
    """√(⟨(p − y)²⟩ / ⟨(y − ⟨y⟩)²⟩) by trajectory, frame and field."""
    space = tuple(range(3, truth.ndim))
    error = ((prediction - truth) ** 2).mean(space)
    return np.sqrt(error / truth.var(space))
