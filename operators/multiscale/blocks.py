"""Blocks of the multiscale transformer on token grids in 1D, 2D and 3D.

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

from .attention import WindowAttention
from .conditioning import Affine, affine_norm
from .tiling import WindowGrid

Tokens = Float[Tensor, "B T D"]
_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_BATCH_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
# Kernel widths and the initial layer scale of the published blocks; ε of norms outside of blocks.
DEPTHWISE_SIZE, RESIDUAL_SIZE, LAYER_SCALE, EPS = 7, 3, 1e-6, 1e-5


class Linear(nn.Linear):
    """A linear layer whose weights are drawn by `reset` alone."""

    def reset_parameters(self) -> None:
        """Nothing: construction draws no random numbers."""

    def reset(self, generator: torch.Generator) -> None:
        """Weight N(0, 0.02²), bias 0."""
        reset_normal(self, generator)


class Kernel(nn.Module):
    """Weight (outputs, inputs, k, …) and bias of a convolution; the caller convolves."""

    def __init__(
        self, ndim: int, inputs: int, outputs: int, size: int, biased: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, *(size,) * ndim))
        self.bias = nn.Parameter(torch.empty(outputs)) if biased else None

    def reset(self, generator: torch.Generator) -> None:
        """Weight N(0, 0.02²), bias 0."""
        reset_normal(self, generator)


class TransformerBlock(nn.Module):
    """`x ← x + norm(attention(x))`, then `x ← x + norm(MLP(x))`.

    Args:
        name: prefix of its norms, which are entered into `norms`.
        ndim: space axes.
        channels: D.
        heads: attention heads.
        ratio: width of the MLP over D.
        biased: whether queries and values have biases.
        eps: ε of the norms.
        drop: probability with which, in training, a sample skips each of the two branches.
        norms: registry of the network's norms.
    """

    def __init__(
        self,
        name: str,
        ndim: int,
        channels: int,
        heads: int,
        ratio: float,
        biased: bool,
        eps: float,
        drop: float,
        norms: dict[str, int],
    ) -> None:
        super().__init__()
        self.name, self.eps, self.drop = name, eps, drop
        self.attention = WindowAttention(ndim, channels, heads, biased)
        self.expand = Linear(channels, int(ratio * channels))
        self.contract = Linear(int(ratio * channels), channels)
        norms[f"{name}.attention"] = norms[f"{name}.mlp"] = channels

    def forward(self, x: Tokens, grid: WindowGrid, affines: dict[str, Affine]) -> Tokens:
        """The block on tokens of `grid`."""
        x = self._add(x, self.attention(x, grid), affines[f"{self.name}.attention"])
        return self._add(x, self.contract(gelu(self.expand(x))), affines[f"{self.name}.mlp"])

    def _add(self, x: Tokens, branch: Tokens, affine: Affine) -> Tokens:
        if not (self.training and self.drop):
            return affine_norm(branch, affine, self.eps, x)
        # Stochastic depth, from torch's global generator: the training loop seeds it.
        kept = torch.rand(x.shape[0], 1, 1, device=x.device) >= self.drop
        return x + affine_norm(branch, affine, self.eps) * (kept / (1 - self.drop))


class ConvNeXtBlock(nn.Module):
    """`x + γ · W₂ GELU(W₁ norm(depthwise 7 × … × 7 convolution of x))`."""

    def __init__(
        self, name: str, ndim: int, channels: int, eps: float, norms: dict[str, int]
    ) -> None:
        super().__init__()
        self.name, self.eps = name, eps
        self.depthwise = Kernel(ndim, 1, channels, DEPTHWISE_SIZE)
        self.expand = Linear(channels, 4 * channels)
        self.contract = Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.empty(channels))
        norms[name] = channels

    def reset(self, generator: torch.Generator) -> None:
        """γ = 1e-6; the rest resets itself."""
        nn.init.constant_(self.scale, LAYER_SCALE)

    def forward(self, x: Tokens, grid: WindowGrid, affines: dict[str, Affine]) -> Tokens:
        """The block on tokens of `grid`."""
        image = to_image(x, grid.shape)
        image = convolve(image, self.depthwise, grid.periodic, groups=x.shape[-1])
        hidden = affine_norm(to_tokens(image), affines[self.name], self.eps)
        hidden = self.contract(gelu(self.expand(hidden)))
        return torch.addcmul(x, self.scale, hidden)


class ResNetBlock(nn.Module):
    """`x + BN(conv(leaky ReLU(BN(conv(x)))))`, 3-wide convolutions, no conditioning."""

    def __init__(
        self, name: str, ndim: int, channels: int, eps: float, norms: dict[str, int]
    ) -> None:
        super().__init__()
        self.first = Kernel(ndim, channels, channels, RESIDUAL_SIZE)
        self.second = Kernel(ndim, channels, channels, RESIDUAL_SIZE)
        self.first_norm = _BATCH_NORM[ndim](channels)
        self.second_norm = _BATCH_NORM[ndim](channels)

    def forward(self, x: Tokens, grid: WindowGrid, affines: dict[str, Affine]) -> Tokens:
        """The block on tokens of `grid`."""
        image = to_image(x, grid.shape)
        image = self.first_norm(convolve(image, self.first, grid.periodic))
        image = convolve(F.leaky_relu(image), self.second, grid.periodic)
        return to_tokens(self.second_norm(image)) + x


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
        weight = self.weight.movedim(1, -1).flatten(1)
        bias = self.bias.repeat(self.patch**n)
        patches = F.linear(x, weight.T, bias).reshape(
            x.shape[0], *shape, *(self.patch,) * n, outputs
        )
        fields = spread(patches, shape, points).movedim(-1, 1)
        return convolve(fields, self.mixing, periodic)


def gelu(x: Tensor) -> Tensor:
    """The exact GELU; without gradients in place, for `x` is always an intermediate result."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return F.gelu(x)
    return torch.ops.aten.gelu_(x)


def reset_normal(module: Linear | Kernel, generator: torch.Generator) -> None:
    """Weight N(0, 0.02²), bias 0: the published initialisation."""
    nn.init.normal_(module.weight, 0, 0.02, generator=generator)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def convolve(
    x: Float[Tensor, "B C *S"], kernel: Kernel, periodic: tuple[bool, ...], groups: int = 1
) -> Float[Tensor, "B D *S"]:
    """ "Same" convolution: periodic axes wrap around, the others see zeros outside."""
    reach = kernel.weight.shape[-1] // 2
    for axis, wraps in enumerate(periodic, start=2):
        if wraps:
            size = x.shape[axis]
            index = torch.arange(-reach, size + reach, device=x.device) % size
            x = x.index_select(axis, index)
    padding = [0 if wraps else reach for wraps in periodic]
    ndim = x.ndim - 2
    weight = kernel.weight
    if groups > 1 and ndim in _CHANNELS_LAST:
        x = x.contiguous(memory_format=_CHANNELS_LAST[ndim])
    return _CONV[ndim](x, weight, kernel.bias, padding=padding, groups=groups)


def to_image(x: Tokens, shape: tuple[int, ...]) -> Float[Tensor, "B D *S"]:
    """Tokens as a channels-first view."""
    return x.unflatten(1, shape).movedim(-1, 1)


def to_tokens(image: Float[Tensor, "B D *S"]) -> Tokens:
    """A channels-first image as tokens; a view if it lies channels-last in memory."""
    return image.movedim(1, -1).flatten(1, -2)


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
