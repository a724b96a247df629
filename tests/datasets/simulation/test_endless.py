"""Endless datasets: a pure function of seed and index, the same as what is simulated to disk."""

from __future__ import annotations

import json
from multiprocessing.reduction import ForkingPickler  # what workers use
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pelagos.datasets import open_store
from pelagos.datasets.base.config import read as read_config
from pelagos.datasets.sampling.mixture import Mixture
from pelagos.datasets.sampling.windows import Windows
from pelagos.datasets.simulation import endless
from pelagos.datasets.simulation.endless import EndlessStore
from pelagos.datasets.simulation.simulate import simulate
from pelagos.datasets.stores.store import Store
from pelagos.operators import from_pretrained
from pelagos.pretrain.command import main as pretrain
from pelagos.pretrain.data import open_stores, training_data
from pelagos.pretrain.recipe import TrainRecipe
from pelagos.pretrain.start import create_operator

SETTINGS = {"resolution": 32, "frames": 5, "dt": 0.1, "seed": 7}


def burgers(split: str = "train", size: int = 3) -> EndlessStore:
    return EndlessStore("burgers_1d", split, size, **SETTINGS)


def test_blocks_are_the_trajectories_that_simulate_writes(tmp_path: Path) -> None:
    counts = {"train": 9, "valid": 2}
    stored = open_store(simulate("burgers_1d", tmp_path, trajectories=counts, **SETTINGS), "train")
    store = burgers()
    for e in (0, 2, 1):
        block = store.epoch(e)
        for i in range(3):
            assert torch.equal(block.trajectory(i), stored.trajectory(3 * e + i))
            assert torch.equal(block.window(i).parameters, stored.window(3 * e + i).parameters)
    for name in ("name", "fields", "grid", "dt", "units", "parameter_names", "constant_fields"):
        assert getattr(store, name) == getattr(stored, name)
    assert torch.equal(
        burgers("valid", 2).trajectory(1),
        open_store(tmp_path / "burgers_1d", "valid").trajectory(1),
    )


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """First trajectories of the blocks that were solved."""
    starts, original = [], endless.solve
    monkeypatch.setattr(
        endless, "solve", lambda run, block: starts.append(block.start) or original(run, block)
    )
    return starts


def test_a_block_is_computed_once_and_the_latest_of_a_stream_is_kept(solved: list[int]) -> None:
    store = burgers(size=1)
    for e in (0, 1, 1, 0, 2, 2, 1):
        store.epoch(e).trajectory(0)
    assert solved == [0, 1, 2, 1]
    for e in (2, 3, 2, 3, 5, 4, 5):
        store.epoch(e, streams=2).trajectory(0)
    assert solved == [0, 1, 2, 1, 2, 3, 5, 4]


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_the_solving_and_see_the_same(solved: list[int], processes: int) -> None:
    """Two datasets; a step has 4 micro-batches, which any number of processes shares."""

    def mixture() -> Mixture:
        parts = [(Windows(burgers(), 1, 1), 1.0), (Windows(burgers(), 2, 1, every=2), 2.0)]
        return Mixture(parts, 5, 3, streams=4)

    whole, steps, share = mixture(), 5, 4 // processes
    expected = [whole.batch(k).history for k in range(4 * steps)]
    alone, everywhere = [start for start in solved if start], []
    for rank in range(processes):
        own, before = mixture(), len(solved)
        for k in (4 * step + rank * share + i for step in range(steps) for i in range(share)):
            assert torch.equal(own.batch(k).history, expected[k])
        everywhere += [start for start in solved[before:] if start]
    assert sorted(everywhere) == sorted(alone)  # no block by two of them


def test_a_stream_uses_every_window_of_its_blocks_once() -> None:
    store = burgers()
    mixture = Mixture([(Windows(store, 1, 1), 1.0)], 4, 0, streams=2)  # 12 windows in a block
    for stream in range(2):
        for turn in range(2):
            batches = [mixture.batch(2 * (3 * turn + i) + stream) for i in range(3)]
            drawn = torch.cat([batch.history[:, 0, 0] for batch in batches])
            block = store.epoch(2 * turn + stream)
            expected = torch.cat([block.trajectory(i)[:-1, 0] for i in range(3)])
            order = (drawn[:, None] == expected).all(-1)
            assert order.sum(0).tolist() == order.sum(1).tolist() == [1] * 12


def test_every_window_of_a_block_before_the_next_block() -> None:
    store = burgers()
    windows = Windows(store, 1, 1)  # 4 windows of each of 3 trajectories
    mixture = Mixture([(windows, 1.0)], 4, 0)
    for e in range(3):
        drawn = torch.cat([mixture.batch(3 * e + k).history[:, 0, 0] for k in range(3)])
        block = store.epoch(e)
        expected = torch.cat([block.trajectory(i)[:-1, 0] for i in range(3)])
        order = (drawn[:, None] == expected).all(-1)
        assert order.sum(0).tolist() == order.sum(1).tolist() == [1] * 12


def test_micro_batches_do_not_depend_on_who_asks(tmp_path: Path) -> None:
    """Any number of processes, any order, and after pickling, as for data-loading processes."""
    whole = Mixture([(Windows(burgers(), 2, 1), 1.0)], 5, 3)
    expected = [whole.batch(k) for k in range(8)]
    other = ForkingPickler.loads(
        ForkingPickler.dumps(Mixture([(Windows(burgers(), 2, 1), 1.0)], 5, 3))
    )
    for k in (7, 2, 3, 0):
        batch = other.batch(k)
        assert torch.equal(batch.history, expected[k].history)
        assert torch.equal(batch.parameters, expected[k].parameters)


def test_constant_fields_come_along(tmp_path: Path) -> None:
    settings = {"resolution": 24, "frames": 3}
    store = EndlessStore("wave_layers_2d", "train", 2, **settings)
    root = simulate("wave_layers_2d", tmp_path, trajectories={"train": 2}, **settings)
    stored: Store = open_store(root, "train")
    assert store.constant_fields
    assert torch.equal(store.constants(1), stored.constants(1))
    assert torch.equal(store.window(1).constants, stored.window(1).constants)
    np.testing.assert_array_equal(store.parameter_table(), stored.parameter_table())


def test_a_steady_equation_has_steady_windows() -> None:
    store = EndlessStore("poisson_2d", "train", 2, resolution=16)
    assert store.inputs == ("source",)
    windows = Windows(store, 1, 1)
    batch = Mixture([(windows, 1.0)], 2, 0).batch(3)
    expected = [store.epoch(3).window(i) for i in range(2)]
    for window in expected:
        assert any(torch.equal(window.target, target) for target in batch.target)
        assert any(torch.equal(window.history, history) for history in batch.history)


def recipe(folder: Path, **changes: object) -> str:
    simulated = {"equation": "burgers_1d", "block": 4, **SETTINGS}
    values = {
        "data": [
            {"simulate": simulated, "augment": ["roll"]},
            {"simulate": {**simulated, "equation": "heat_1d", "parameters": {"diffusivity": 0.01}}},
        ],
        "operator": {"name": "dymixop", "hidden": 4, "layers": 1, "modes": 2},
        "normalizer": {"name": "statistics"},
        "steps": 6,
        "batch": 4,
        "micro_batch": 2,
        "log_every": 1,
        "save_every": 3,
        "validation": {"every": 6, "trajectories": 2, "horizon": 3},
        **changes,
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["kind"] == "train"]


def test_training_without_a_file_resumes_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recipe(tmp_path)
    pretrain([path, str(tmp_path / "whole")])
    monkeypatch.setattr(Mixture, "batch", stopping(Mixture.batch, after=8))
    with pytest.raises(KeyboardInterrupt):
        pretrain([path, str(tmp_path / "parts")])
    monkeypatch.undo()
    pretrain([path, str(tmp_path / "parts"), "--resume", "auto"])
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    first, second = (
        (tmp_path / name / "checkpoint" / "model.safetensors").read_bytes()
        for name in ("whole", "parts")
    )
    assert first == second
    description = from_pretrained(tmp_path / "whole" / "checkpoint").description
    assert description.provenance["datasets"] == ["burgers_1d", "heat_1d"]
    assert set(description.normalizer.mean) == {"burgers_1d", "heat_1d", "*"}


def stopping(batch, after: int):
    """`Mixture.batch` until it has been called so often."""
    calls = iter(range(after))

    def interrupted(self, k):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return batch(self, k)

    return interrupted


def test_validation_is_on_other_trajectories(tmp_path: Path) -> None:
    read = read_config(TrainRecipe, Path(recipe(tmp_path)))
    stores = open_stores(read)
    operator = create_operator(read, stores)
    data = training_data(read, stores, operator)
    windows = data.validation["burgers_1d"]
    assert len(windows) == 2
    assert torch.equal(windows[1].history, burgers("valid", 2).window(1).history)
    assert len(data.mixture.parts[0]) == 4 * 4


@pytest.mark.parametrize(
    ("data", "changes", "message"),
    [
        ({}, {}, "a path, or an equation to simulate, and not both"),
        ({"path": "x", "simulate": {"equation": "heat_1d"}}, {}, "and not both"),
        ({"simulate": {"equation": "heat_2"}}, {}, "unknown equation 'heat_2'; did you mean"),
        ({"simulate": {"equation": "heat_1d", "block": 0}}, {}, "block must be at least 1"),
        ({"simulate": {"equation": "heat_1d"}, "trajectories": 3}, {}, "which never ends"),
        ({"simulate": {"equation": "heat_1d", "shard": 3}}, {}, "is never stored; leave them out"),
        ({"simulate": {"equation": "heat_1d", "trajectories": {"train": 9}}}, {}, "never stored"),
        ({"simulate": {"equation": "heat_1d", "resolution": 9}}, {}, "Use 25 or more"),
        ({"simulate": {"equation": "heat_1d", "parameters": {"nu": 1.0}}}, {}, "no parameter 'nu'"),
        (
            {"simulate": {"equation": "heat_1d", "device": "cuda"}},
            {"workers": 1},
            "cannot use the GPU",
        ),
    ],
)
def test_refusals(data, changes, message, tmp_path) -> None:
    with pytest.raises(ValueError, match=message):
        pretrain([recipe(tmp_path, data=[data], **changes), str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()
