"""Metrics that leave out where fields are not predicted (obstacles, unused fields).

A mask is True where a field is predicted. The values elsewhere are replaced by ones that change
neither the numerator nor the denominator of a metric, so that it is the metric over the rest.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from . import metrics

Field = Float[Tensor, "..."]  # (..., C, *S)
Mask = Bool[Tensor, "..."]  # the same shape, or one that broadcasts to it
Metric = Callable[[Tensor, Tensor, int], Tensor]
Fill = Callable[[Tensor, Tensor, Tensor, tuple[int, ...]], tuple[Tensor, Tensor]]


def masked_metric(
    name: str, prediction: Field, truth: Field, ndim: int, mask: Mask | None
) -> Float[Tensor, "..."]:
    """The relative metric `name` (of `RELATIVE`) over the predicted points, (..., C).

    Without a mask, the metric itself. A field that is masked entirely gives 0, which the caller
    leaves out by `scored`. What `metrics.well_vrmse` counts are all points, masked or not: N − 1
    is a little more than published, and its 1e-7 counts by the share that is predicted.
    """
    metric, fill = RELATIVE[name]
    return over_mask(metric, fill, prediction, truth, ndim, mask)


def over_mask(
    metric: Metric, fill: Fill, prediction: Field, truth: Field, ndim: int, mask: Mask | None
) -> Float[Tensor, "..."]:
    """A metric of the predicted points: `fill` says what stands in place of the others."""
    if mask is None:
        return metric(prediction, truth, ndim)
    instead = fill(prediction, truth, mask, tuple(range(truth.ndim - ndim, truth.ndim)))
    return metric(
        torch.where(mask, prediction, instead[0]), torch.where(mask, truth, instead[1]), ndim
    )


def masked_agrees(
    prediction: Field, truth: Field, ndim: int, mask: Mask | None, threshold: float
) -> Bool[Tensor, "..."]:
    """`metrics.agrees` over the predicted points, (..., C)."""
    if mask is None:
        return metrics.agrees(prediction, truth, ndim, threshold)
    space = tuple(range(truth.ndim - ndim, truth.ndim))
    correlation = masked_metric("correlation", prediction, truth, ndim, mask)
    # A value of the truth in place of what is masked leaves its range as it is.
    inside = torch.where(mask, truth, -torch.inf).amax(space, keepdim=True)
    prediction, truth = (torch.where(mask, field, inside) for field in (prediction, truth))
    exact = metrics.agrees(prediction, truth, ndim, torch.inf)
    return (correlation >= threshold) | exact


def masked_share(mask: Mask, ndim: int) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """The share of points that is predicted, of all and of those on the faces, (..., C).

    1 where there are none: an error over no points is 0.
    """
    ones = torch.ones_like(mask, dtype=torch.float64)
    shown = torch.where(mask, ones, 0.0)
    zero = torch.zeros_like(ones)
    shares = (shown.flatten(-ndim).mean(-1), metrics.brmse(shown, zero, ndim).square())
    return shares[0].masked_fill(shares[0] == 0, 1), shares[1].masked_fill(shares[1] == 0, 1)


def scored(mask: Mask, ndim: int) -> Bool[Tensor, "..."]:
    """Whether a field is predicted anywhere, (..., C)."""
    return mask.flatten(-ndim).any(-1)


def zeros(
    prediction: Tensor, truth: Tensor, mask: Tensor, space: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """0 for both: neither an error nor a size."""
    zero = truth.new_zeros(())
    return zero, zero


def truth_mean(
    prediction: Tensor, truth: Tensor, mask: Tensor, space: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """The truth's mean for both: neither an error nor a deviation."""
    mean = mean_over(truth, mask, space)
    return mean, mean


def _own_means(
    prediction: Tensor, truth: Tensor, mask: Tensor, space: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    return mean_over(prediction, mask, space), mean_over(truth, mask, space)


def mean_over(values: Tensor, mask: Tensor | None, space: tuple[int, ...]) -> Tensor:
    """The mean over the predicted points, with the axes kept; 0 where there are none.

    Args:
        values: of fields.
        mask: where they are predicted; None: everywhere.
        space: axes.
    """
    if mask is None:
        return values.mean(space, keepdim=True)
    count = mask.sum(space, keepdim=True).clamp_min(1)
    return torch.where(mask, values, 0).sum(space, keepdim=True) / count


# Metrics that can leave points out, and what stands there instead: it changes neither the error
# nor what it is divided by.
RELATIVE: dict[str, tuple[Metric, Fill]] = {
    "vrmse": (metrics.vrmse, truth_mean),
    "well_vrmse": (metrics.well_vrmse, truth_mean),
    "nrmse": (metrics.nrmse, zeros),
    "relative_l1": (metrics.relative_l1, zeros),
    "correlation": (metrics.correlation, _own_means),
}
