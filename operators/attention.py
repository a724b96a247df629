"""Cosine attention inside (shifted) windows of an n-dimensional grid of tokens.

    attention(q, k, v) = softmax( τ q̂·k̂ᵀ + β + mask ) v,    q̂ = q/‖q‖,  τ = min(eˢ, 100) per head,

with the position bias β = 16·sigmoid(MLP(log-spaced relative coordinates)), which is the same in
every window. Every other block shifts the windows by half their width; tokens that meet in a
window only because the shift wraps around do not see each other, unless that edge is periodic.

Letters: B batch, W windows, N tokens of a window, H heads, D channels of a token.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .biased_attention import attend

# Added to the score of a pair that must not see each other (the published −100, applied twice).
MASKED = -200.0
# Upper bound of the temperature τ, ceiling of the bias, width of the bias network, log base.
LARGEST_SCALE, BIAS_RANGE, BIAS_HIDDEN, COORDINATE_RANGE = 100.0, 16.0, 512, 8.0


@dataclass(frozen=True)
class WindowGrid:
    """How a grid of tokens is cut into windows.

    Attributes:
        shape: tokens per axis.
        window: tokens per axis of a window; the grid is zero-padded at its far ends to a multiple.
        shift: how far the windows are shifted along each axis.
        periodic: axes whose two ends are neighbours. A padded axis keeps its edge.
    """

    shape: tuple[int, ...]
    window: tuple[int, ...]
    shift: tuple[int, ...]
    periodic: tuple[bool, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Windows per axis."""
        return tuple(-(-n // w) for n, w in zip(self.shape, self.window, strict=True))

    @property
    def padded(self) -> tuple[int, ...]:
        """Tokens per axis with padding."""
        return tuple(c * w for c, w in zip(self.counts, self.window, strict=True))

    @property
    def single(self) -> bool:
        """Whether one window is the whole grid."""
        return self.padded == self.shape == self.window

    @property
    def edges(self) -> tuple[bool, ...]:
        """Axes along which the shift brings tokens together that are no neighbours."""
        rows = zip(self.shape, self.padded, self.shift, self.periodic, strict=True)
        return tuple(s > 0 and not (periodic and n == p) for n, p, s, periodic in rows)

    def partition(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "BW N D"]:
        """The tokens (in row-major order) of each window, windows of one sample together."""
        if self.single:
            return x
        batch, _, channels = x.shape
        grid = x.view(batch, *self.shape, channels)
        missing = [p - n for p, n in zip(self.padded, self.shape, strict=True)]
        if any(missing):
            grid = F.pad(grid, [0, 0, *(m for k in reversed(missing) for m in (0, k))])
        if any(self.shift):
            grid = grid.roll([-s for s in self.shift], self._axes)
        cut = zip(self.counts, self.window, strict=True)
        grid = grid.view(batch, *itertools.chain(*cut), channels).permute(*self._interleave)
        return grid.reshape(-1, math.prod(self.window), channels)

    def merge(self, windows: Float[Tensor, "BW N D"]) -> Float[Tensor, "B T D"]:
        """The inverse of `partition`; padded tokens are dropped."""
        if self.single:
            return windows
        channels = windows.shape[-1]
        grid = windows.view(-1, *self.counts, *self.window, channels)
        n = len(self.shape)
        order = [a for i in range(n) for a in (1 + i, 1 + n + i)]
        grid = grid.permute(0, *order, 2 * n + 1).reshape(-1, *self.padded, channels)
        if any(self.shift):
            grid = grid.roll(self.shift, self._axes)
        for axis, size in enumerate(self.shape, start=1):
            grid = grid.narrow(axis, 0, size)
        return grid.reshape(-1, math.prod(self.shape), channels)

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(1, len(self.shape) + 1))

    @property
    def _interleave(self) -> tuple[int, ...]:
        """(B, count, window, count, window, …, D) → (B, count, …, window, …, D)."""
        n = len(self.shape)
        return (0, *range(1, 2 * n, 2), *range(2, 2 * n + 1, 2), 2 * n + 1)


class PositionBias(nn.Module):
    """β of a window: `16·sigmoid(MLP(c))`, c = sign(o)·log₂(1 + |o|)/3 with o = 8·offset/(w − 1).

    In eval mode without gradients the bias, with the shift's mask added, is kept until the weights
    change (their version counters tell).
    """

    def __init__(self, ndim: int, heads: int) -> None:
        super().__init__()
        self.hidden_weight = nn.Parameter(torch.empty(BIAS_HIDDEN, ndim))
        self.hidden_bias = nn.Parameter(torch.empty(BIAS_HIDDEN))
        self.weight = nn.Parameter(torch.empty(heads, BIAS_HIDDEN))
        self._kept: dict[tuple, Tensor] = {}

    def reset(self, generator: torch.Generator) -> None:
        """Weights N(0, 0.02²), bias 0."""
        nn.init.normal_(self.hidden_weight, 0, 0.02, generator=generator)
        nn.init.normal_(self.weight, 0, 0.02, generator=generator)
        nn.init.zeros_(self.hidden_bias)

    def train(self, mode: bool = True) -> PositionBias:
        """Forget the kept biases."""
        self._kept.clear()
        return super().train(mode)

    def forward(self, grid: WindowGrid) -> Tensor:
        """Bias (H, N, N), or with the mask (W, H, N, N) where a shift needs one."""
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._compute(grid)
        weights = list(self.parameters())
        key = (grid, *((w.data_ptr(), w._version, w.dtype, w.device) for w in weights))
        if key not in self._kept:
            self._kept = {k: v for k, v in self._kept.items() if k[1:] == key[1:]}
            self._kept[key] = self._compute(grid)
        return self._kept[key]

    def _compute(self, grid: WindowGrid) -> Tensor:
        weight = self.weight
        with torch.autocast(weight.device.type, enabled=False):  # a bias of 16 has no spare digits
            coordinates = _relative_coordinates(grid.window, weight.dtype, weight.device)
            hidden = F.linear(coordinates, self.hidden_weight, self.hidden_bias).relu_()
            table = BIAS_RANGE * torch.sigmoid(weight @ hidden.T)
        bias = _expand(table, grid.window)
        if any(grid.edges):
            bias = bias + _mask(grid, weight.dtype, weight.device)[:, None]
        return bias


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

    def forward(self, x: Float[Tensor, "B T D"], grid: WindowGrid) -> Float[Tensor, "B T D"]:
        """Attention of the tokens of a grid (row-major) within its windows."""
        query, key, value = self._project(grid.partition(x))
        mixed = attend(query, key, value, self.position(grid))
        mixed = mixed.transpose(1, 2).flatten(2)
        return grid.merge(F.linear(mixed, self.output_weight, self.output_bias))

    def _project(self, x: Float[Tensor, "BW N D"]) -> tuple[Tensor, Tensor, Tensor]:
        """q̂·τ, k̂ and v, each (B·W, H, N, D/H)."""
        channels = x.shape[-1]
        bias = None if self.bias is None else F.pad(self.bias, (0, channels))
        value, pair = F.linear(x, self.weight, bias).split((channels, 2 * channels), -1)
        pair = pair.unflatten(-1, (2 * self.heads, -1))
        scale = self.log_scale.clamp_max(math.log(LARGEST_SCALE)).exp()
        scale = F.pad(scale, (0, self.heads), value=1.0)[:, None]
        length = torch.linalg.vector_norm(pair, dim=-1, keepdim=True).clamp_min(1e-12)
        query, key = (pair * (scale / length)).to(value.dtype).transpose(1, 2).chunk(2, 1)
        return query, key, value.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _expand(table: Float[Tensor, "H offsets"], window: tuple[int, ...]) -> Float[Tensor, "H N N"]:
    """β[i, j] = table[i − j]: sliding views over the table with the keys reversed, then flipped."""
    n = len(window)
    view = table.unflatten(1, [2 * w - 1 for w in window])
    for axis, w in enumerate(window, start=1):
        view = view.unfold(axis, w, 1)
    tokens = math.prod(window)
    return view.flip(list(range(1 + n, 1 + 2 * n))).reshape(-1, tokens, tokens)


def _constant(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Compute once per argument, as an ordinary tensor even under inference mode."""
    return lru_cache(maxsize=64)(torch.inference_mode(False)(function))


@_constant
def _relative_coordinates(
    window: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "offsets n"]:
    """Log-spaced offsets −(w − 1) … w − 1 along every axis, row-major."""
    axes = []
    for w in window:
        offset = COORDINATE_RANGE * torch.arange(1 - w, w, dtype=torch.float64) / max(w - 1, 1)
        logs = torch.log2(offset.abs() + 1) / math.log2(COORDINATE_RANGE)
        axes.append(logs * offset.sign())
    mesh = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    return mesh.flatten(0, -2).to(device, dtype)


@_constant
def _mask(grid: WindowGrid, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "W N N"]:
    """`MASKED` between tokens of a window that the shift brought across an edge, 0 elsewhere."""
    regions = torch.zeros(grid.padded, dtype=torch.float64)
    rows = zip(grid.padded, grid.window, grid.shift, grid.edges, strict=True)
    for axis, (size, window, shift, edge) in enumerate(rows):
        position = torch.arange(size)
        region = (position >= size - window).double() + (position >= size - shift).double()
        shape = [-1 if a == axis else 1 for a in range(len(grid.padded))]
        regions = 3 * regions + (region.view(shape) if edge else 0)
    still = WindowGrid(grid.padded, grid.window, (0,) * len(grid.padded), grid.periodic)
    label = still.partition(regions.reshape(1, -1, 1))[..., 0]
    apart = label[:, :, None] != label[:, None, :]
    return (MASKED * apart).to(device, dtype)
