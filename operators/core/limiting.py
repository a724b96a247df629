"""How far the predictions of an operator may go, from what its training data are like."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ...datasets.fields.limits import Limits
from ...datasets.fields.masking import mean_over
from .trained import Range, Ranges, Trained


def limits_of(
    history: Float[Tensor, "B T C *S"],
    fields: Sequence[str],
    known: Sequence[Ranges],
    factor: float,
    mask: Bool[Tensor, "B C *S"] | None = None,
) -> Limits:
    """Bounds of what is predicted from a history.

    The deviation of a field over the domain may be `factor` times the largest one of the training
    data and of the history. Its mean may leave their range by `factor` − 1 times that deviation. A
    field that no training data had is not bounded.

    Args:
        history: what the forecast starts from.
        fields: names of its channels.
        known: of the training data.
        factor: at least 1.
        mask: where fields are predicted, which is then the domain; None: everywhere.
    """
    space = tuple(range(3, history.ndim))
    inside = None if mask is None else mask.unsqueeze(1)
    wide = mean_over(history, inside, space)
    sizes = mean_over((history - wide).square(), inside, space).sqrt().flatten(2).amax(1)
    means = wide.flatten(2)
    low, high, size = (_of(fields, known, history, k) for k in range(3))
    size = torch.maximum(size, sizes)
    slack = (factor - 1) * size.nan_to_num(posinf=0.0)  # where unknown, so are low and high
    low, high = (
        torch.minimum(low, means.amin(1)) - slack,
        torch.maximum(high, means.amax(1)) + slack,
    )
    broad = (..., *(None,) * len(space))
    return Limits(low[broad], high[broad], factor * size[broad])


def those_of(trained: Trained, dataset: str) -> Sequence[Ranges]:
    """The ranges that hold for a dataset: its own, or where it is unknown those of all."""
    return [trained[dataset]] if dataset in trained else [*trained.values()]


def _of(fields: Sequence[str], known: Sequence[Ranges], like: Tensor, which: int) -> Tensor:
    """Smallest mean, largest mean or largest deviation of each field, infinite where unknown."""
    found = [_widest(name, known)[which] for name in fields]
    return like.new_tensor(found)


def _widest(name: str, known: Sequence[Ranges]) -> tuple[float, float, float]:
    seen: list[dict[str, Range]] = [r.features[name] for r in known if name in r.features]
    if not seen:
        return -math.inf, math.inf, math.inf
    return (
        min(ranges["mean"][0] for ranges in seen),
        max(ranges["mean"][1] for ranges in seen),
        max(10 ** ranges["deviation"][1] for ranges in seen),
    )
