"""How far predictions may go: a projection onto the states of a dissipative system.

A dissipative system ends in a bounded set of states and stays there; an operator that has learned
a step of it need not, and its rollouts may grow without end. Li et al. (2022, arXiv 2106.06898)
make the learned map dissipative outside of a ball. Here the ball is given for each field by its
mean over the domain and its deviation from that, and what leaves it is put onto its surface. Where
fields are masked (land, obstacles), the domain is what is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .masking import mean_over


@dataclass(frozen=True)
class Limits:
    """Bounds of each sample and field, shaped (B, C, 1, …) to broadcast over space.

    Attributes:
        low, high: of the mean over the domain.
        deviation: the largest standard deviation over the domain.
    """

    low: Tensor
    high: Tensor
    deviation: Tensor

    def hold(
        self, fields: Float[Tensor, "B C *S"], mask: Bool[Tensor, "#B C *S"] | None = None
    ) -> Float[Tensor, "B C *S"]:
        """The nearest fields within the bounds, in root mean square; within, the fields.

        With m the mean of u over the domain and σ its deviation: m' + (u − m) · min(1, largest/σ),
        where m' is m, or the bound that it is beyond.

        Args:
            fields: predicted.
            mask: where they count; None: everywhere.
        """
        space = tuple(range(2, fields.ndim))
        mean = mean_over(fields, mask, space)
        anomaly = fields - mean
        smallest = torch.finfo(fields.dtype).tiny
        deviation = mean_over(anomaly.square(), mask, space).clamp_min(smallest).sqrt()
        factor = (self.deviation / deviation).clamp_max(1.0)
        moved = mean.clamp(self.low, self.high) - mean
        inside = (factor == 1.0) & (moved == 0.0)
        return torch.where(inside, fields, anomaly * factor + (mean + moved))
