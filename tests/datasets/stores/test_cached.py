"""Stores that stay in memory: the same data, read once, never pickled, and within bounds."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from multiprocessing.reduction import ForkingPickler  # what workers use
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import psutil
import pytest
import torch
import yaml

from pelagos.datasets import open_store
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.datasets.stores.cached import keep_in_memory, memory
from pelagos.datasets.stores.store import Store
from pelagos.pretrain.command import main
from pelagos.pretrain.recipe import DataConfig, SimulateConfig

T, POINTS = 9, 16


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three training trajectories in two files and two valid ones: constant field, mask."""
    rng = np.random.default_rng(0)
    for split, name, n in (("train", "a", 2), ("train", "b", 1), ("valid", "a", 2)):
        shape = (n, T, POINTS)
        mask = np.ones((n, 2, POINTS), bool)
        mask[:, 1, :4] = False
        data = WellData(
            dataset="kept",
            grid=Grid.unit((POINTS,)),
            times=0.5 * np.arange(T),
            fields={key: rng.standard_normal(shape).astype("f4") for key in "uv"},
            constant_fields={"depth": rng.random((n, POINTS)).astype("f4")},
            mask=mask,
        )
        write_file(tmp_path / "kept" / "data" / split / f"{name}.hdf5", data)
    return tmp_path / "kept"


def assert_same_windows(one: Store, two: Store) -> None:
    assert len(one) == len(two)
    for i in range(len(one)):
        for start, stride in ((0, 1), (3, 2)):
            a, b = (store.window(i, start, 1, 2, stride) for store in (one, two))
            assert torch.equal(a.history, b.history)
            assert torch.equal(a.target, b.target)
            assert torch.equal(a.context.constants, b.context.constants)
            assert torch.equal(a.context.mask, b.context.mask)


def count_reads(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the files from now on."""
    asked: list[str] = []

    def counted(name: str, call: Callable[..., Any], *arguments: Any) -> Any:
        asked.append(name)
        return call(*arguments)

    for source in store.sources:
        for name in ("read", "constants", "mask"):
            monkeypatch.setattr(source, name, partial(counted, name, getattr(source, name)))
    return asked


def test_the_same_windows_from_one_reading(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(root, "train")
    asked = count_reads(store, monkeypatch)
    (kept,) = keep_in_memory([store])
    assert asked == []
    for _ in range(2):
        assert_same_windows(open_store(root, "train"), kept)
    assert sorted(asked) == ["constants"] * 3 + ["mask"] * 3 + ["read"] * 3
    np.testing.assert_array_equal(
        kept.read_raw(2, slice(1, 8, 3), [1]), store.read(2, 1, 8, 3)[:, 1:]
    )
    assert kept.origin(2) == store.origin(2)


def test_who_changes_a_window_changes_no_other(root: Path) -> None:
    store = open_store(root, "train")
    (kept,) = keep_in_memory([store])
    for _ in range(2):
        window = kept.window(0, 0, 2, 2)
        for values in (window.history, window.target, window.context.constants):
            values.zero_()
        window.context.mask.zero_()
    assert_same_windows(store, kept)


def test_another_process_reads_for_itself(root: Path) -> None:
    (kept,) = keep_in_memory([open_store(root, "train")])
    before = len(ForkingPickler.dumps(kept))
    kept.trajectory(0)
    kept.window(1)
    message = bytes(ForkingPickler.dumps(kept))
    assert len(message) < before + 100
    assert_same_windows(open_store(root, "train"), ForkingPickler.loads(message))


def test_values_that_are_not_finite_are_named(tmp_path: Path) -> None:
    values = np.zeros((1, T, POINTS), "f4")
    data = WellData("kept", Grid.unit((POINTS,)), 0.5 * np.arange(T), {"u": values})
    write_file(tmp_path / "a.hdf5", data)
    with h5py.File(tmp_path / "a.hdf5", "r+") as file:
        file["t0_fields/u"][0, 5, 3] = np.nan
    (kept,) = keep_in_memory([open_store(tmp_path)])
    assert kept.read(0, 0, 5).shape == (5, 1, POINTS)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"a\.hdf5: 'u' at frame 5 \(time 2\.5\)"):
            kept.trajectory(0)


def test_what_does_not_fit_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(root, "train")
    size = 4 * POINTS * (2 * T + 1) * 3
    assert memory(store) == size
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=12 * size))
    keep_in_memory([store, store], copies=3)
    with pytest.raises(ValueError, match=r"kept, kept would take .* in 4 processes .* half of"):
        keep_in_memory([store, store], copies=4)


def test_training_is_the_same_and_goes_on_without(root: Path, tmp_path: Path) -> None:
    recipe = {
        "operator": {"name": "dymixop", "history": 2, "hidden": 4, "layers": 1, "modes": 3},
        "steps": 4,
        "batch": 4,
        "micro_batch": 2,
        "log_every": 2,
        "save_every": 2,
        "validation": {"every": 4, "trajectories": 1, "horizon": 2},
    }
    losses = {}
    for cache in ("none", "memory"):
        path = tmp_path / f"{cache}.yaml"
        path.write_text(yaml.safe_dump({"data": [{"path": str(root), "cache": cache}], **recipe}))
        main([str(path), str(tmp_path / cache)])
        lines = (tmp_path / cache / "log.jsonl").read_text().splitlines()
        losses[cache] = [line["loss"] for line in map(json.loads, lines) if line["kind"] == "train"]
    assert losses["none"] == losses["memory"]
    main([str(tmp_path / "none.yaml"), str(tmp_path / "memory"), "--resume", "auto"])
    weights = [(tmp_path / cache / "checkpoint/model.safetensors").read_bytes() for cache in losses]
    assert weights[0] == weights[1]


def test_a_simulated_dataset_takes_no_cache() -> None:
    with pytest.raises(ValueError, match=r"data\.cache has no meaning"):
        DataConfig(simulate=SimulateConfig(equation="burgers_1d"), cache="memory")
