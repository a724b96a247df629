"""Forecasts that need no training, beside which a trained one should be seen.

climatology: the mean of the other trajectories, at every lead time the same. damped persistence:
climatology + ρ_k (last frame − climatology), ρ_k the regression of anomalies k steps later on those
before, over the other trajectories. dmd: the linear map of the history's own frames goes on.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ...datasets.fields.dynamics import dmd_forecast
from ...datasets.fields.metrics import vrmse


def baselines(
    history: Float[Tensor, "N H C *S"], truth: Float[Tensor, "N T C *S"]
) -> dict[str, Float[Tensor, " T"]]:
    """VRMSE of each at every lead time, a mean over trajectories and fields.

    The first two need two trajectories, the last two frames of history; else they are missing.
    """
    ndim = truth.ndim - 3
    frames = {}
    if len(truth) > 1:
        frames["climatology"], frames["damped persistence"] = _from_others(history[:, -1], truth)
    if history.shape[1] > 1:
        frames["dmd"] = _dmd(history, truth.shape[1])
    return {name: vrmse(found, truth, ndim).mean((0, 2)) for name, found in frames.items()}


def _from_others(last: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Climatology and damped persistence, each trajectory's from all but itself."""
    count = len(truth)
    total = truth.mean(1)
    rest = (total.sum(0) - total) / (count - 1)  # (N, C, *S)
    space = tuple(range(2, last.ndim))
    begin = last - rest
    later = truth - rest.unsqueeze(1)
    # ⟨a_0 a_k⟩ / ⟨a_0²⟩ per field, of the others.
    products = (later * begin.unsqueeze(1)).sum(tuple(s + 1 for s in space))  # (N, T, C)
    squares = begin.square().sum(space).unsqueeze(1)
    share = _others(products) / _others(squares).clamp_min(1e-300)
    share = share.reshape(*share.shape, *(1,) * len(space))
    climatology = rest.unsqueeze(1).expand_as(truth)
    return climatology, climatology + share * begin.unsqueeze(1)


def _others(values: Tensor) -> Tensor:
    return values.sum(0) - values


def _dmd(history: Tensor, steps: int) -> Tensor:
    """Each field's size is one, so that none counts for its unit."""
    space = tuple(range(3, history.ndim))
    size = history.square().mean((1, *space), keepdim=True).sqrt().clamp_min(1e-300)
    frames = torch.stack([dmd_forecast(one.flatten(1), steps) for one in history / size])
    return frames.reshape(len(history), steps, *history.shape[2:]) * size
