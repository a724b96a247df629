"""A mixing layer in 1D in training on a CPU: the same function, with a backward pass of its own.

    F = GELU( K ∗ c + b + A (G ⊙ (S c + s)) ),   K three taps wide, S and A channel matrices.

The wide convolution runs without padding and the two points at the ends are completed after it, so
that no padded copy is made, and the gradient of c is collected in one array in place.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..core.transforms import transformed
from .kernels import Kernels


def applies(latent: Tensor, spread: Tensor, kernels: Kernels) -> bool:
    """Whether `mixing_layer` can stand for the plain operations."""
    device, linear = latent.device.type, kernels.linear
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    if device != "cpu" or linear is None:
        return False
    # One branch, three taps between two channel matrices, and nothing that casts.
    local, mixing = kernels.local, kernels.mixing
    widths = [weight.shape[2:] for weight in (local, linear, mixing)]
    square = local.shape[:2] == mixing.shape[:2]
    same = latent.dtype == spread.dtype == local.dtype and not torch.is_autocast_enabled(device)
    if not (widths == [(1,), (3,), (1,)] and square and same):
        return False
    return not transformed(latent, spread, *(weight for weight in kernels if weight is not None))


def mixing_layer(
    latent: Float[Tensor, "B N H"], spread: Float[Tensor, "B N H"], kernels: Kernels, periodic: bool
) -> Float[Tensor, "B N H"]:
    """F of the latent state c and `spread` = G(c), where `applies` says so.

    Args:
        latent: c.
        spread: the global convolution of c.
        kernels: S, K and A.
        periodic: whether the axis wraps around; the value at the end is repeated otherwise.
    """
    local, mixing = kernels.local.squeeze(2), kernels.mixing.squeeze(2)
    assert kernels.linear is not None
    # A function of autograd takes its tensors one by one.
    weights = local, kernels.local_bias, kernels.linear, kernels.bias, mixing
    return _MixingLayer.apply(latent, spread, *weights, periodic)


class _MixingLayer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, latent: Tensor, spread: Tensor, *weights_and_periodic: Any) -> Tensor:
        local, local_bias, kernel, bias, mixing, periodic = weights_and_periodic
        product = F.linear(latent, local, local_bias)
        mixed = spread * product
        total = _without_ends(latent, kernel, bias)
        for at, seen, tap in _ends(periodic):
            total[:, at].addmm_(latent[:, seen], kernel[:, :, tap].T)
        _rows(total).addmm_(_rows(mixed), mixing.T)
        ctx.save_for_backward(latent, spread, product, mixed, total, local, kernel, mixing)
        ctx.periodic = periodic
        return F.gelu(total)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        latent, spread, product, mixed, total, local, kernel, mixing = ctx.saved_tensors
        change = torch.ops.aten.gelu_backward(gradient, total)
        d_latent, d_kernel, d_bias = _without_ends_backward(change, latent, kernel)
        for at, seen, tap in _ends(ctx.periodic):
            d_latent[:, seen].addmm_(change[:, at], kernel[:, :, tap])
            d_kernel[:, :, tap].addmm_(change[:, at].T, latent[:, seen])
        d_mixing = _rows(change).T @ _rows(mixed)
        d_mixed = change @ mixing
        d_spread = d_mixed * product
        d_product = _rows(d_mixed.mul_(spread))
        _rows(d_latent).addmm_(d_product, local)
        d_local = d_product.T @ _rows(latent)
        d_local_bias = d_product.sum(0)
        return d_latent, d_spread, d_local, d_local_bias, d_kernel, d_bias, d_mixing, None


def _ends(periodic: bool) -> tuple[tuple[int, int, int], ...]:
    """(where the convolution is completed, the point that it sees there, the tap)."""
    return ((0, -1 if periodic else 0, 0), (-1, 0 if periodic else -1, 2))


def _rows(x: Tensor) -> Tensor:
    return x.view(-1, x.shape[-1])


# In 2D the library has a channels-last layout, in 1D it has none: the axis of length one.
def _without_ends(latent: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """The convolution with zeros beyond the ends, channels last."""
    y = F.conv2d(_as_image(latent), kernel.unsqueeze(2), bias, padding=(0, 1))
    return y.movedim(1, -1).squeeze(1)


def _without_ends_backward(
    change: Tensor, latent: Tensor, kernel: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of c, kernel and bias."""
    x, weight, bias = torch.ops.aten.convolution_backward(
        _as_image(change),
        _as_image(latent),
        kernel.unsqueeze(2),
        [kernel.shape[0]],
        stride=[1, 1],
        padding=[0, 1],
        dilation=[1, 1],
        transposed=False,
        output_padding=[0, 0],
        groups=1,
        output_mask=[True, True, True],
    )
    return x.movedim(1, -1).squeeze(1), weight.squeeze(2), bias


def _as_image(x: Tensor) -> Tensor:
    """(B, N, H) as channels-last (B, H, 1, N)."""
    return x.unsqueeze(1).movedim(-1, 1)
