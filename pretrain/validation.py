"""Validation: rollouts scored as predicted, over all processes, with persistence beside them.

Trajectories of all datasets are dealt to the processes in order, by cost, and each process reads
its own. Scores are summed window by window in one order, so that they are the same for every number
of processes, but for the rounding of predictions in batches of other sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor, nn

from ..datasets.fields.window import Window, collate
from .held_out import LongWindows
from .objectives.losses import metric_sums

Validated = dict[str, tuple[float, float]]  # dataset -> VRMSE of model and persistence
Predict = Callable[[Window, int], Float[Tensor, "B T C *S"]]


class _Batch(NamedTuple):
    """Windows that are predicted at once: of one dataset, and where their scores stand."""

    dataset: str
    numbers: range
    place: int


def validate(
    model: nn.Module,
    predict: Predict,
    windows: Mapping[str, LongWindows],
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
    sums = _sums(predict, windows, batch, accelerator, stops)
    model.train()
    return None if sums is None else _scores(windows, sums)


@torch.no_grad()
def _sums(
    predict: Predict,
    windows: Mapping[str, LongWindows],
    batch: int,
    accelerator: Accelerator,
    stops: Callable[[], bool],
) -> list[list[float]] | None:
    """Of each window: the errors of model and persistence, summed, and how many they are."""
    shares = _deal(windows, batch, accelerator.num_processes)
    mine, device = shares[accelerator.process_index], accelerator.device
    spare = _Batch(next(iter(windows)), range(1), 0)
    count = sum(len(of) for of in windows.values())
    found = torch.zeros(count, 3, dtype=torch.float64, device=device)
    # Every process makes the same number of forward passes: sharded models wait for each other.
    for i in range(max(map(len, shares))):
        if stops():
            return None
        name, numbers, place = mine[i] if i < len(mine) else spare
        window = collate([windows[name][number] for number in numbers]).to(device)
        prediction = predict(window, numbers.start)
        if i < len(mine):
            errors, counts = metric_sums("vrmse", prediction, window)
            still, _ = metric_sums("vrmse", _persistence(window), window)
            found[place : place + len(numbers)] = torch.stack([errors, still, counts], dim=1)
    summed = accelerator.reduce(found, "sum")  # of each window, one process has more than 0
    assert isinstance(summed, Tensor)
    return summed.tolist()


def _deal(windows: Mapping[str, LongWindows], batch: int, processes: int) -> list[list[_Batch]]:
    """The batches of every process: each has a stretch of all windows, of about the same cost."""
    costs = [of.cost for of in windows.values() for _ in of.numbers]
    total, before, owners = sum(costs), 0, []
    for cost in costs:
        owners.append((2 * before + cost) * processes // (2 * total))
        before += cost
    shares: list[list[_Batch]] = [[] for _ in range(processes)]
    first = 0
    for name, of in windows.items():
        size = batch if of.alike else 1  # windows of one batch share their time step
        own = owners[first : first + len(of)]
        for owner in sorted({*own}):
            start, stop = own.index(owner), len(own) - own[::-1].index(owner)
            shares[owner] += [
                _Batch(name, range(i, min(i + size, stop)), first + i)
                for i in range(start, stop, size)
            ]
        first += len(of)
    return shares


def _scores(windows: Mapping[str, LongWindows], sums: Sequence[Sequence[float]]) -> Validated:
    """Means over each dataset's windows."""
    scores, first = {}, 0
    for name, of in windows.items():
        model, still, count = map(math.fsum, zip(*sums[first : first + len(of)], strict=True))
        score = model / count if count else 0.0
        scores[name] = (score if math.isfinite(score) else math.inf, still / max(count, 1.0))
        first += len(of)
    return scores


def _persistence(window: Window) -> Float[Tensor, "B T C *S"]:
    """The last history frame at every lead time; zero for a steady problem."""
    if window.context.steady:
        return torch.zeros_like(window.target)
    return window.history[:, -1:].expand_as(window.target)
