"""Low-rank adaptation (LoRA, Hu et al. 2021, arXiv 2106.09685): W + α/r · B A in place of W.

W stays as it is and A (r, columns) and B (rows, r) are trained: far fewer numbers, of which the
optimizer keeps moments. B starts at zero, so that training starts from the very same function. A
convolution is the matrix of its outputs by inputs and taps; a spectral convolution has one matrix
per mode, and an update for each. When the run is published W + α/r · B A is the weight, and the
checkpoint is like any other.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ....datasets.base.annotations import AtLeastOne, Positive
from ....datasets.base.config import Checked, nearest
from ....operators.core.operator import Operator
from ....operators.layers.spectral import SpectralConvolution
from .base import Method


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


class LowRank(nn.Module):
    """A weight plus a trained update of low rank; a parametrization of the weight.

    Args:
        weight: what is updated.
        stacked: leading axes over which the weight is a stack of matrices; of each matrix the
            first axis is its rows, the others its columns.
        rank: of the update.
        scale: factor on it.
        generator: draws A uniform in ±1/√columns; B is zero.
    """

    def __init__(
        self, weight: Tensor, stacked: int, rank: int, scale: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.scale = scale
        stack, rows, columns = _matrices(weight, stacked)
        down = torch.empty(*stack, rank, columns, dtype=weight.dtype)
        nn.init.uniform_(down, -(columns**-0.5), columns**-0.5, generator=generator)
        self.down = nn.Parameter(down.to(weight.device))
        self.up = nn.Parameter(weight.new_zeros(*stack, rows, rank))

    def forward(self, weight: Float[Tensor, "*weight"]) -> Float[Tensor, "*weight"]:
        """W + scale · B A; in full precision under autocast, since it stands for a weight."""
        with torch.autocast(weight.device.type, enabled=False):
            return weight + self.scale * (self.up @ self.down).reshape(weight.shape)


class LoRA(Method[LoRAConfig]):
    """Updates of low rank are trained, and the weights that they update stay as they are."""

    Config = LoRAConfig
    remedy = "name them in method.train"

    def prepare(self, operator: Operator, seed: int) -> tuple[str, ...]:
        """Put an update on every chosen weight and freeze the rest; see `Method.prepare`."""
        config, generator = self.config, torch.Generator().manual_seed(seed)
        named = dict(operator.named_parameters())
        whole = _matching(named, config.train, "method.train")
        updated = [
            name
            for name in _matching(named, config.weights, "method.weights")
            if name not in whole and named[name].requires_grad and self._applies(operator, name)
        ]
        if not updated:
            raise ValueError(
                f"method.weights: nothing there is a matrix of more than {config.rank} rows and "
                "columns that is trained; name others, or lower method.rank"
            )
        kept = tuple(name for name in named if name not in whole)
        for name in kept:
            named[name].requires_grad_(False)
        for name in updated:
            module, leaf = _owner(operator, name)
            scale = config.alpha / config.rank
            update = LowRank(named[name], _stacked(module, leaf), config.rank, scale, generator)
            parametrize.register_parametrization(module, leaf, update)
        return kept

    def finish(self, operator: Operator) -> None:
        """Add every update to its weight, which is a plain parameter again."""
        for module, leaf in list(_updates(operator)):
            parametrize.remove_parametrizations(module, leaf, leave_parametrized=True)

    def _applies(self, operator: Operator, name: str) -> bool:
        """Whether a parameter is the weight of a linear map that is larger than the update."""
        module, leaf = _owner(operator, name)
        weight = module.get_parameter(leaf)
        if not leaf.endswith("weight") or weight.ndim < 2:
            return False
        _, rows, columns = _matrices(weight, _stacked(module, leaf))
        return min(rows, columns) > self.config.rank


def _matching(names: Collection[str], parts: Sequence[str], key: str) -> list[str]:
    """The names that are, or lie in, what the parts name; in order.

    Raises:
        ValueError: a part names nothing.
    """
    for part in parts:
        if not any(_matches(name, part) for name in names):
            outermost = [*dict.fromkeys(name.split(".")[0] for name in names)]
            raise ValueError(f"{key}: no module or parameter {part!r}{nearest(part, outermost)}")
    return [name for name in names if any(_matches(name, part) for part in parts)]


def _matches(name: str, part: str) -> bool:
    part = part.removesuffix(".")
    return fnmatchcase(name, part) or fnmatchcase(name, f"{part}.*")


def _owner(operator: Operator, name: str) -> tuple[nn.Module, str]:
    """The module that a parameter belongs to, and its name there."""
    path, _, leaf = name.rpartition(".")
    return operator.get_submodule(path), leaf


def _stacked(module: nn.Module, leaf: str) -> int:
    """Leading axes over which a weight is a stack of matrices: the modes of a spectral one."""
    return module.get_parameter(leaf).ndim - 3 if isinstance(module, SpectralConvolution) else 0


def _matrices(weight: Tensor, stacked: int) -> tuple[tuple[int, ...], int, int]:
    """Shape of the stack, rows and columns of each matrix."""
    stack, (rows, *columns) = tuple(weight.shape[:stacked]), weight.shape[stacked:]
    return stack, rows, math.prod(columns)


def _updates(operator: Operator) -> Iterator[tuple[nn.Module, str]]:
    """Modules and names of the weights that have an update."""
    for module in operator.modules():
        if parametrize.is_parametrized(module):
            parametrizations = module.parametrizations
            assert isinstance(parametrizations, nn.ModuleDict)
            for leaf, parts in parametrizations.items():
                assert isinstance(parts, nn.ModuleList)
                if any(isinstance(part, LowRank) for part in parts):
                    yield module, leaf
