"""Findings about the grid: a periodic axis that holds both of its ends."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..stores.store import Store
from .findings import Finding

SAMPLES = 16  # trajectories that are looked at, in their first and last frame
EQUAL = 1e-5  # of a field's range
POINTS = 4  # fewer of them say nothing


def grid_findings(store: Store) -> Iterator[Finding]:
    """Periodic axes whose last point is their first one again."""
    chosen = np.unique(np.linspace(0, len(store) - 1, SAMPLES).round().astype(int)).tolist()
    frames = np.concatenate([_sample(store, i) for i in chosen])
    for k, axis in enumerate(store.axes):
        n = store.grid.shape[k]
        if "periodic" not in store.grid.boundary[k] or n < POINTS:
            continue
        if not _doubled(np.moveaxis(frames, 2 + k, -1)):
            continue
        length = store.grid.lengths[k]
        yield Finding(
            "warning",
            "both_ends",
            f"axis {axis} is periodic, and its first and last points have equal values in every "
            f"frame: it holds both ends, so its length is {length * (n - 1) / n:.6g} and not "
            f"{length:.6g}, and a point counts twice",
            f"write the arrays without the last point of {axis}: array[..., :-1] along that axis, "
            f"and its coordinates likewise",
        )


def _sample(store: Store, i: int) -> np.ndarray:
    """A few frames of a trajectory, and its constant fields where it is a steady problem."""
    last = store.n_frames(i) - 1
    frames = [store.read_raw(i, slice(t, t + 1)) for t in sorted({0, last})]
    return np.concatenate(frames)


def _doubled(values: np.ndarray) -> bool:
    """Whether the ends of the last axis are equal, and their neighbours are not."""
    values = values.astype(np.float64)
    finite = np.isfinite(values).reshape(*values.shape[:2], -1).min(axis=-1)
    found = []
    for channel in range(values.shape[1]):
        mine = values[finite[:, channel], channel]
        if not mine.size or np.ptp(mine) == 0:
            continue
        scale = EQUAL * np.ptp(mine)
        ends = np.abs(mine[..., 0] - mine[..., -1]).max()
        inside = min(
            np.abs(mine[..., 0] - mine[..., 1]).max(), np.abs(mine[..., -1] - mine[..., -2]).max()
        )
        if inside > 10 * scale:  # a field that does not vary along the axis says nothing
            found.append(ends <= scale)
    return bool(found) and all(found)
