"""Layer norms whose gain and shift are affine in the lead time, all computed in one go.

    norm(x, t) = (a + b t) · (x − μ) / √(σ² + ε) + (c + d t),

μ and σ² over the channels. The a, b, c, d of every norm of a network lie in four vectors.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..core.transforms import transformed


class Affine(NamedTuple):
    """Gain and shift of one norm: (B, D), or (1, D) for all of a batch."""

    gain: Tensor
    shift: Tensor


class Conditioning(nn.Module):
    """Gains and shifts of all norms of a network.

    Args:
        norms: channels of every norm, by name, in the order in which they lie in the vectors.
        conditional: whether they depend on the lead time; without, these are plain layer norms.
    """

    def __init__(self, norms: dict[str, int], conditional: bool) -> None:
        super().__init__()
        self.norms = dict(norms)
        self.conditional = conditional
        total = sum(norms.values())
        self.gain_offset = nn.Parameter(torch.empty(total))
        self.shift_offset = nn.Parameter(torch.empty(total))
        self.gain_slope = nn.Parameter(torch.empty(total)) if conditional else None
        self.shift_slope = nn.Parameter(torch.empty(total)) if conditional else None

    def reset(self, generator: torch.Generator) -> None:
        """Published initialisation: slopes N(0, 0.02²) and offsets 0; plain norms the identity."""
        nn.init.constant_(self.gain_offset, 0.0 if self.conditional else 1.0)
        nn.init.zeros_(self.shift_offset)
        for slope in (self.gain_slope, self.shift_slope):
            if slope is not None:
                nn.init.normal_(slope, 0, 0.02, generator=generator)

    def forward(self, time: Float[Tensor, " B"]) -> dict[str, Affine]:
        """Gain and shift of every norm at the lead times."""
        gain = _affine_in(time, self.gain_offset, self.gain_slope)
        shift = _affine_in(time, self.shift_offset, self.shift_slope)
        sizes = list(self.norms.values())
        pairs = zip(gain.split(sizes, -1), shift.split(sizes, -1), strict=True)
        return {name: Affine(*pair) for name, pair in zip(self.norms, pairs, strict=True)}


def _affine_in(
    time: Float[Tensor, " B"], offset: Float[Tensor, " total"], slope: Tensor | None
) -> Float[Tensor, "_ total"]:
    """`offset + slope · t`, one row per lead time; a single row without a slope."""
    if slope is None:
        return offset[None]
    return torch.addcmul(offset, time.to(offset.dtype)[:, None], slope)


def affine_norm(
    x: Float[Tensor, "B N D"],
    affine: Affine,
    eps: float,
    residual: Float[Tensor, "B N D"] | None = None,
) -> Float[Tensor, "B N D"]:
    """Layer norm over the channels with one gain and shift per batch entry, plus the residual."""
    gain, shift = affine
    x = x.to(gain.dtype)  # autocast gives half precision; statistics and residuals stay full
    size = gain.shape[-1:]
    if transformed(x, gain, shift):
        normed = torch.addcmul(shift[:, None], _layer_norm(x, eps), gain[:, None])
        return normed if residual is None else normed + residual
    if gain.shape[0] == 1:
        normed = F.layer_norm(x, size, gain[0], shift[0], eps)
        # A norm's output is its own and unsaved: adding in place is safe and saves a pass.
        return normed if residual is None else normed.add_(residual)
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return _AffineNorm.apply(x, gain, shift, eps, residual)
    normed = F.layer_norm(x, size, None, None, eps)
    normed = torch.addcmul(shift[:, None], normed, gain[:, None])
    return normed if residual is None else normed.add_(residual)


def _layer_norm(x: Float[Tensor, "B N D"], eps: float) -> Float[Tensor, "B N D"]:
    """Over the last axis; the gradient of the library's tangent takes mean and deviation as given.

    That gradient is wrong and nothing says so.
    """
    variance, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
    return (x - mean) * (variance + eps).rsqrt()


class _AffineNorm(torch.autograd.Function):
    """`affine_norm` with several gains; no product is made twice on the way back."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, eps: float, residual: Tensor | None
    ) -> Tensor:
        normed, *moments = torch.native_layer_norm(x, gain.shape[-1:], None, None, eps)
        ctx.save_for_backward(x, gain, normed, *moments)
        output = torch.addcmul(shift[:, None], normed, gain[:, None])
        return output if residual is None else output.add_(residual)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, gain, normed, mean, deviation = ctx.saved_tensors
        inner, first, second = gradient * gain[:, None], None, None
        if ctx.needs_input_grad[1]:
            first = (gradient * normed).sum(1)
        if ctx.needs_input_grad[2]:
            second = gradient.sum(1)
        only = [True, False, False]
        inner, _, _ = torch.ops.aten.native_layer_norm_backward(
            inner, x, [*gain.shape[-1:]], mean, deviation, None, None, only
        )
        return inner, first, second, None, gradient if ctx.needs_input_grad[4] else None
