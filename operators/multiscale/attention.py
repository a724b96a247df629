"""Cosine attention inside the (shifted) windows of an n-dimensional grid of tokens.

    attention(q, k, v) = softmax( τ q̂·k̂ᵀ + β ) v,    q̂ = q/‖q‖,  τ = min(eˢ, 100) per head,

with the position bias β, which is the same in every window. Every other block shifts the windows
by half their width.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..core.transforms import transformed
from ..core.weight_cache import WeightCache
from .attention_kernel import attend, attend_and_learn, differentiates_by_hand
from .position_bias import PositionBias, expand
from .tiling import WindowGrid

# Upper bound of the temperature τ.
LARGEST_SCALE = 100.0


class Prepared(NamedTuple):
    """What follows from weights and grid: bias of the projection, lengths τ of queries and 1 of
    keys, tokens per sample of every kind of tile, the table of β, and β of every kind unless that
    is made where it is used."""

    bias: Tensor | None
    lengths: Tensor
    tokens: list[int]
    table: Tensor
    biases: list[Tensor]


class WindowAttention(nn.Module):
    """Multi-head cosine attention inside windows, with one fused projection.

    Rows of `weight` are value, query, key; `bias` has value and query (keys have none).
    """

    def __init__(self, ndim: int, channels: int, heads: int, biased: bool) -> None:
        super().__init__()
        self.heads = heads
        self.weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.bias = nn.Parameter(torch.empty(2 * channels)) if biased else None
        self.log_scale = nn.Parameter(torch.empty(heads))
        self.position = PositionBias(ndim, heads)
        self.output_weight = nn.Parameter(torch.empty(channels, channels))
        self.output_bias = nn.Parameter(torch.empty(channels))
        self.prepared = WeightCache()

    def reset(self, generator: torch.Generator) -> None:
        """Weights N(0, 0.02²), biases 0, temperature 10."""
        nn.init.normal_(self.weight, 0, 0.02, generator=generator)
        nn.init.normal_(self.output_weight, 0, 0.02, generator=generator)
        nn.init.zeros_(self.output_bias)
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        nn.init.constant_(self.log_scale, math.log(10))
        self.position.reset(generator)

    def forward(self, x: Float[Tensor, "B T D"], grid: WindowGrid) -> Float[Tensor, "B T D"]:
        """Attention of the tokens of a grid (row-major) within its windows."""
        weights = (self.position, self.log_scale, *([] if self.bias is None else [self.bias]))
        prepared = self.prepared.get(weights, grid, lambda: self._prepare(grid))
        projected = F.linear(grid.partition(x), self.weight, prepared.bias)
        tiles = [x.shape[0] * tokens for tokens in prepared.tokens]
        biases, shapes = prepared.biases, [shape for shape, _ in grid.tiles]
        if not biases and transformed(projected, prepared.lengths):
            biases = expand(prepared.table, grid.window, shapes)
        if biases:
            mixed = attend(projected, prepared.lengths, tiles, biases)
        else:
            mixed = attend_and_learn(
                projected, prepared.lengths, tiles, prepared.table, grid.window, shapes
            )
        return grid.merge(F.linear(mixed, self.output_weight, self.output_bias))

    def _prepare(self, grid: WindowGrid) -> Prepared:
        channels, tiles = self.output_bias.shape[0], grid.tiles
        table, shapes = self.position(grid.window), [shape for shape, _ in tiles]
        by_hand = differentiates_by_hand(table)
        scale = self.log_scale.clamp_max(math.log(LARGEST_SCALE)).exp()
        return Prepared(
            bias=None if self.bias is None else F.pad(self.bias, (0, channels)),
            lengths=torch.stack((scale, torch.ones_like(scale)))[..., None],
            tokens=[count * math.prod(shape) for shape, count in tiles],
            table=table,
            biases=[] if by_hand else expand(table, grid.window, shapes),
        )
