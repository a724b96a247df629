"""Low-rank adaptation (LoRA, Hu et al. 2021, arXiv 2106.09685): W + α/r · B A in place of W.

W stays as it is and A (r, columns) and B (rows, r) are trained: far fewer numbers, of which the
optimizer keeps moments. B starts at zero, so that training starts from the very same function. A
convolution is the matrix of its outputs by inputs and taps; a spectral convolution has one matrix
per mode, and an update for each (whose error is known to floor with depth: see `bands`). When the
run is published W + α/r · B A is the weight, and the checkpoint is like any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from ....datasets.base.annotations import AtLeastOne, Positive
from ....datasets.base.config import Checked
from ....operators.core.operator import Operator
from ....operators.core.updates import LowRank, matrices, merge, owner, put
from ....operators.layers.spectral import SpectralConvolution
from .base import Method
from .naming import matching


@dataclass(frozen=True)
class LoRAConfig(Checked):
    """Low-rank updates of weights that stay as they are.

    Names may be those of modules or parameters, or patterns such as `mixing.*.globals`.

    Attributes:
        name: "lora".
        weights: names of what is updated: of the linear, convolution and spectral weights there,
            those that are larger than the rank both ways.
        rank: of every update.
        alpha: updates are scaled by alpha / rank.
        train: names of what is trained as it is beside the updates, such as what maps fields to
            channels and back where fields are new.
    """

    name: Literal["lora"] = "lora"
    weights: tuple[str, ...] = ("*",)
    rank: AtLeastOne = 8
    alpha: Positive = 16.0
    train: tuple[str, ...] = ()


class LoRA(Method[LoRAConfig]):
    """Updates of low rank are trained, and the weights that they update stay as they are."""

    Config = LoRAConfig
    remedy = "name them in method.train"

    def prepare(self, operator: Operator, seed: int) -> tuple[str, ...]:
        """Put an update on every chosen weight and freeze the rest; see `Method.prepare`."""
        config, generator = self.config, torch.Generator().manual_seed(seed)
        named = dict(operator.named_parameters())
        whole = matching(named, config.train, "method.train")
        chosen = matching(named, config.weights, "method.weights")
        updated = [name for name in chosen if name not in whole and named[name].requires_grad]
        kept = tuple(name for name in named if name not in whole)
        for name in kept:
            named[name].requires_grad_(False)
        scale = config.alpha / config.rank
        if not update_low_rank(operator, updated, config.rank, scale, generator):
            raise ValueError(
                f"method.weights: nothing there is a matrix of more than {config.rank} rows and "
                "columns that is trained; name others, or lower method.rank"
            )
        return kept

    def finish(self, operator: Operator) -> None:
        """Add every update to its weight, which is a plain parameter again."""
        merge(operator)


def update_low_rank(
    operator: Operator, names: Iterable[str], rank: int, scale: float, generator: torch.Generator
) -> int:
    """Put an update on those parameters that are weights larger than it; returns their number."""
    found = [name for name in names if _applies(operator, name, rank)]
    for name in found:
        module, leaf = owner(operator, name)
        weight = module.get_parameter(leaf)
        put(operator, name, LowRank(weight, _stacked(module, leaf), rank, scale, generator))
    return len(found)


def _applies(operator: Operator, name: str, rank: int) -> bool:
    """Whether a parameter is the weight of a linear map that is larger than the update."""
    module, leaf = owner(operator, name)
    weight = module.get_parameter(leaf)
    if not leaf.endswith("weight") or weight.ndim < 2:
        return False
    _, rows, columns = matrices(weight, _stacked(module, leaf))
    return min(rows, columns) > rank


def _stacked(module: nn.Module, leaf: str) -> int:
    """Leading axes over which a weight is a stack of matrices: the modes of a spectral one."""
    return module.get_parameter(leaf).ndim - 3 if isinstance(module, SpectralConvolution) else 0
