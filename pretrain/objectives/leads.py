"""Weights of the lead times of a rollout in its loss.

    loss = Σ_k w_k L_k / Σ_k w_k,    w_k = decay^k / b_k    (k = 0 the first lead time)

`learned`: b_k is the running mean of L_k. That is where the likelihood Σ_k [L_k / b_k + log b_k]
has its optimum in b (a scale of the error per lead time), whose gradient in the weights of the
operator is this one. Later lead times, which err more, then count less. Else b_k = 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...datasets.base.annotations import BelowOne, Positive
from ...datasets.base.config import Checked
from .learning import Means


@dataclass(frozen=True)
class LeadsConfig(Checked):
    """How lead times are weighted.

    Attributes:
        decay: weight of a lead time over that of the one before it.
        learned: whether each is also divided by the running mean of its own loss.
        memory: share of that mean which stays at every optimizer step.
    """

    decay: Positive = 1.0
    learned: bool = False
    memory: BelowOne = 0.99


class LeadWeights:
    """The weights at work.

    Args:
        config: see `LeadsConfig`.
        horizon: the largest number of lead times.
    """

    def __init__(self, config: LeadsConfig, horizon: int) -> None:
        self.config = config
        self.scales = Means(horizon, config.memory) if config.learned else None

    def mean(self, losses: Float[Tensor, " K"]) -> Float[Tensor, ""]:
        """The weighted mean of the losses of the first K lead times."""
        k = torch.arange(len(losses), device=losses.device, dtype=losses.dtype)
        weights = self.config.decay**k
        if self.scales is not None:
            weights = weights / self.scales.mean(1.0, losses)[: len(losses)]
            self._note(self.scales, losses.detach())
        return (weights * losses).sum() / weights.sum()

    @staticmethod
    def _note(scales: Means, losses: Tensor) -> None:
        later = scales.width // 2 - len(losses)  # that a growing horizon has not reached
        zeros = losses.new_zeros(later)
        scales.note_sums(torch.cat((losses, zeros)), torch.cat((torch.ones_like(losses), zeros)))
