"""Fields in the real basis of cosines and sines up to a wavenumber, by FFTs of the whole grid.

e_q(x): cos(k x) of every mode k, then sin(k x) of all but the mean. Of a pair ±k one is a mode.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def half_modes(ndim: int, modes: int) -> Tensor:
    """(R, ndim) mode numbers below `modes` per axis, one of each pair ±k; the mean first."""
    each = range(-modes + 1, modes)
    zero = (0,) * ndim
    return torch.tensor([k for k in itertools.product(*(each,) * ndim) if k >= zero])


def sums_of_modes(modes: Tensor, space: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """(R, R) flat indices of k − k′ and k + k′ in a full FFT on `space`."""
    return flat_index(modes[:, None] - modes, space), flat_index(modes[:, None] + modes, space)


def flat_index(modes: Tensor, space: tuple[int, ...]) -> Tensor:
    """Where modes (…, ndim) lie in a flattened full FFT on `space`."""
    flat = torch.zeros_like(modes[..., 0])
    for axis, n in enumerate(space):
        flat = flat * n + modes[..., axis] % n
    return flat


def spectrum_of(field: Float[Tensor, "B C *S"]) -> Tensor:
    """Unnormalised full FFT over space, flattened."""
    return torch.fft.fftn(field, dim=tuple(range(2, field.ndim))).flatten(2)


def products_of(
    weight: Float[Tensor, "B C *S"], minus: Tensor, plus: Tensor
) -> Float[Tensor, "B C Q Q"]:
    """Σ_x w(x) e_q(x) e_r(x) for the basis e of cosines and sines, from the spectrum of w."""
    return cast(Tensor, _Products.apply(weight, minus, plus))


def analysed(field: Float[Tensor, "B C *S"], modes: Tensor) -> Float[Tensor, "B C Q"]:
    """Σ_x f(x) e_q(x)."""
    chosen = spectrum_of(field)[..., flat_index(modes, tuple(field.shape[2:]))]
    return torch.cat((chosen.real, -chosen.imag[..., 1:]), -1)


def synthesised(
    latent: Float[Tensor, "B C Q"], modes: Tensor, space: tuple[int, ...]
) -> Float[Tensor, "B C *S"]:
    """Σ_q a_q e_q(x): the real part of Σ (a_cos − i a_sin) e^{ikx}."""
    count = len(modes)
    sines = F.pad(latent[..., count:], (1, 0))
    coefficients = torch.complex(latent[..., :count].contiguous(), -sines)
    return _real_part(coefficients, flat_index(modes, space), space)


def diagonal(
    matrix: Float[Tensor, "B C Q Q"], minus: Tensor, plus: Tensor, space: tuple[int, ...]
) -> Float[Tensor, "B C *S"]:
    """Σ_qr e_q(x) A_qr e_r(x)."""
    return cast(Tensor, _Diagonal.apply(matrix, minus, plus, space))


class _Products(torch.autograd.Function):
    """`products_of`, whose adjoint is `diagonal`."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, minus: Tensor, plus: Tensor) -> Tensor:
        ctx.save_for_backward(minus, plus)
        ctx.space = tuple(weight.shape[2:])
        return _products(weight, minus, plus)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor, None, None]:
        minus, plus = ctx.saved_tensors
        return _diagonal(gradient, minus, plus, ctx.space), None, None


class _Diagonal(torch.autograd.Function):
    """`diagonal`, whose adjoint is `products_of`."""

    @staticmethod
    def forward(
        ctx: Any, matrix: Tensor, minus: Tensor, plus: Tensor, space: tuple[int, ...]
    ) -> Tensor:
        ctx.save_for_backward(minus, plus)
        return _diagonal(matrix, minus, plus, space)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor, None, None, None]:
        return _products(gradient, *ctx.saved_tensors), None, None, None


def _products(weight: Tensor, minus: Tensor, plus: Tensor) -> Float[Tensor, "B C Q Q"]:
    spectrum, count = spectrum_of(weight) / 2, len(minus)
    low, high = (
        spectrum.gather(2, index.flatten().expand(*weight.shape[:2], -1)).unflatten(2, index.shape)
        for index in (minus, plus)
    )
    found = weight.new_empty(*weight.shape[:2], 2 * count - 1, 2 * count - 1)
    cosines, sines = found[..., :count, :count], found[..., count:, count:]
    mixed = found[..., :count, count:]
    torch.add(low.real, high.real, out=cosines)
    torch.sub(low.real[..., 1:, 1:], high.real[..., 1:, 1:], out=sines)
    torch.sub(low.imag[..., 1:], high.imag[..., 1:], out=mixed)
    found[..., count:, :count] = mixed.mT
    return found


def _diagonal(
    matrix: Tensor, minus: Tensor, plus: Tensor, space: tuple[int, ...]
) -> Float[Tensor, "B C *S"]:
    count = len(minus)
    cosines, sines = matrix[..., :count, :count], matrix[..., count:, count:]
    mixed = matrix[..., :count, count:] + matrix[..., count:, :count].mT
    mixed = F.pad(mixed, (1, 0))
    low, high = torch.complex(cosines, mixed), torch.complex(cosines, -mixed)
    low.real[..., 1:, 1:] += sines
    high.real[..., 1:, 1:] -= sines
    total = low.new_zeros(*matrix.shape[:2], math.prod(space))
    for values, index in ((low, minus), (high, plus)):
        total.scatter_add_(2, index.flatten().expand(*matrix.shape[:2], -1), values.flatten(2))
    return _real(total / 2, space)


def _real_part(coefficients: Tensor, index: Tensor, space: tuple[int, ...]) -> Tensor:
    """Re Σ_j c_j e^{i k_j x}, with the flat mode indices k_j; an index may repeat."""
    total = coefficients.new_zeros(*coefficients.shape[:2], math.prod(space))
    return _real(total.index_add(2, index, coefficients), space)


def _real(spectrum: Tensor, space: tuple[int, ...]) -> Tensor:
    """Re Σ_k c_k e^{ikx} of all modes of a full FFT, flattened."""
    full = spectrum.unflatten(2, space)
    return torch.fft.ifftn(full, dim=tuple(range(2, full.ndim)), norm="forward").real
