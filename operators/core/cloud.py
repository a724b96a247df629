"""Where training states lie together in the space of their features, and how far another one is.

A state may have every feature within its range and still be like no state of the training data, as
a large amplitude at a small scale where large ones were always smooth. The Mahalanobis distance
√((f − μ)ᵀ Σ⁻¹ (f − μ)) sees that: Σ is the covariance of the features (see `fields.features`) of
all channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...datasets.fields.features import FEATURES, NARROWEST

FEWEST = 4  # states for each feature, below which a covariance says little
_PART = 0.25  # of a feature's narrowest range: the least standard deviation


@dataclass(frozen=True)
class Cloud:
    """The features of training states.

    Attributes:
        features: for each channel, in this order.
        channels: in this order.
        centre: μ, of all features of the first channel, then of the next, ….
        covariance: Σ, with what keeps it regular.
        reach: largest distance of a training state.
        states: how many there were.
    """

    features: tuple[str, ...]
    channels: tuple[str, ...]
    centre: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    reach: float
    states: int

    def distances(
        self, seen: Float[Tensor, "N C features"], channels: Sequence[str]
    ) -> Float[Tensor, " N"] | None:
        """How far states are from the centre; None where they have other channels."""
        if self.features != FEATURES or set(self.channels) - set(channels):
            return None
        order = [list(channels).index(name) for name in self.channels]
        rows = seen[:, order].flatten(1).double()
        return _distances(rows, _tensor(self.centre), _tensor(self.covariance))


def cloud_of(rows: Float[Tensor, "n C features"], channels: Sequence[str]) -> Cloud | None:
    """The cloud of the features of training states; None where they are too few.

    Σ is drawn towards its diagonal by as much as the number of states is small, and no feature
    counts as better known than a part of the narrowest range that it is given.
    """
    count, size = len(rows), rows.shape[1] * rows.shape[2]
    flat = rows.double().flatten(1)
    if count < FEWEST * size or not flat.isfinite().all():
        return None
    centre = flat.mean(0)
    covariance = torch.cov(flat.T).reshape(size, size)
    share = size / count
    own = covariance.diagonal()
    covariance = (1 - share) * covariance + share * own.diag()
    covariance = covariance + _least(rows).square().diag()
    centre, covariance = _rounded(centre), _rounded(covariance)
    return Cloud(
        features=FEATURES,
        channels=tuple(channels),
        centre=tuple(centre.tolist()),
        covariance=tuple(map(tuple, covariance.tolist())),
        reach=float(f"{_distances(flat, centre, covariance).max().item():.6g}"),
        states=count,
    )


def _least(rows: Tensor) -> Float[Tensor, " size"]:
    """The least standard deviation of every feature; of means in units of the field."""
    sizes = 10 ** rows[..., FEATURES.index("deviation")].double().amax(0)  # (C,)
    found = []
    for size in sizes.tolist():
        for name in FEATURES:
            found.append(_PART * NARROWEST[name] * (size if name == "mean" else 1.0))
    return torch.tensor(found, dtype=torch.float64).clamp_min(math.ulp(1.0))


def _distances(rows: Tensor, centre: Tensor, covariance: Tensor) -> Float[Tensor, " N"]:
    away = (rows - centre)[..., None]
    solved = torch.linalg.solve(covariance.expand(len(rows), -1, -1), away)
    return (away * solved).sum((1, 2)).clamp_min(0.0).sqrt()


def _rounded(values: Tensor) -> Tensor:
    """With eight digits, as they are written."""
    flat = [float(f"{value:.8g}") for value in values.flatten().tolist()]
    return torch.tensor(flat, dtype=torch.float64).reshape(values.shape)


def _tensor(values: Sequence[float] | Sequence[Sequence[float]]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
