"""Fields in the real basis of cosines and sines up to a wavenumber, by FFTs of the whole grid.

e_q(x): cos(k x) of every mode k, then sin(k x) of all but the mean. Of a pair ±k one is a mode.
"""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


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
    spectrum = spectrum_of(weight)
    low, high = spectrum[..., minus], spectrum[..., plus]
    cosines = (low.real + high.real) / 2
    sines = ((low.real - high.real) / 2)[..., 1:, 1:]
    mixed = ((low.imag - high.imag) / 2)[..., :, 1:]
    upper = torch.cat((cosines, mixed), -1)
    lower = torch.cat((mixed.transpose(-1, -2), sines), -1)
    return torch.cat((upper, lower), -2)


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
    """Σ_qr e_q(x) A_qr e_r(x) of a symmetric A."""
    count = len(minus)
    cosines, mixed = matrix[..., :count, :count], F.pad(matrix[..., :count, count:], (1, 0))
    sines = F.pad(matrix[..., count:, count:], (1, 0, 1, 0))
    low = torch.complex((cosines + sines) / 2, mixed)
    high = torch.complex((cosines - sines) / 2, -mixed)
    index = torch.cat((minus.flatten(), plus.flatten()))
    return _real_part(torch.cat((low.flatten(2), high.flatten(2)), -1), index, space)


def _real_part(coefficients: Tensor, index: Tensor, space: tuple[int, ...]) -> Tensor:
    """Re Σ_j c_j e^{i k_j x}, with the flat mode indices k_j; an index may repeat."""
    total = coefficients.new_zeros(*coefficients.shape[:2], math.prod(space))
    total = total.index_add(2, index, coefficients).unflatten(2, space)
    axes = tuple(range(2, total.ndim))
    return torch.fft.ifftn(total, dim=axes, norm="forward").real
