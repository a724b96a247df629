"""The data that a run has seen: `RUN/data.json`, the fingerprints of its datasets.

A run goes on with the data that it began with, wherever they lie now. The file has an entry for
each time that other data were taken on purpose, the last of which counts. Runs of earlier versions
have none; they get one when they go on.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from ...datasets.base.appearing import appearing_file
from ...datasets.base.config import build
from ...datasets.base.sealed import sealed, unsealed
from ...datasets.base.texts import MOST_JSON, parse_json, read_text
from ...datasets.stores.fingerprint import Fingerprint, differences
from ..ranks import Ranks

DATA = "data.json"
REMEDY = "restore it, choose another directory, or go on with the data as they are (--no-verify)"

Seen: TypeAlias = dict[str, Fingerprint]  # by "DATASET (SPLIT)", in the recipe's order


@dataclass(frozen=True)
class _Record:
    """What the file holds."""

    seen: tuple[Seen, ...]


def agreed(look: Callable[[], Seen], ranks: Ranks) -> Seen:
    """What one process of each machine sees of the data; all must see the same.

    Args:
        look: at the data.
        ranks: all of them call this.

    Raises:
        ValueError: two machines see different data.
    """
    looks = os.environ.get("LOCAL_RANK", "0") == "0"
    found = ranks.gather((platform.node(), look() if looks else None))
    first = found[0][1]
    assert first is not None, "process 0 is the first of its machine"
    for machine, seen in found:
        changes = [] if seen is None else _changes(first, seen)
        if changes:
            raise ValueError(
                f"{machine} sees other data than the first process: {'; '.join(changes)}; copy the "
                "same data to all machines"
            )
    return first


def other_data(run: Path, seen: Seen, recorded: bool) -> str:
    """What speaks against going on in a run with these data; "" where nothing does.

    Args:
        run: the run directory.
        seen: the data as they are now.
        recorded: whether there was a record of the data when the run's state was saved.
    """
    if not has_fingerprints(run):
        return f"{run / DATA}, which knows the run's data, is missing" if recorded else ""
    try:
        changes = _changes(_history(run)[-1], seen)
    except ValueError as error:
        return str(error)
    return f"run {run} was trained on other data: {'; '.join(changes)}" if changes else ""


def keep_fingerprints(run: Path, seen: Seen) -> None:
    """Put the data on record, if they are not."""
    try:
        history = _history(run) if has_fingerprints(run) else ()
    except ValueError:  # it was damaged, and the run is to go on
        history = ()
    if history and history[-1] == seen:
        return
    with appearing_file(run / DATA, overwrite=True) as draft:
        text = json.dumps(sealed({"seen": [*history, seen]}), indent=1)
        draft.write_text(f"{text}\n", encoding="utf-8")


def has_fingerprints(run: Path) -> bool:
    """Whether it is on record what data a run has seen."""
    return (run / DATA).is_file()


def _changes(before: Seen, now: Seen) -> list[str]:
    """What differs, a text for each dataset; they follow each other in the recipe's order."""
    found = []
    for (place, own), seen in zip(before.items(), now.values(), strict=True):
        changes = differences(own, seen)
        if changes:
            other = own["name"] != seen["name"]
            remedy = f" (data.name gives it its name: {own['name']})" if other else ""
            found.append(f"{place} has {', '.join(changes)}{remedy}")
    return found


def _history(run: Path) -> tuple[Seen, ...]:
    """What is on record, the latest last.

    Raises:
        ValueError: it is damaged.
    """
    path = run / DATA
    try:
        found = build(_Record, unsealed(parse_json(read_text(path, MOST_JSON)))).seen
        if not found:
            raise ValueError("it is empty")
    except (ValueError, TypeError, OSError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error})") from None
    return found
