"""Cosine attention inside the (shifted) windows of an n-dimensional grid of tokens.

    attention(q, k, v) = softmax( τ q̂·k̂ᵀ + β ) v,    q̂ = q/‖q‖,  τ = min(eˢ, 100) per head,

with the position bias β, which is the same in every window. Every other block shifts the windows
by half their width.

The published code keeps the two ends of an axis apart by a mask of −200 where a window holds both.
Cutting such windows is the same and faster, unless τ is so large that what is masked still counts:
the largest score is at most τ + 16 above it, the largest of the others may be as low as −τ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..core.transforms import transformed
from ..layers.precision import single
from .attention_kernel import attend, attend_and_learn, differentiates_by_hand
from .position_bias import BIAS_RANGE, PositionBias, expand, position_tables, stacked
from .tiling import WindowGrid

# Upper bound of the temperature τ.
LARGEST_SCALE = 100.0
# What the published code adds to scores of tokens that are no neighbours.
MASK = -200.0
# Masked keys whose weights are at most exp(this) of the others' do not count in single precision.
NEGLIGIBLE = -25.0


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
        by_hand = differentiates_by_hand(prepared.table)
        if not prepared.biases and by_hand and not transformed(projected, prepared.lengths):
            mixed = attend_and_learn(
                projected, prepared.lengths, tiles, prepared.table, grid.window, shapes
            )
        else:  # a compiled block may get what was prepared outside of it
            biases = prepared.biases or expand(prepared.table, grid.window, shapes)
            mixed = attend(projected, prepared.lengths, tiles, biases)
        return grid.merge(F.linear(mixed, self.output_weight, self.output_bias))

    def lets_masked_through(self) -> bool:
        """Whether scores can be so far apart that the mask of the published code does not hide."""
        scale = self.log_scale.detach().exp().clamp_max(LARGEST_SCALE)
        return bool((2 * scale + BIAS_RANGE + MASK > NEGLIGIBLE).any())


def prepare(attentions: Sequence[WindowAttention], grid: WindowGrid) -> list[Prepared]:
    """What follows from the weights of blocks alike on one grid, of all of them at once.

    Small operations cost what they cost to launch: a few for all blocks replace many for each.
    """
    count, channels = len(attentions), attentions[0].output_bias.shape[0]
    tables = position_tables([each.position for each in attentions], grid.window)
    scale = single(stacked([each.log_scale for each in attentions]))
    scale = scale.clamp_max(math.log(LARGEST_SCALE)).exp()
    lengths = torch.stack((scale, torch.ones_like(scale)), 1)[..., None].unbind(0)
    biases = [each.bias for each in attentions if each.bias is not None]
    padded = F.pad(stacked(biases), (0, channels)).unbind(0) if biases else [None] * count
    kinds: list[list[Tensor]] = [[] for _ in attentions]
    if grid.masked or not differentiates_by_hand(tables):
        shapes = [shape for shape, _ in grid.tiles]
        for kind in _masked(expand(tables.flatten(0, 1), grid.window, shapes), grid):
            for own, bias in zip(kinds, kind.unflatten(0, (count, -1)).unbind(0), strict=True):
                own.append(bias)
    return [Prepared(*own) for own in zip(padded, lengths, tables.unbind(0), kinds, strict=True)]


def _masked(biases: list[Float[Tensor, "H _ _"]], grid: WindowGrid) -> list[Float[Tensor, "H _ _"]]:
    """β of every kind of tile, with the mask between tokens of different ends of an axis."""
    if not grid.masked:
        return biases
    found = []
    for bias, edges in zip(biases, grid.edges, strict=True):
        kind = torch.zeros(grid.window, dtype=torch.long, device=bias.device)
        for axis, edge in enumerate(edges):
            if edge:
                kept = grid.window[axis] - grid.shift[axis]
                kind.movedim(axis, 0)[kept:] += 2**axis
        apart = kind.flatten()[:, None] != kind.flatten()
        found.append(bias + MASK * apart)
    return found
