"""What training minimises: a scale-free loss of the unrolled prediction."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..datasets import metrics
from ..datasets.fields import Window
from ..datasets.normalization import Normalizer


def relative_mse(
    prediction: Float[Tensor, "B T C *S"], truth: Float[Tensor, "B T C *S"], ndim: int
) -> Float[Tensor, ""]:
    """‖e‖² / ‖y‖² over the whole batch (DyMixOp's loss)."""
    return (prediction - truth).square().sum() / truth.square().sum()


def _mean_of(metric: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The mean over windows, frames and fields of a per-frame metric."""

    def loss(prediction: Tensor, truth: Tensor, ndim: int) -> Tensor:
        return metric(prediction, truth, ndim).mean()

    return loss


def grouped_relative_l1(
    prediction: Float[Tensor, "B T C *S"], window: Window, normalizer: Normalizer
) -> Float[Tensor, ""]:
    """Mean over groups of Σ|ŷ − y| / (Σ|y| + 1e-10), sums over the whole batch (Poseidon's loss).

    In normalised units. The components of a vector (velocity_x, velocity_y, …) are one group;
    every other field is its own.
    """
    scaling = normalizer.scaling(window.history, window.fields, window.dataset)
    guess, truth = scaling.encode(prediction), scaling.encode(window.target)
    terms = []
    for group in vector_groups(window.fields):
        error = (guess[:, :, group] - truth[:, :, group]).abs().sum()
        terms.append(error / (truth[:, :, group].abs().sum() + 1e-10))
    return torch.stack(terms).mean()


def vector_groups(fields: Sequence[str]) -> list[list[int]]:
    """Channel indices grouped by vector: `velocity_x` and `velocity_y` belong together."""
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(fields):
        stem, _, axis = name.rpartition("_")
        groups.setdefault(stem if stem and axis in ("x", "y", "z") else name, []).append(index)
    return list(groups.values())


_METRICS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "vrmse": _mean_of(metrics.vrmse),
    "relative_l1": _mean_of(metrics.relative_l1),
    "relative_l2": _mean_of(metrics.relative_l2),
    "relative_mse": relative_mse,
}


LOSSES = (*_METRICS, "grouped_relative_l1")


def loss_of(
    name: str, prediction: Float[Tensor, "B T C *S"], window: Window, normalizer: Normalizer
) -> Float[Tensor, ""]:
    """The loss `name` of a prediction of `window.target`."""
    if name == "grouped_relative_l1":
        return grouped_relative_l1(prediction, window, normalizer)
    return _METRICS[name](prediction, window.target, window.grid.ndim)
