"""Some trajectories of a store, chosen by a seed: a larger number contains a smaller one."""

from __future__ import annotations

import torch

from .store import Store
from .views import View


def choose(store: Store, count: int | None, seed: int = 0) -> list[int]:
    """Numbers of `count` trajectories, in their order; None: of all.

    Raises:
        ValueError: there are not so many.
    """
    if count is None:
        return list(range(len(store)))
    if not 1 <= count <= len(store):
        raise ValueError(
            f"{store.name!r} has {len(store)} trajectories; cannot use {count} of them: give "
            f"data.trajectories 1 to {len(store)}, or null for all"
        )
    order = torch.randperm(len(store), generator=torch.Generator().manual_seed(seed))
    return sorted(order[:count].tolist())


def chosen(store: Store, count: int | None, seed: int = 0) -> Store:
    """A store of the trajectories that `choose` names, and of nothing else.

    Raises:
        ValueError: as `choose`.
    """
    picked = choose(store, count, seed)
    if len(picked) == len(store):
        return store
    parts, start = [], 0
    for source in store.sources:
        inside = [i - start for i in picked if start <= i < start + len(source)]
        if inside:
            split = next(name for name, part in store.splits.items() if start in part)
            parts.append((split, View(source, inside)))
        start += len(source)
    return Store(parts)
