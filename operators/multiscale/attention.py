"""Cosine attention inside the (shifted) windows of an n-dimensional grid of tokens.

    attention(q, k, v) = softmax( τ q̂·k̂ᵀ + β ) v,    q̂ = q/‖q‖,  τ = min(eˢ, 100) per head,

with the position bias β, which is the same in every window. Every other block shifts the windows
by half their width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .attention_kernel import attend, attend_and_learn, differentiates_by_hand
from .position_bias import PositionBias, expand, position_tables, stacked
from .tiling import WindowGrid

# Upper bound of the temperature τ.
LARGEST_SCALE = 100.0


class Prepared(NamedTuple):
    """What follows from weights and grid: bias of the projection, lengths τ of queries and 1 of
    keys, the table of β, and β of every kind of tile unless that is made where it is used."""

    bias: Tensor | None
    lengths: Tensor
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

    def reset(self, generator: torch.Generator) -> None:
        """Weights N(0, 0.02²), biases 0, temperature 10."""
        nn.init.normal_(self.weight, 0, 0.02, generator=generator)
        nn.init.normal_(self.output_weight, 0, 0.02, generator=generator)
        nn.init.zeros_(self.output_bias)
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        nn.init.constant_(self.log_scale, math.log(10))
        self.position.reset(generator)

    def preparing(self) -> tuple[nn.Module | Tensor, ...]:
        """The weights that `prepare` uses."""
        return (self.position, self.log_scale, *([] if self.bias is None else [self.bias]))

    def forward(
        self, x: Float[Tensor, "B T D"], grid: WindowGrid, prepared: Prepared | None = None
    ) -> Float[Tensor, "B T D"]:
        """Attention of the tokens of a grid (row-major) within its windows."""
        prepared = prepared or prepare([self], grid)[0]
        projected = F.linear(grid.partition(x), self.weight, prepared.bias)
        shapes = [shape for shape, _ in grid.tiles]
        tiles = [x.shape[0] * count * math.prod(shape) for shape, count in grid.tiles]
        if not prepared.biases and differentiates_by_hand(prepared.table):
            mixed = attend_and_learn(
                projected, prepared.lengths, tiles, prepared.table, grid.window, shapes
            )
        else:  # a compiled block may get what was prepared outside of it
            biases = prepared.biases or expand(prepared.table, grid.window, shapes)
            mixed = attend(projected, prepared.lengths, tiles, biases)
        return grid.merge(F.linear(mixed, self.output_weight, self.output_bias))


def prepare(attentions: Sequence[WindowAttention], grid: WindowGrid) -> list[Prepared]:
    """What follows from the weights of blocks alike on one grid, of all of them at once.

    Small operations cost what they cost to launch: a few for all blocks replace many for each.
    """
    count, channels = len(attentions), attentions[0].output_bias.shape[0]
    tables = position_tables([each.position for each in attentions], grid.window)
    scale = stacked([each.log_scale for each in attentions])
    scale = scale.clamp_max(math.log(LARGEST_SCALE)).exp()
    lengths = torch.stack((scale, torch.ones_like(scale)), 1)[..., None].unbind(0)
    biases = [each.bias for each in attentions if each.bias is not None]
    padded = F.pad(stacked(biases), (0, channels)).unbind(0) if biases else [None] * count
    kinds: list[list[Tensor]] = [[] for _ in attentions]
    if not differentiates_by_hand(tables):
        shapes = [shape for shape, _ in grid.tiles]
        for kind in expand(tables.flatten(0, 1), grid.window, shapes):
            for own, bias in zip(kinds, kind.unflatten(0, (count, -1)).unbind(0), strict=True):
                own.append(bias)
    return [Prepared(*own) for own in zip(padded, lengths, tables.unbind(0), kinds, strict=True)]
