"""Whether the files of a folder belong together: one for each field, or parts of one run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..layouts.cf import read_variables
from ..layouts.source import Source
from ..stores.joining import join
from ..stores.opening import open_store

MOST = 256  # files that are looked into
FAR = 2.0  # times the shortest step, which the steps of a run do not exceed


def other_fields(files: Sequence[Path]) -> list[Path]:
    """Of files that hold other fields than the first, one of each kind.

    None where files share fields with the first but differ, and so do not belong together.
    """
    first, *rest = files[:MOST]
    known = [set(read_variables(first).fields())]
    found: list[Path] = []
    for file in rest:
        fields = set(read_variables(file).fields())
        if fields in known:
            continue
        if not fields or any(fields & each for each in known):
            return []
        known.append(fields)
        found.append(file)
    return found


def follow(root: Path, description: Path) -> bool:
    """Whether the files of a folder are one run by a description that joins them in time."""
    try:
        store = open_store(root, layout=str(description))
    except ValueError:  # they overlap, or do not agree
        return False
    return all(_steady(store.trajectory_times(i)) for i in range(min(len(store), MOST)))


def continue_each_other(sources: Sequence[Source]) -> bool:
    """Whether files that are opened one by one are parts of one run."""
    if not 1 < len(sources) <= MOST or any(len(source) != 1 for source in sources):
        return False
    try:
        joined = join(sources, ["time"])
    except ValueError:
        return False
    return len(joined) == 1 and _steady(joined[0].header.times.reshape(-1))


def _steady(times: np.ndarray) -> bool:
    """Whether frames follow each other without a gap, up to lengths of months."""
    steps = np.diff(times)
    return len(steps) > 0 and bool(0 < steps.max() <= FAR * steps.min())
