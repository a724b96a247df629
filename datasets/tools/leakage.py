"""Trajectories that come twice, and initial states that are nearly the same in two splits."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64

from ..stores.store import Store
from ..stores.survey import Survey, initial_state
from .findings import Finding

NEAR = 1e-3  # root-mean-square distance of states, over their own spread, that counts as none
ROWS = 256  # states that are compared with all others at once
CONFIRMED = 200  # pairs whose whole states are compared


def duplicate_findings(store: Store, survey: Survey) -> Iterator[Finding]:
    """Equal trajectories: within a split they weigh double, across splits they void the scores."""
    groups: defaultdict[bytes, list[int]] = defaultdict(list)
    for i, digest in enumerate(survey.digests):
        groups[digest].append(i)
    within: list[tuple[int, int]] = []
    across: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for group in groups.values():
        first = {}
        for i in group:
            split = split_of(store, i)
            if split in first:
                within.append((first[split], i))
            else:
                first[split] = i
        for one, two in itertools.combinations(first, 2):
            across.setdefault((one, two), []).append((first[one], first[two]))
    for (one, two), pairs in across.items():
        yield Finding(
            "error",
            "leakage",
            f"{len(pairs)} trajectories of {two} are in {one} too; {_pair(store, *pairs[0])}",
            f"take them out of {one}: scores on {two} say nothing otherwise",
        )
    if within:
        yield Finding(
            "warning",
            "duplicate",
            f"{len(within)} trajectories come again in their split; {_pair(store, *within[0])}",
            "keep one of each: they weigh double, and are no more data",
        )


def near_findings(store: Store, survey: Survey) -> Iterator[Finding]:
    """Initial states of two splits that agree up to `NEAR`, in trajectories that differ."""
    state = "input fields" if store.steady else "initial state"
    table = store.parameter_table()
    for one, two in itertools.combinations(store.splits, 2):
        pairs = _near_pairs(store, survey, store.splits[one], store.splits[two])
        equal = [
            bool(np.allclose(table[i], table[j], rtol=1e-6, atol=0, equal_nan=True))
            for i, j in pairs
        ]
        same = [pair for pair, alike in zip(pairs, equal, strict=True) if alike]
        other = [pair for pair, alike in zip(pairs, equal, strict=True) if not alike]
        if same:
            yield Finding(
                "warning",
                "near_leakage",
                f"{len(same)} trajectories of {two} start from the {state} of one in {one} (up to "
                f"{NEAR:g} of its spread) with equal parameters; {_pair(store, *same[0])}",
                "split by initial state: such scores do not test generalisation",
            )
        if other:
            yield Finding(
                "note",
                "shared_states",
                f"{len(other)} trajectories of {two} start from the {state} of one in "
                f"{one}, with other parameters; {_pair(store, *other[0])}",
                "say so beside the scores: they test new parameters, not new states",
            )


def split_of(store: Store, i: int) -> str:
    """The split of trajectory i."""
    return next(name for name, part in store.splits.items() if i in part)


def _near_pairs(store: Store, survey: Survey, first: range, second: range) -> list[tuple[int, int]]:
    """The nearest state of `first` for every one of `second` that has one within `NEAR`."""
    points = _standardised(survey)
    known, found = points[np.asarray(first)], []
    square = np.square(known).sum(axis=1)
    for start in range(second.start, second.stop, ROWS):
        rows = range(start, min(start + ROWS, second.stop))
        asked = points[np.asarray(rows)]
        distance = square + np.square(asked).sum(axis=1)[:, None] - 2 * asked @ known.T
        for i, row in zip(rows, distance, strict=True):
            j = int(np.argmin(row))
            # Ten times wider than asked: some of the values stand for all.
            if row[j] <= (10 * NEAR) ** 2 * points.shape[1]:
                found.append((first[j], i))
    return [
        pair for k, pair in enumerate(found) if _near(store, survey, *pair, confirm=k < CONFIRMED)
    ]


def _standardised(survey: Survey) -> Float64[np.ndarray, "n D"]:
    """Kept values of the states, with mean 0 and standard deviation 1 in every field."""
    states = np.nan_to_num(survey.states.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    states -= states.mean(axis=(0, 2), keepdims=True)
    spread = states.std(axis=(0, 2), keepdims=True)
    return (states / np.where(spread > 0, spread, 1.0)).reshape(len(states), -1)


def _near(store: Store, survey: Survey, i: int, j: int, confirm: bool) -> bool:
    """Whether two different trajectories start from the same state; not from a uniform one.

    Without `confirm`, the values that were kept of the two states decide.
    """
    if survey.digests[i] == survey.digests[j]:
        return False  # told as duplicates
    if not confirm:
        return True
    one, two = initial_state(store, i), initial_state(store, j)
    axes = tuple(range(1, one.ndim))
    spread = one.std(axis=axes, dtype=np.float64)
    apart = np.sqrt(np.square(one.astype(np.float64) - two).mean(axis=axes))
    return bool(spread.any() and (apart <= NEAR * np.maximum(spread, NEAR * spread.max())).all())


def _pair(store: Store, i: int, j: int) -> str:
    (path, local), (other, number) = store.origin(j), store.origin(i)
    return f"trajectory {local} of {path} is trajectory {number} of {other}"
