"""Between grids: fields to tokens and back, and tokens to coarser and finer ones, in 1D, 2D and 3D.

Tokens are (B, T, D), row-major over a grid of known shape: channels last everywhere, so that every
projection is one matrix product. n is the number of space axes.
"""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .conditioning import Affine, affine_norm
from .tokens import EPS, Kernel, Linear, Tokens, as_it_lies, convolve


class Embedding(nn.Module):
    """Non-overlapping patches of p points per axis to tokens: linear, norm, (+ positions)."""

    def __init__(
        self,
        ndim: int,
        inputs: int,
        channels: int,
        patch: int,
        positions: int,
        norms: dict[str, int],
    ) -> None:
        super().__init__()
        self.patch = patch
        self.projection = Kernel(ndim, inputs, channels, patch)
        self.positions = nn.Parameter(torch.empty(positions, channels)) if positions else None
        norms["embedding"] = channels

    def reset(self, generator: torch.Generator) -> None:
        """Positions 0; the rest resets itself."""
        if self.positions is not None:
            nn.init.zeros_(self.positions)

    def forward(self, x: Float[Tensor, "B C *S"], affines: dict[str, Affine]) -> Tokens:
        """Tokens; sizes that the patch does not divide are zero-padded."""
        n = x.ndim - 2
        grid = pad_to_multiple(x.movedim(1, -1), self.patch).movedim(-1, 1)
        pairs = [k for size in grid.shape[2:] for k in (size // self.patch, self.patch)]
        grid = grid.reshape(*grid.shape[:2], *pairs)
        tokens, points = range(2, 2 * n + 1, 2), range(3, 2 * n + 2, 2)
        patches = grid.permute(0, *tokens, 1, *points).flatten(n + 1).flatten(1, n)
        weight = self.projection.weight.flatten(1)
        x = F.linear(patches.to(weight.dtype), weight, self.projection.bias)
        x = affine_norm(x, affines["embedding"], EPS)
        return x if self.positions is None else x + self.positions


class Recovery(nn.Module):
    """Tokens to fields: linear to patches of p points per axis, then a 5-wide convolution."""

    def __init__(self, ndim: int, channels: int, outputs: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.weight = nn.Parameter(torch.empty(channels, outputs, *(patch,) * ndim))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.mixing = Kernel(ndim, outputs, outputs, 5, biased=False)

    def reset(self, generator: torch.Generator) -> None:
        """Uniform in ±1/√fan_in as a transposed convolution; the mixing resets itself."""
        bound = 1 / math.sqrt(self.weight[0].numel())
        nn.init.uniform_(self.weight, -bound, bound, generator=generator)
        nn.init.uniform_(self.bias, -bound, bound, generator=generator)

    def forward(
        self,
        x: Tokens,
        shape: tuple[int, ...],
        points: tuple[int, ...],
        periodic: tuple[bool, ...],
    ) -> Float[Tensor, "B C *S"]:
        """Fields on `points` from the tokens of the grid `shape`."""
        n, outputs = len(shape), self.bias.shape[0]
        # Patch points before channels, so that spreading them gives channels-last fields.
        weight = as_it_lies(self.weight).movedim(1, -1).flatten(1)
        bias = self.bias.repeat(self.patch**n)
        patches = F.linear(x, weight.T, bias).reshape(
            x.shape[0], *shape, *(self.patch,) * n, outputs
        )
        fields = spread(patches, shape, points).movedim(-1, 1)
        return convolve(fields, self.mixing, periodic)


class Merging(nn.Module):
    """2ⁿ neighbours to one token of twice the channels: linear, then norm."""

    def __init__(self, name: str, ndim: int, channels: int, norms: dict[str, int]) -> None:
        super().__init__()
        self.name = name
        self.reduction = Linear(2**ndim * channels, 2 * channels, bias=False)
        norms[name] = 2 * channels

    def forward(
        self, x: Tokens, shape: tuple[int, ...], affines: dict[str, Affine]
    ) -> Float[Tensor, "B U E"]:
        """Tokens of the next coarser grid; odd sizes are zero-padded."""
        grid = pad_to_multiple(x.unflatten(1, shape), 2)
        n = len(shape)
        pairs = [k for size in grid.shape[1:-1] for k in (size // 2, 2)]
        grid = grid.reshape(x.shape[0], *pairs, x.shape[-1])
        # Neighbours are concatenated with the offset along the first axis running fastest.
        coarse, offsets = range(1, 2 * n, 2), range(2 * n, 0, -2)
        grid = grid.permute(0, *coarse, *offsets, 2 * n + 1).flatten(n + 1).flatten(1, n)
        return affine_norm(self.reduction(grid), affines[self.name], EPS)


class Unmerging(nn.Module):
    """One token to 2ⁿ neighbours of half the channels: linear, shuffle, crop, norm, linear."""

    def __init__(self, name: str, ndim: int, channels: int, norms: dict[str, int]) -> None:
        super().__init__()
        self.name = name
        self.expansion = Linear(channels, 2 ** (ndim - 1) * channels, bias=False)
        self.mixing = Linear(channels // 2, channels // 2, bias=False)
        norms[name] = channels // 2

    def forward(
        self,
        x: Tokens,
        shape: tuple[int, ...],
        finer: tuple[int, ...],
        affines: dict[str, Affine],
    ) -> Float[Tensor, "B U E"]:
        """Tokens of the grid `finer`, from those of the grid `shape`."""
        n = len(shape)
        grid = self.expansion(x).reshape(x.shape[0], *shape, *(2,) * n, x.shape[-1] // 2)
        grid = spread(grid, shape, finer)
        return self.mixing(affine_norm(grid.flatten(1, n), affines[self.name], EPS))


def pad_to_multiple(grid: Float[Tensor, "B *S D"], factor: int) -> Float[Tensor, "B *N D"]:
    """Zeros at the far ends so that `factor` divides every space axis."""
    missing = [-size % factor for size in grid.shape[1:-1]]
    if not any(missing):
        return grid
    return F.pad(grid, [0, 0, *itertools.chain(*((0, m) for m in reversed(missing)))])


def spread(grid: Tensor, shape: tuple[int, ...], finer: tuple[int, ...]) -> Float[Tensor, "B *N D"]:
    """(B, *shape, k, …, k, D) → (B, *finer, D): every token becomes kⁿ neighbours; cropped."""
    n = len(shape)
    order = [a for i in range(n) for a in (1 + i, 1 + n + i)]
    grid = grid.permute(0, *order, 2 * n + 1)
    grid = grid.reshape(
        grid.shape[0], *(grid.shape[1 + 2 * i] * grid.shape[2 + 2 * i] for i in range(n)), -1
    )
    for axis, size in enumerate(finer, start=1):
        grid = grid.narrow(axis, 0, size)
    return grid
