"""Which trajectories are for training, validation and tests."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .arrays import ArraySource

SPLITS = ("train", "valid", "test")
UNSPLIT = "all"  # the split of trajectories that belong to none of train, valid and test


def divide(
    source: ArraySource, splits: Mapping[str, int | float], where: Path
) -> dict[str, ArraySource]:
    """Parts of a source by fraction (in sum at most 1) or number, in the order of the file.

    Raises:
        ValueError: the splits are none of train, valid, test and all, or are more than there is.
    """
    n, given = len(source), {name: float(share) for name, share in splits.items()}
    counted = sum(given.values()) > 1 + 1e-6  # numbers, not fractions
    scale = 1 if counted else n
    ends = np.cumsum([0.0, *(share * scale for share in given.values())])
    if (
        not set(given) <= {*SPLITS, UNSPLIT}
        or min(given.values(), default=0.0) <= 0
        or ends[-1] > n + 1e-6
        or (counted and not all(share.is_integer() for share in given.values()))
    ):
        raise ValueError(
            f"{where}: splits are train, valid, test or all, as fractions that sum to at most 1 or "
            f"as numbers of at most {n} trajectories; got {dict(splits)}"
        )
    pairs = itertools.pairwise(map(round, ends.tolist()))
    parts = zip(given, pairs, strict=True)
    return {name: source.part(slice(*pair)) for name, pair in parts if pair[0] < pair[1]}
