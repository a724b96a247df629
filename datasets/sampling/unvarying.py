"""Fields that never vary in training data, found without statistics of everything."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from ..base.processes import ALONE, Processes
from ..stores.store import Store
from ..stores.survey import blocks
from .scales import training_part

BLOCK = 2**20  # values to hold at once
LOOKED_AT = 8  # trajectories, of which the first and the last frame are looked at first


def unvarying(stores: Sequence[Store], processes: Processes = ALONE) -> dict[str, tuple[str, ...]]:
    """Dataset -> the fields that are one value in all training data; without those that have none.

    A few frames decide for almost every field; only one that is the same in all of these is read
    as a whole. What is missing or masked does not count. Steady and endless datasets are left out.
    """
    found = {}
    for store in stores:
        names = () if store.steady or store.endless else _of(store, processes)
        if names:
            found[store.name] = names
    return found


def _of(store: Store, processes: Processes) -> tuple[str, ...]:
    chosen = training_part(store)
    looked = np.unique(np.linspace(0, len(chosen) - 1, LOOKED_AT).round().astype(int)).tolist()
    values: dict[int, float] = {}  # channel -> the one value that was seen
    left = set(range(len(store.fields)))
    for place in looked:
        i = chosen[place]
        for frame in {min(store.first, store.n_frames(i) - 1), store.n_frames(i) - 1}:
            left = _still(store, i, range(frame, frame + 1), left, values)
    left &= values.keys()
    if left:
        same = partial(_same, store, sorted(left), values)
        rows = processes.map(same, processes.chosen(chosen))
        left = {channel for channel in left if all(channel in row for row in rows)}
    return tuple(name for channel, name in enumerate(store.fields) if channel in left)


def _same(
    store: Store, channels: Sequence[int], values: dict[int, float], i: int
) -> frozenset[int]:
    """The channels that have their value in all frames of trajectory i."""
    left, seen = set(channels), dict(values)
    for part in blocks(store, i, BLOCK, store.first, len(channels)):
        if left:
            left = _still(store, i, part, left, seen)
    return frozenset(left)


def _still(
    store: Store, i: int, frames: range, channels: set[int], values: dict[int, float]
) -> set[int]:
    """Those of the channels that have one value in these frames, too, which is noted."""
    order = sorted(channels)
    if not order:
        return channels
    read = store.read_raw(i, slice(frames.start, frames.stop), order)
    mask = store.mask(i)
    left = set()
    for place, channel in enumerate(order):
        known = read[:, place] if mask is None else read[:, place][:, mask[channel].numpy()]
        known = known[~np.isnan(known)]
        if not known.size or (known == values.setdefault(channel, float(known[0]))).all():
            left.add(channel)
    return left
