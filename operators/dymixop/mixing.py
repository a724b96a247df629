"""The mixing layer of DyMixOp, and how the latent state evolves by it; channels-last (B, *S, H).

    F = GELU( Σ [conv(c) + FD(c)] + A( Σ G(c) ⊙ S(c) ) ),     c ← c + g F.

All but G and the product are linear: they collapse into three convolutions.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..core.transforms import transformed
from ..layers.convolution import (
    Convolution,
    FiniteDifference,
    compose,
    convolution,
    side_by_side,
    sum_of,
)
from ..layers.spectral import SpectralConvolution, spectral_convolution
from ..layers.stretching import Scale, stretched
from . import mixing_1d
from .kernels import Kernels


class MixingLayer(nn.Module):
    """`GELU( Σ [conv(c) + FD(c)] + A( Σ G(c) ⊙ S(c) ) )`.

    Args:
        ndim: space axes.
        hidden: channels h.
        modes, nonlinear_branches, linear_branches, kernel_size, mixing_kernel_size: as in
            `DyMixOpConfig`.
    """

    def __init__(
        self,
        ndim: int,
        hidden: int,
        modes: int,
        nonlinear_branches: int,
        linear_branches: int,
        kernel_size: int,
        mixing_kernel_size: int,
    ) -> None:
        super().__init__()
        n, h, k, k_mix = ndim, hidden, kernel_size, mixing_kernel_size
        nonlinear, linear = range(nonlinear_branches), range(linear_branches)
        self.globals = nn.ModuleList(SpectralConvolution(n, h, h, modes) for _ in nonlinear)
        self.locals = nn.ModuleList(Convolution(n, h, h, k) for _ in nonlinear)
        self.linear = nn.ModuleList(Convolution(n, h, h, k) for _ in linear)
        self.differences = nn.ModuleList(FiniteDifference(n, h, h) for _ in linear)
        self.expand = Convolution(n, h, 2 * h, k_mix)
        self.contract = Convolution(n, 2 * h, h, k_mix)

    def collapsing(self) -> tuple[nn.Module, ...]:
        """The parts of which `kernels` are made."""
        return self.locals, self.linear, self.differences, self.expand, self.contract

    def kernels(self, scale: Scale) -> Kernels:
        """The convolutions into which the layer collapses, on a grid of this scale."""
        local, local_bias = side_by_side(cast(list[Convolution], [*self.locals]))
        local = stretched(local, scale.stretch)
        branches = cast(list[Convolution | FiniteDifference], [*self.linear, *self.differences])
        mixing, bias = compose(self.contract, self.expand)
        mixing = stretched(mixing, scale.stretch)
        if not branches:
            return Kernels(local, local_bias, None, bias, mixing)
        linear, linear_bias = sum_of(branches, scale.width)
        linear = stretched(linear, scale.stretch)
        return Kernels(local, local_bias, linear, linear_bias + bias, mixing)

    def forward(
        self,
        latent: Float[Tensor, "B *S H"],
        scale: Scale,
        periodic: tuple[bool, ...],
        kernels: Kernels | None = None,
    ) -> Float[Tensor, "B *S H"]:
        """F_i of the latent state c on a grid of this scale."""
        kernels, dilation = kernels or self.kernels(scale), scale.dilation
        spectral = cast(list[SpectralConvolution], [*self.globals])
        spread = spectral_convolution(latent, spectral, periodic, dilation)
        if max(dilation, default=1) == 1 and mixing_1d.applies(latent, spread, kernels):
            return mixing_1d.mixing_layer(latent, spread, kernels, periodic[0])
        local, local_bias, linear, bias, mixing = kernels
        mixed = _times(spread, convolution(latent, local, local_bias, periodic, dilation))
        if len(spectral) > 1:
            mixed = mixed.unflatten(-1, (len(spectral), -1)).sum(-2)
        if linear is None:
            return F.gelu(convolution(mixed, mixing, bias, periodic, dilation))
        change = convolution(latent, linear, bias, periodic, dilation)
        return F.gelu(plus(change, convolution(mixed, mixing, None, periodic, dilation)))


def evolved(
    total: Tensor, latent: Tensor, change: Tensor, weight: Tensor, gate: Tensor
) -> tuple[Tensor, Tensor]:
    """`total + w F` and `c + g F`."""
    eager = torch.is_grad_enabled() and not torch.compiler.is_compiling()
    if eager and not transformed(total, latent, change, weight, gate):
        return _Evolved.apply(total, latent, change, weight, gate)
    return plus(total, change, weight), plus(latent, change, gate)


class _Evolved(torch.autograd.Function):
    """Both updates; the gradients of their scalars are inner products, made in one pass."""

    @staticmethod
    def forward(
        ctx: Any, total: Tensor, latent: Tensor, change: Tensor, weight: Tensor, gate: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(change, weight, gate)
        return torch.addcmul(total, weight, change), torch.addcmul(latent, gate, change)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, total: Tensor, latent: Tensor
    ) -> tuple[Tensor, ...]:
        change, weight, gate = ctx.saved_tensors
        flat = change.to(total.dtype).flatten()
        scalars = [torch.dot(gradient.flatten(), flat)[None] for gradient in (total, latent)]
        gradient = torch.addcmul(total * weight, gate, latent)
        return total, latent, gradient.to(change.dtype), *scalars


def plus(x: Tensor, y: Tensor, scale: Tensor | None = None) -> Tensor:
    """`x + scale · y`; in inference in place, for `x` is always an intermediate result."""
    if scale is None:
        return x + y if torch.is_grad_enabled() else x.add_(y)
    return torch.addcmul(x, scale, y) if torch.is_grad_enabled() else x.addcmul_(scale, y)


def _times(x: Tensor, y: Tensor) -> Tensor:
    """The same for `x · y`."""
    return x * y if torch.is_grad_enabled() else x.mul_(y)
