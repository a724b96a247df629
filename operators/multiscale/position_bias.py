"""The relative position bias of window attention (SwinV2, arXiv 2111.09883, equations 5 and 6).

    β[i, j] = 16·sigmoid(MLP(c(i − j))),    c(o) = sign(o)·log₂(1 + |8 o / (w − 1)|) / 3 per axis,

MLP(c) = W₂ relu(W₁ c + b₁): a table over the (2w − 1)ⁿ offsets of a window, read out for all pairs
of its tokens. A smaller piece of a window has the middle of the same table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..core.transforms import transformed
from ..layers.constants import constant
from ..layers.precision import single

# Ceiling of the bias, width of its network, base of the logarithm.
BIAS_RANGE, BIAS_HIDDEN, COORDINATE_RANGE = 16.0, 512, 8.0

Shape = tuple[int, ...]


class PositionBias(nn.Module):
    """The network that gives β."""

    def __init__(self, ndim: int, heads: int) -> None:
        super().__init__()
        self.hidden_weight = nn.Parameter(torch.empty(BIAS_HIDDEN, ndim))
        self.hidden_bias = nn.Parameter(torch.empty(BIAS_HIDDEN))
        self.weight = nn.Parameter(torch.empty(heads, BIAS_HIDDEN))

    def reset(self, generator: torch.Generator) -> None:
        """Weights N(0, 0.02²), bias 0."""
        nn.init.normal_(self.hidden_weight, 0, 0.02, generator=generator)
        nn.init.normal_(self.weight, 0, 0.02, generator=generator)
        nn.init.zeros_(self.hidden_bias)

    def forward(self, window: tuple[int, ...]) -> Float[Tensor, "H offsets"]:
        """The table of β over all offsets in a window, row-major."""
        return position_tables([self], window)[0]


def position_tables(
    networks: Sequence[PositionBias], window: tuple[int, ...]
) -> Float[Tensor, "L H offsets"]:
    """The tables of several networks with as many heads, at once."""
    parts = (
        [network.hidden_weight for network in networks],
        [network.hidden_bias for network in networks],
        [network.weight for network in networks],
    )
    with torch.autocast(parts[0][0].device.type, enabled=False):  # 16 has no spare digits
        inner, bias, outer = (single(stacked(part)) for part in parts)
        learns = torch.is_grad_enabled() and not torch.compiler.is_compiling()
        by_hand = learns and not transformed(inner, bias, outer)
        return (_Tables.apply if by_hand else _tables)(inner, bias, outer, window)


def stacked(weights: Sequence[Tensor]) -> Tensor:
    """The same weight of several modules, along a new first axis."""
    return torch.stack([*weights]) if len(weights) > 1 else weights[0][None]


def _tables(
    hidden_weight: Tensor, hidden_bias: Tensor, weight: Tensor, window: Shape
) -> Float[Tensor, "L H offsets"]:
    hidden = _hidden(hidden_weight, hidden_bias, window).relu_()
    return BIAS_RANGE * torch.sigmoid(weight @ hidden)


def _hidden(
    hidden_weight: Tensor, hidden_bias: Tensor, window: Shape
) -> Float[Tensor, "L hidden offsets"]:
    """W₁ c + b₁ at all offsets."""
    extended = _extended(window, hidden_weight.dtype, hidden_weight.device)
    return torch.cat((hidden_weight, hidden_bias[..., None]), -1) @ extended


class _Tables(torch.autograd.Function):
    """`_tables` with a short way back: both gradients are contractions of one product.

    With s the gradient at the sigmoid's input, M = [W₁ c + b₁ > 0] and c̃ = (c, 1), it is
    G[j; h, k] = Σₒ M[o, j] s[h, o] c̃[o, k], and dW₂ = Σₖ (W₁, b₁) G, d(W₁, b₁) = Σₕ W₂ G.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden_weight: Tensor, hidden_bias: Tensor, weight: Tensor, window: Shape
    ) -> Tensor:
        tables = _tables(hidden_weight, hidden_bias, weight, window)
        ctx.save_for_backward(hidden_weight, hidden_bias, weight, tables)
        ctx.window = window
        return tables

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        hidden_weight, hidden_bias, weight, tables = ctx.saved_tensors
        with torch.autocast(weight.device.type, enabled=False):
            slope = gradient * tables * (1 - tables / BIAS_RANGE)
            active = _hidden(hidden_weight, hidden_bias, ctx.window).gt_(0)
            extended = _extended(ctx.window, weight.dtype, weight.device)
            inner = (slope[:, :, None] * extended).flatten(1, 2) @ active.mT
            inner = inner.unflatten(1, (weight.shape[1], -1))  # (L, H, n + 1, hidden)
            first = torch.cat((hidden_weight.mT, hidden_bias[:, None]), 1)
            first_gradient = (inner * weight[:, :, None]).sum(1)
            weight_gradient = (inner * first[:, None]).sum(2)
        # Contiguous: distributed training keeps gradients as the weights lie in memory.
        hidden_gradient = first_gradient[:, :-1].mT.contiguous()
        return hidden_gradient, first_gradient[:, -1].contiguous(), weight_gradient, None


def expand(
    table: Float[Tensor, "H offsets"],
    window: tuple[int, ...],
    shapes: Sequence[tuple[int, ...]],
) -> list[Float[Tensor, "H _ _"]]:
    """β[i, j] = table[i − j], (H, N, N), for every shape, which fits into the window."""
    # With i and the table reversed, the offset of a pair is a sum: sliding windows give all pairs.
    pairs = table.flip(1).unflatten(1, [2 * size - 1 for size in window])
    for axis, size in enumerate(window, start=1):
        pairs = pairs.unfold(axis, size, 1)
    whole = pairs.reshape(-1, *(math.prod(window),) * 2).flip(1)
    return [_part(whole, window, shape).reshape(-1, *(math.prod(shape),) * 2) for shape in shapes]


def collect(
    gradients: Sequence[Float[Tensor, "H _ _"]],
    window: tuple[int, ...],
    shapes: Sequence[tuple[int, ...]],
) -> Float[Tensor, "H offsets"]:
    """The adjoint of `expand`: sums over all pairs of equal offset."""
    total = gradients[0]
    if [*shapes] != [window]:
        total = total.new_zeros(total.shape[0], *(math.prod(window),) * 2)
        for gradient, shape in zip(gradients, shapes, strict=True):
            _part(total, window, shape).add_(gradient.unflatten(2, shape).unflatten(1, shape))
    pairs = total.flip(1).unflatten(2, window).unflatten(1, window)
    for axis, size in reversed([*enumerate(window, start=1)]):
        sizes = [*pairs.shape[:-1]]
        sizes[axis] = 2 * size - 1
        pairs = torch.ops.aten.unfold_backward(pairs, sizes, axis, size, 1)
    return pairs.flatten(1).flip(1)


def _part(whole: Float[Tensor, "H N M"], window: Shape, shape: Shape) -> Tensor:
    """The pairs of a smaller piece of the window, (H, *shape, *shape)."""
    pairs = whole.unflatten(2, window).unflatten(1, window)
    return pairs[(slice(None), *(slice(size) for size in (*shape, *shape)))]


@constant
def _coordinates(window: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, " _"]:
    """Log-spaced offsets −(w − 1) … w − 1."""
    offset = torch.arange(1 - window, window, dtype=torch.float64)
    offset = COORDINATE_RANGE * offset / max(window - 1, 1)
    logs = torch.log2(offset.abs() + 1) / math.log2(COORDINATE_RANGE)
    return (logs * offset.sign()).to(device, dtype)


@constant
def _extended(
    window: Shape, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "extended offsets"]:
    """(c, 1) of all offsets, row-major."""
    mesh = torch.meshgrid(*(_coordinates(w, dtype, device) for w in window), indexing="ij")
    return torch.stack((*mesh, torch.ones_like(mesh[0]))).flatten(1)
