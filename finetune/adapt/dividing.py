"""Training and validation parts of data that have none: made in memory, and said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...datasets.base.paths import expanded
from ...datasets.stores.opening import open_store
from ...datasets.stores.store import Store

NEEDED = ("train", "valid")
SHARE = 0.1  # of the trajectories, for validation, and again for a test where that leaves some
Splits = dict[str, int | float | str]  # as recipes have them
_IN_TIME: Splits = {"by": "time", "train": 0.8, "valid": 0.2}


@dataclass(frozen=True)
class Divided:
    """An entry of a recipe's `data` that has all it needs.

    Attributes:
        entry: the entry.
        note: what was divided, and how; empty: the data had both parts.
    """

    entry: dict[str, Any]
    note: str = ""


def with_splits(entry: Mapping[str, Any]) -> Divided:
    """The entry, with `splits` where the data have no training or no validation part.

    Raises:
        ValueError: the data cannot be read, or are too few for both parts.
    """
    given = dict(entry)
    if "splits" in given or "simulate" in given or not isinstance(given.get("path"), str):
        return Divided(given)
    path, layout = expanded(given["path"], "data.path"), given.get("layout")
    store = open_store(path, None, layout)
    if set(NEEDED) <= set(store.splits):
        return Divided(given)
    if "train" in store.splits:
        inner = _training_folder(Path(path))
        if inner is None:
            raise ValueError(
                f"{path} has {', '.join(store.splits)} and nothing to validate on; say how to "
                "divide it: --data '[{path: …, splits: {train: 0.9, valid: 0.1}}]'"
            )
        given, path = {**given, "path": str(inner)}, str(inner)
        store = open_store(path, None, layout)
    refused: ValueError | None = None
    for splits in _ways(len(store)):
        try:
            parts = [open_store(path, name, layout, splits) for name in NEEDED]
        except ValueError as error:
            refused = refused or error
            continue
        return Divided({**given, "splits": splits}, _told(store, splits, parts))
    assert refused is not None
    raise refused


def _training_folder(path: Path) -> Path | None:
    """The folder of the training part of a dataset in folders."""
    return next((p for p in (path / "data" / "train", path / "train") if p.is_dir()), None)


def _ways(count: int) -> Iterator[Splits]:
    """Ways to divide so many trajectories, the best first."""
    if count * SHARE >= 1:
        yield {"train": 1 - 2 * SHARE, "valid": SHARE, "test": SHARE, "order": "random"}
    if count > 1:
        yield {"train": count - 1, "valid": 1, "order": "random"}
    yield dict(_IN_TIME)


def _told(store: Store, splits: Splits, parts: list[Store]) -> str:
    """What was divided how, in words."""
    train, valid = parts
    if splits.get("by") == "time":
        frames = [part.n_frames(0) for part in parts]
        return (
            f"{store.name} had nothing to validate on: of every trajectory, the first {frames[0]} "
            f"frames are trained on and {frames[1]} later ones are for validation (data[0].splits)"
        )
    test = ", and as many are kept for a test" if "test" in splits else ""
    return (
        f"{store.name} had nothing to validate on: of {len(store)} trajectories, {len(train)} are "
        f"trained on and {len(valid)} are for validation{test} (data[0].splits)"
    )
