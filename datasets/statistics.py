"""Statistics of training data, per dataset and pooled, for the `statistics` normaliser."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add

import numpy as np

from .moments import BLOCK, Moments
from .normalization import POOLED, Statistics
from .store import UNSPLIT, Store

FLOOR = 1e-6  # smallest standard deviation, as a fraction of the root mean square


def pooled_statistics(stores: Sequence[Store]) -> Statistics:
    """Mean and standard deviation of every field, from the training trajectories of each store.

    Over trajectories, time and space, in one pass and constant memory. In the pooled entry every
    dataset that has the field counts the same, whatever its size. A standard deviation is at
    least one millionth of the root mean square, and 1 for a field that is zero everywhere.

    Raises:
        ValueError: two stores have the same name, or a store holds no training trajectories.
    """
    tables: dict[str, dict[str, tuple[float, float]]] = {}
    for store in stores:
        if store.name in tables:
            raise ValueError(f"two datasets are named {store.name!r}; names must be unique")
        moments = _moments(store)
        pairs = zip(moments.mean.tolist(), moments.std.tolist(), strict=True)
        tables[store.name] = dict(zip(store.fields, pairs, strict=True))
    tables[POOLED] = _pool([*tables.values()])
    return Statistics(
        {
            name: {field: mean for field, (mean, _) in table.items()}
            for name, table in tables.items()
        },
        {
            name: {field: _floored(mean, std) for field, (mean, std) in table.items()}
            for name, table in tables.items()
        },
    )


def _moments(store: Store) -> Moments:
    """Moments of each channel of a store's training trajectories."""
    indices = store.splits.get("train", store.splits.get(UNSPLIT))
    if indices is None:
        raise ValueError(
            f"{store.name!r} was opened without its training split; statistics need it "
            f"(open_store(path) or open_store(path, 'train'))"
        )
    channels = len(store.fields)
    step = max(1, BLOCK // (channels * int(np.prod(store.grid.shape))))
    blocks = (
        store.read(i, start, min(start + step, store.n_frames(i)))
        for i in indices
        for start in range(0, store.n_frames(i), step)
    )
    flat = (block.transpose(0, 1).flatten(1).T.numpy() for block in blocks)
    return reduce(add, map(Moments.of, flat))


def _pool(tables: Sequence[dict[str, tuple[float, float]]]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of the equal-weight mixture of the datasets, by field."""
    pooled = {}
    for field in dict.fromkeys(field for table in tables for field in table):
        mean, std = np.array([table[field] for table in tables if field in table]).T
        centre = mean.mean()
        pooled[field] = (
            float(centre),
            float(np.sqrt((std**2 + (mean - centre) ** 2).mean())),
        )
    return pooled


def _floored(mean: float, std: float) -> float:
    return max(std, FLOOR * float(np.hypot(mean, std))) or 1.0
