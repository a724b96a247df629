"""What training minimises: a scale-free loss of the unrolled prediction."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from ...datasets.fields.masking import (
    RELATIVE,
    Fill,
    Metric,
    over_mask,
    scored,
    truth_mean,
    zeros,
)
from ...datasets.fields.metrics import EPSILON, nrmse, relative_l1, root
from ...datasets.fields.normalization import Normalizer
from ...datasets.fields.vocabulary import vectors
from ...datasets.fields.window import Window

LOSSES = ("vrmse", "relative_l1", "relative_l2", "relative_mse", "grouped_relative_l1")


def loss_of(
    name: str, prediction: Float[Tensor, "B T C *S"], window: Window, normalizer: Normalizer
) -> Float[Tensor, ""]:
    """The loss `name` of a prediction of `window.target`."""
    if name == "grouped_relative_l1":
        return grouped_relative_l1(prediction, window, normalizer)
    if name == "relative_mse":
        return relative_mse(prediction, window)
    return _mean(*_MEANS[name], prediction, window)


def metric_sums(
    name: str, prediction: Float[Tensor, "B T C *S"], window: Window
) -> tuple[Float64[Tensor, " B"], Float64[Tensor, " B"]]:
    """A metric per frame and field, summed over those of each window, and how many they are.

    What is masked does not count, and neither does a field that is masked entirely.
    """
    values, weights = _weighted(*RELATIVE[name], prediction, window)
    parts = (values.double() * weights, weights.double().expand_as(values))
    sums, counts = (part.flatten(1).sum(1) for part in parts)
    return sums, counts


def damped_vrmse(prediction: Tensor, truth: Tensor, ndim: int) -> Float[Tensor, "..."]:
    """√(⟨(p − y)²⟩ / (⟨(y − ⟨y⟩)²⟩ + 1e-7)): as a loss, the VRMSE of no more than a bounded weight.

    Frames that hardly vary would else outweigh all others. Per channel, (..., C).
    """
    space = tuple(range(truth.ndim - ndim, truth.ndim))
    error = (prediction - truth).square().mean(space)
    variance = (truth - truth.mean(space, keepdim=True)).square().mean(space)
    return root(error / (variance + 1e-7))


# Losses that are means of a measure per frame and field. Frames of rounding errors alone would
# outweigh all others: as a loss, a relative error has a smallest divisor.
_MEANS: dict[str, tuple[Metric, Fill]] = {
    "vrmse": (damped_vrmse, truth_mean),
    "relative_l1": (partial(relative_l1, least=EPSILON), zeros),
    "relative_l2": (partial(nrmse, least=EPSILON), zeros),
}


def _mean(
    metric: Metric, fill: Fill, prediction: Float[Tensor, "B T C *S"], window: Window
) -> Float[Tensor, ""]:
    values, weights = _weighted(metric, fill, prediction, window)
    if window.context.mask is None:
        return values.mean()
    return (values * weights).sum() / weights.sum().clamp_min(1)


def _weighted(
    metric: Metric, fill: Fill, prediction: Float[Tensor, "B T C *S"], window: Window
) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "B T C"]]:
    """A metric per frame and field, and 1 where it counts: where anything is predicted."""
    ndim, mask = window.grid.ndim, window.context.mask
    if mask is None:
        values = metric(prediction, window.target, ndim)
        return values, values.new_ones(()).expand_as(values)
    values = over_mask(metric, fill, prediction, window.target, ndim, mask.unsqueeze(1))
    return values, scored(mask, ndim).to(values).unsqueeze(1).expand_as(values)


def relative_mse(prediction: Float[Tensor, "B T C *S"], window: Window) -> Float[Tensor, ""]:
    """‖e‖² / ‖y‖² over the whole batch (DyMixOp's loss), without what is masked."""
    truth, mask = window.target, window.context.mask
    error = prediction - truth
    if mask is not None:
        error, truth = (torch.where(mask.unsqueeze(1), x, 0) for x in (error, truth))
    return error.square().sum() / truth.square().sum()


def grouped_relative_l1(
    prediction: Float[Tensor, "B T C *S"], window: Window, normalizer: Normalizer
) -> Float[Tensor, ""]:
    """Mean over groups of Σ|ŷ − y| / (Σ|y| + 1e-10), sums over the whole batch (Poseidon's loss).

    In normalised units. The components of a vector (velocity_x, velocity_y, …) are one group;
    every other field is its own. As published, what is masked has no error, and its truth counts.
    """
    context, mask = window.context, window.context.mask
    if mask is not None:
        prediction = torch.where(mask.unsqueeze(1), prediction, window.target)
    scaling = normalizer.scaling(
        window.history, context.fields, context.dataset, inputs=context.inputs
    ).target
    guess, truth = scaling.encode(prediction), scaling.encode(window.target)
    terms = []
    for group in vectors(context.fields):
        own = _channels(truth, group)
        error = (_channels(guess, group) - own).abs().sum()
        terms.append(error / (own.abs().sum() + 1e-10))
    return torch.stack(terms).mean()


def _channels(x: Float[Tensor, "B T C *S"], group: Sequence[int]) -> Float[Tensor, "B T G *S"]:
    """Some channels, without a copy of their numbers to the device, for which the host waits."""
    first, last = group[0], group[-1]
    if [*group] == [*range(first, last + 1)]:
        return x[:, :, first : last + 1]
    return torch.stack([x.select(2, channel) for channel in group], 2)
