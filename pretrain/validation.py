"""Validation: rollouts scored as predicted, over all processes, with persistence beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor, nn

from ..datasets.fields.window import Window, collate
from .objectives.losses import mean_metric

Validated = dict[str, tuple[float, float]]  # dataset -> VRMSE of model and persistence


def validate(
    model: nn.Module,
    predict: Callable[[Window, int], Tensor],
    windows: Mapping[str, Sequence[Window]],
    batch: int,
    accelerator: Accelerator,
    stops: Callable[[], bool],
) -> Validated | None:
    """Mean VRMSE of model and persistence per dataset, over windows, frames and fields.

    What is masked does not count. A steady problem has no frame to persist: zero takes its place.
    Every process must call it. Values are infinite where a rollout is not finite. None, where it
    was told to stop on the way.

    Args:
        model: the prepared operator.
        predict: the prediction of a batch, given the number of its first window.
        windows: per dataset, what to predict.
        batch: windows at a time.
        accelerator: from `prepare`.
        stops: whether to stop, asked before every batch; the same on all processes.
    """
    model.eval()
    scores = {}
    for name, items in windows.items():
        score = _score(predict, items, batch, accelerator, stops)
        if score is None:
            break
        scores[name] = score
    model.train()
    return scores if len(scores) == len(windows) else None


@torch.no_grad()
def _score(
    predict: Callable[[Window, int], Tensor],
    windows: Sequence[Window],
    batch: int,
    accelerator: Accelerator,
    stops: Callable[[], bool],
) -> tuple[float, float] | None:
    if len({(w.context.dt, tuple(w.lead_times.tolist())) for w in windows}) > 1:
        batch = 1  # windows of one batch share their time step
    ranks, rank = accelerator.num_processes, accelerator.process_index
    total = torch.zeros(3, dtype=torch.float64, device=accelerator.device)
    # Every process makes the same number of forward passes: sharded models wait for each other.
    rounds = math.ceil(len(windows) / (batch * ranks))
    for i in range(rounds):
        if stops():
            return None
        start = (i * ranks + rank) * batch
        chosen = windows[start : start + batch]
        window = collate(chosen or windows[:1]).to(accelerator.device)
        prediction = predict(window, start)
        if chosen:
            for j, guess in enumerate((prediction, _persistence(window))):
                total[j] += mean_metric("vrmse", guess, window).double() * len(chosen)
            total[2] += len(chosen)
    summed = accelerator.reduce(total, "sum")
    assert isinstance(summed, torch.Tensor)
    model_sum, persistence_sum, count = summed.tolist()
    score = model_sum / count
    return score if math.isfinite(score) else math.inf, persistence_sum / count


def _persistence(window: Window) -> Float[Tensor, "B T C *S"]:
    """The last history frame at every lead time; zero for a steady problem."""
    if window.context.steady:
        return torch.zeros_like(window.target)
    return window.history[:, -1:].expand_as(window.target)
