"""What training minimises: a scale-free loss of the unrolled prediction."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from ..datasets import metrics
from ..datasets.fields import Window


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


LOSSES: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "vrmse": _mean_of(metrics.vrmse),
    "relative_l1": _mean_of(metrics.relative_l1),
    "relative_l2": _mean_of(metrics.relative_l2),
    "relative_mse": relative_mse,
}


def loss_of(name: str, prediction: Float[Tensor, "B T C *S"], window: Window) -> Float[Tensor, ""]:
    """The loss `name` of a prediction of `window.target`."""
    return LOSSES[name](prediction, window.target, window.grid.ndim)
