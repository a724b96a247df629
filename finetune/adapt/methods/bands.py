"""Adapters by band of wave numbers for the weights of Fourier layers; the weights stay as they are.

A low-rank update of its own for every mode has an error that stays however long it is trained, and
grows with depth (F-Adapter, arXiv 2509.23173). Here the modes of an octave share a space of
channels, wide at low wave numbers and narrow at high ones, in which each mode has a matrix of its
own (see `operators/core/updates.Banded`). Published F-Adapters are nonlinear bottlenecks; these are
linear, so that they can be added to the weights when the run is published.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from ....datasets.base.annotations import AtLeastOne, Count, Positive, PositiveFraction
from ....datasets.base.config import Checked
from ....operators.core.operator import Operator
from ....operators.core.updates import Banded, bands, merge, owner, put
from ....operators.layers.spectral import SpectralConvolution
from .base import Method
from .lora import update_low_rank
from .naming import matching


@dataclass(frozen=True)
class BandsConfig(Checked):
    """Adapters of Fourier layers by band, and low-rank updates of other weights.

    Names may be those of modules or parameters, or patterns such as `mixing.*.globals`.

    Attributes:
        name: "bands".
        weights: names of what is updated.
        rank: channels of the space of the lowest band, wave numbers 0 and 1.
        narrowing: the space of every further band is so much of the one before.
        alpha: updates are scaled by alpha / rank.
        local_rank: of the low-rank updates of linear and convolution weights; 0: none.
        train: names of what is trained as it is beside the updates, such as what maps fields to
            channels and back where fields are new.
    """

    name: Literal["bands"] = "bands"
    weights: tuple[str, ...] = ("*",)
    rank: AtLeastOne = 16
    narrowing: PositiveFraction = 0.5
    alpha: Positive = 16.0
    local_rank: Count = 4
    train: tuple[str, ...] = ()


class Bands(Method[BandsConfig]):
    """Updates by band of the Fourier layers, of low rank of the other weights."""

    Config = BandsConfig
    remedy = "name them in method.train"

    def prepare(self, operator: Operator, seed: int) -> tuple[str, ...]:
        """Put an update on every chosen weight and freeze the rest; see `Method.prepare`."""
        config, generator = self.config, torch.Generator().manual_seed(seed)
        named = dict(operator.named_parameters())
        whole = matching(named, config.train, "method.train")
        chosen = [
            name
            for name in matching(named, config.weights, "method.weights")
            if name not in whole and named[name].requires_grad
        ]
        spectral = [name for name in chosen if _is_spectral(operator, name)]
        if not spectral:
            raise ValueError(
                f"method.weights: {operator.name} has no Fourier layers there, whose wave numbers "
                "bands are of; use method.name lora"
            )
        kept = tuple(name for name in named if name not in whole)
        for name in kept:
            named[name].requires_grad_(False)
        for name in spectral:
            put(operator, name, self._update(named[name], generator))
        if config.local_rank:
            rest = [name for name in chosen if name not in spectral]
            scale = config.alpha / config.rank
            update_low_rank(operator, rest, config.local_rank, scale, generator)
        return kept

    def finish(self, operator: Operator) -> None:
        """Add every update to its weight, which is a plain parameter again."""
        merge(operator)

    def _update(self, weight: torch.Tensor, generator: torch.Generator) -> Banded:
        config, widest = self.config, min(weight.shape[-3:-1])
        count = bands(tuple(weight.shape[:-3]))
        wanted = (round(config.rank * config.narrowing**band) for band in range(count))
        ranks = [min(widest, max(1, rank)) for rank in wanted]
        return Banded(weight, ranks, config.alpha / config.rank, generator)


def _is_spectral(operator: Operator, name: str) -> bool:
    module, leaf = owner(operator, name)
    return isinstance(module, SpectralConvolution) and leaf == "weight"
