"""Findings about precision: a large offset leaves single precision few digits of a variation."""

from __future__ import annotations

import math

import numpy as np

from ..stores.store import Store
from .findings import Finding

SAMPLES = 8  # trajectories that are looked at, and
VALUES, FRAMES = 2**20, 8  # as many values and frames of each
LOST = 1e-3  # rounding over variation that is reported
EXACT = 1e-11  # variation over offset that is rounding in double precision


def rounding_findings(store: Store) -> dict[str, Finding]:
    """Field -> what is said of it, where its variation is (nearly) lost in single precision."""
    chosen = np.unique(np.linspace(0, len(store) - 1, SAMPLES).round().astype(int)).tolist()
    samples = [_sample(store, i) for i in chosen]
    found = {}
    for channel, name in enumerate(store.fields):
        parts = [sample[:, channel] for sample in samples]
        finite = [part[np.isfinite(part)] for part in parts]
        finding = _finding(name, [part for part in finite if part.size])
        if finding:
            found[name] = finding
    return found


def _finding(name: str, parts: list[np.ndarray]) -> Finding | None:
    if not parts:
        return None
    std = float(np.sqrt(np.mean([part.var() for part in parts])))
    offset = float(np.mean([part.mean() for part in parts]))
    largest = max(float(np.abs(part).max()) for part in parts)
    step = float(np.spacing(np.float32(largest)))
    if std <= EXACT * largest or step / math.sqrt(12) <= LOST * std:
        return None
    left = "its variation is lost" if std < 2 * step else f"{std / step:.3g} steps are left of it"
    return Finding(
        "warning",
        "precision",
        f"{name!r} varies by {std:.3g} around {offset:.8g}, where single precision has steps of "
        f"{step:.3g}: {left}",
        f"`subtract: {{{name}: mean}}` in its description.yaml (or a number in place of mean); "
        f"where the file itself is in single precision, write the deviation from {offset:.6g}",
    )


def _sample(store: Store, i: int) -> np.ndarray:
    """Frames (T, C, *S) of a trajectory, as exactly as its file has them."""
    source, local = store.source_of(i)
    most = VALUES // (len(store.fields) * math.prod(store.grid.shape))
    stride = -(-store.n_frames(i) // min(max(most, 1), FRAMES))
    return source.read_exactly(local, slice(0, None, stride), range(len(store.fields)))
