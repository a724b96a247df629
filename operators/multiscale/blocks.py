"""Blocks of the multiscale transformer on one grid of tokens, in 1D, 2D and 3D.

Tokens are (B, T, D), row-major over a grid of known shape: channels last everywhere, so that every
projection is one matrix product. n is the number of space axes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from .attention import Prepared, WindowAttention, prepare
from .conditioning import Affine, affine_norm
from .config import MultiscaleConfig
from .tiling import WindowGrid
from .tokens import Kernel, Linear, Tokens, convolve, gelu, to_image, to_tokens

_BATCH_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
# Kernel widths and the initial layer scale of the published blocks.
DEPTHWISE_SIZE, RESIDUAL_SIZE, LAYER_SCALE = 7, 3, 1e-6


class TransformerBlock(nn.Module):
    """`x ← x + norm(attention(x))`, then `x ← x + norm(MLP(x))`.

    Args:
        name: prefix of its norms, which are entered into `norms`.
        config: of the network.
        level: where it stands: its channels D and attention heads follow from that.
        drop: probability with which, in training, a sample skips each of the two branches.
        norms: registry of the network's norms.
    """

    def __init__(
        self, name: str, config: MultiscaleConfig, level: int, drop: float, norms: dict[str, int]
    ) -> None:
        super().__init__()
        self.eps, self.drop = config.eps, drop
        channels, hidden = config.channels(level), int(config.mlp_ratio * config.channels(level))
        self.attention = WindowAttention(config.ndim, channels, config.heads[level], config.biased)
        self.expand = Linear(channels, hidden)
        self.contract = Linear(hidden, channels)
        self.norms = (f"{name}.attention", f"{name}.mlp")
        norms.update(dict.fromkeys(self.norms, channels))

    def forward(
        self,
        x: Tokens,
        grid: WindowGrid,
        affines: Sequence[Affine],
        prepared: Prepared | None = None,
    ) -> Tokens:
        """The block on tokens of `grid`.

        Args:
            x: tokens.
            grid: theirs.
            affines: of its two `norms`.
            prepared: what `attention.prepare` gives for it; None: made here.
        """
        first, second = affines
        x = self._add(x, self.attention(x, grid, prepared), first)
        return self._add(x, self.contract(gelu(self.expand(x))), second)

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
        self.eps, self.norms = eps, (name,)
        self.depthwise = Kernel(ndim, 1, channels, DEPTHWISE_SIZE)
        self.expand = Linear(channels, 4 * channels)
        self.contract = Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.empty(channels))
        norms[name] = channels

    def reset(self, generator: torch.Generator) -> None:
        """γ = 1e-6; the rest resets itself."""
        nn.init.constant_(self.scale, LAYER_SCALE)

    def forward(self, x: Tokens, grid: WindowGrid, affines: Sequence[Affine]) -> Tokens:
        """The block on tokens of `grid`; `affines` of its norm."""
        image = to_image(x, grid.shape)
        image = convolve(image, self.depthwise, grid.periodic, groups=x.shape[-1])
        (affine,) = affines
        hidden = affine_norm(to_tokens(image), affine, self.eps)
        hidden = self.contract(gelu(self.expand(hidden)))
        return torch.addcmul(x, self.scale, hidden)


class ResNetBlock(nn.Module):
    """`x + BN(conv(leaky ReLU(BN(conv(x)))))`, 3-wide convolutions, no conditioning."""

    def __init__(
        self, name: str, ndim: int, channels: int, eps: float, norms: dict[str, int]
    ) -> None:
        super().__init__()
        self.norms = ()
        self.first = Kernel(ndim, channels, channels, RESIDUAL_SIZE)
        self.second = Kernel(ndim, channels, channels, RESIDUAL_SIZE)
        self.first_norm = _BATCH_NORM[ndim](channels)
        self.second_norm = _BATCH_NORM[ndim](channels)

    def forward(self, x: Tokens, grid: WindowGrid, affines: Sequence[Affine]) -> Tokens:
        """The block on tokens of `grid`; its norms do not see the time."""
        image = to_image(x, grid.shape)
        image = self.first_norm(convolve(image, self.first, grid.periodic))
        image = convolve(F.leaky_relu(image), self.second, grid.periodic)
        return to_tokens(self.second_norm(image)) + x


Block = TransformerBlock | ConvNeXtBlock | ResNetBlock
_RESIDUAL_BLOCKS = {"convnext": ConvNeXtBlock, "resnet": ResNetBlock}


def transformer_blocks(
    config: MultiscaleConfig, part: str, level: int, norms: dict[str, int]
) -> nn.ModuleList:
    """The transformer blocks of a level in the "encoder" or the "decoder"."""
    depths, total = config.depths, sum(config.depths)
    before = sum(depths[:level]) if part == "encoder" else total + sum(depths[level + 1 :])
    drops = (config.drop_path * (before + j) / (2 * total - 1) for j in range(depths[level]))
    return nn.ModuleList(
        TransformerBlock(f"{part}.{level}.{j}", config, level, drop, norms)
        for j, drop in enumerate(drops)
    )


def residual_blocks(config: MultiscaleConfig, level: int, norms: dict[str, int]) -> nn.ModuleList:
    """The residual blocks on the connection from encoder to decoder."""
    block = _RESIDUAL_BLOCKS[config.residual_block]
    return nn.ModuleList(
        block(f"skips.{level}.{k}", config.ndim, config.channels(level), config.eps, norms)
        for k in range(config.skips[level])
    )


def placed(
    stages: Iterable[nn.Module], grids: Sequence[Sequence[WindowGrid]]
) -> list[list[tuple[Block, WindowGrid]]]:
    """The blocks of every stage, each with the grid that it works on."""
    found = []
    for stage, own in zip(stages, grids, strict=True):
        blocks = [cast(Block, block) for block in stage.children()]
        found.append([*zip(blocks, own, strict=True)])
    return found


def prepare_blocks(
    blocks: Sequence[tuple[TransformerBlock, WindowGrid]],
) -> dict[Block, Prepared]:
    """What `attention.prepare` gives for every block, of those that are alike at once."""
    alike: dict[tuple[WindowGrid, int, int], list[TransformerBlock]] = {}
    for block, grid in blocks:
        width = block.attention.output_bias.shape[0]
        alike.setdefault((grid, width, block.attention.heads), []).append(block)
    found: dict[Block, Prepared] = {}
    for (grid, *_), members in alike.items():
        prepared = prepare([member.attention for member in members], grid)
        found.update(zip(members, prepared, strict=True))
    return found
