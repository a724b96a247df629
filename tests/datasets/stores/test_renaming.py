"""Fields by other names, of stored and of simulated data."""

from __future__ import annotations

from pathlib import Path

import pytest

from pelagos.datasets import open_store
from pelagos.datasets.simulation.endless import EndlessStore
from pelagos.datasets.simulation.simulate import simulate
from pelagos.datasets.stores.renaming import renamed

SMALL = {"resolution": 64, "frames": 3, "trajectories": {"train": 2, "valid": 1, "test": 1}}


def test_stored_and_simulated_fields_have_the_new_name(tmp_path: Path) -> None:
    store = open_store(simulate("burgers_1d", tmp_path, **SMALL), "train")
    other = renamed(store, {"u": "temperature"})
    assert (store.fields, other.fields) == (("u",), ("temperature",))
    window = other.window(0)
    assert window.fields == ("temperature",)
    assert window.history.equal(store.window(0).history)
    endless = EndlessStore(
        "burgers_1d", "train", 2, rename={"u": "temperature"}, resolution=64, frames=3
    )
    assert endless.fields == endless.epoch(1).fields == ("temperature",)
    assert endless.window(0).history.equal(store.window(0).history)


def test_names_that_are_not_there_or_twice_are_refused(tmp_path: Path) -> None:
    store = open_store(simulate("burgers_1d", tmp_path, **SMALL), "train")
    with pytest.raises(ValueError, match="has no field or parameter 'U'; valid names: u,"):
        renamed(store, {"U": "v"})
    with pytest.raises(ValueError, match="would have two of the name u"):
        renamed(store, {store.parameter_names[0]: "u"})


def test_the_dataset_has_the_new_name_and_the_old_store_its_own(tmp_path: Path) -> None:
    store = open_store(simulate("burgers_1d", tmp_path, **SMALL), "train")
    other = renamed(store, {}, dataset="burgers")
    assert (store.name, other.name, other.window(0).dataset) == ("burgers_1d", "burgers", "burgers")
    assert other.window(0).history.equal(store.window(0).history)
    with pytest.raises(ValueError, match="'burgers' has trajectories 0 to 1; got 2"):
        other.read(2, 0, 1)
