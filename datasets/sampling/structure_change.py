"""How fast the frames of training data change: the structure-change coefficient of DyMixOp."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..stores.store import Store
from .scales import training_part

# Pairs of frames to look at per dataset, evenly spread over its training trajectories.
PAIRS = 256


def structure_change(
    stores: Sequence[Store], fields: Sequence[str], strides: Sequence[int]
) -> float:
    """τ = 1 − the mean cosine similarity of consecutive training frames (arXiv 2508.13490).

    0 for frames that do not change, 1 for unrelated ones. Similarity is that of deviations from
    the mean of the pair, field by field, so that neither units nor an offset (a level of pressure)
    matter; a field without deviations counts as unchanged. Every dataset counts the same. At most
    `PAIRS` pairs of a dataset are read.

    Args:
        stores: datasets with a training split.
        fields: which fields count; of a dataset, those that it has.
        strides: stored frames per time step, by store.

    Raises:
        ValueError: a trajectory has a single frame, or a dataset was opened without its training
            split.
    """
    means = [_of_store(*pair, fields) for pair in zip(stores, strides, strict=True)]
    return 1 - float(np.mean(means))


def _of_store(store: Store, stride: int, fields: Sequence[str]) -> float:
    """Mean similarity of frames that lie `stride` apart."""
    indices = training_part(store)
    channels = [store.fields.index(name) for name in fields if name in store.fields]
    # Pairs of each trajectory, and of all up to it: in large datasets too many to list.
    counts = [max(0, store.n_frames(i) - stride - store.first) for i in indices]
    ends = np.cumsum(counts)
    if not any(counts):
        raise ValueError(
            f"{store.name!r} has no two frames that lie {stride} apart; use a smaller stride"
        )
    chosen = np.unique(np.linspace(0, ends[-1] - 1, PAIRS).round().astype(int))
    places = np.searchsorted(ends, chosen, side="right").tolist()
    first = (store.first + chosen - ends[places] + np.array(counts)[places]).tolist()
    read = (
        store.read(indices[place], k, k + stride + 1, stride)
        for place, k in zip(places, first, strict=True)
        if _whole(store, indices[place], k, k + stride)
    )
    found = [similarity(frames[:, channels]).mean().item() for frames in read]
    if not found:
        raise ValueError(
            f"{store.name!r} has no two frames that lie {stride} apart without missing values"
        )
    return float(np.mean(found))


def _whole(store: Store, i: int, *frames: int) -> bool:
    """Whether none of some frames of trajectory i has holes that are skipped."""
    whole = store.whole_frames(i)
    return whole is None or all(whole[frame] for frame in frames)


def similarity(frames: Float[Tensor, "2 C *S"]) -> Float[Tensor, " C"]:
    """Cosine similarity of two frames about their common mean, per channel."""
    flat = frames.double().flatten(2)
    flat = flat - flat.mean((0, 2), keepdim=True)
    first, second = flat
    norms = torch.linalg.vector_norm(flat, dim=2).prod(0)
    cosine = (first * second).sum(1) / norms
    return torch.where(norms > 0, cosine, torch.ones_like(norms))
