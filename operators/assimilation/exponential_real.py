"""Exponential time differencing whose coefficients are computed in real numbers.

The same as `exponential`, for exported programs: ONNX has complex transforms and products, but no
complex exponential. A complex number is a pair of real and imaginary part, in double precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...datasets.fields.grid import Grid
from ...datasets.fields.window import Context
from .exponential import SERIES_RADIUS, SERIES_TERMS, Derivative, coefficient

Pair = tuple[Tensor, Tensor]


def wavenumber_arrays(grid: Grid) -> list[np.ndarray]:
    """As `exponential.wavenumbers`, in NumPy: constants of a program, not operations of it."""
    *full, last = grid.shape
    modes = [np.rint(np.fft.fftfreq(n, 1 / n)) for n in full] + [np.arange(last // 2 + 1.0)]
    return [
        (2 * math.pi / length * m).reshape([-1 if i == axis else 1 for i in range(grid.ndim)])
        for axis, (m, length) in enumerate(zip(modes, grid.lengths, strict=True))
    ]


def monomial_parts(grid: Grid, orders: Sequence[int], unit: float = 1.0) -> Pair:
    """Π (i k / unit)^order over the axes."""
    total = np.ones(())
    for k, n, order in zip(wavenumber_arrays(grid), grid.shape, orders, strict=True):
        if order % 2 and n % 2 == 0:
            k = np.where(np.abs(k) == np.abs(k).max(), 0.0, k)
        total = total * (k / unit) ** order
    quarter = sum(orders) % 4
    value, zero = torch.tensor(total.tolist(), dtype=torch.float64), torch.zeros(()).double()
    return [(value, zero), (zero, value), (-value, zero), (zero, -value)][quarter]


def symbol_parts(terms: Sequence[Derivative], context: Context) -> Pair:
    """As `exponential.symbol`.

    Raises:
        ValueError: a term needs a parameter that the data do not have.
    """
    grid, fields = context.grid, context.fields
    *full, last = grid.shape
    real = torch.zeros(1, len(fields), *full, last // 2 + 1, dtype=torch.float64)
    imaginary = real
    for term in terms:
        here = torch.tensor([float(term.field in ("", name)) for name in fields])
        value = coefficient(term, context, "cpu") * here.reshape(-1, *(1,) * grid.ndim)
        parts = monomial_parts(grid, term.orders)
        real, imaginary = real + value * parts[0], imaginary + value * parts[1]
    return real, imaginary


def exponential_step_real(
    fields: Float[Tensor, "B C *S"],
    dt: Float[Tensor, " B"],
    symbol: Pair,
    tendency: Callable[[Tensor], Tensor],
    order: int = 1,
) -> Float[Tensor, "B C *S"]:
    """As `exponential.exponential_step`."""
    axes, space = tuple(range(2, fields.ndim)), fields.shape[2:]
    h = dt.double().reshape(-1, *(1,) * (fields.ndim - 1))
    z = (h * symbol[0], h * symbol[1])
    phi1, phi2 = _phi(z)
    spectrum = _single(_exp(z)) * torch.fft.rfftn(fields, dim=axes)
    rate = torch.fft.rfftn(tendency(fields), dim=axes)
    spectrum = spectrum + _single((h * phi1[0], h * phi1[1])) * rate
    stage = torch.fft.irfftn(spectrum, s=space, dim=axes)
    if order == 1:
        return stage
    change = torch.fft.rfftn(tendency(stage), dim=axes) - rate
    correction = _single((h * phi2[0], h * phi2[1])) * change
    return stage + torch.fft.irfftn(correction, s=space, dim=axes)


def _phi(z: Pair) -> tuple[Pair, Pair]:
    """φ₁ and φ₂."""
    small = z[0].square() + z[1].square() < SERIES_RADIUS**2
    zero, one = torch.zeros_like(z[0]), torch.ones_like(z[0])
    inside = (torch.where(small, z[0], zero), torch.where(small, z[1], zero))
    series = (one * (1 / math.factorial(SERIES_TERMS + 2)), zero)
    for j in reversed(range(SERIES_TERMS)):
        real, imaginary = _times(series, inside)
        series = (real + 1 / math.factorial(j + 2), imaginary)
    outside = (torch.where(small, one, z[0]), torch.where(small, zero, z[1]))
    far = _over(_expm1(outside), outside)
    further = _over((far[0] - 1, far[1]), outside)
    near = _times(inside, series)
    phi1 = (torch.where(small, near[0] + 1, far[0]), torch.where(small, near[1], far[1]))
    phi2 = tuple(torch.where(small, a, b) for a, b in zip(series, further, strict=True))
    return phi1, (phi2[0], phi2[1])


def _exp(z: Pair) -> Pair:
    size = z[0].exp()
    return size * z[1].cos(), size * z[1].sin()


def _expm1(z: Pair) -> Pair:
    """eˣ cos y − 1 = (eˣ − 1) cos y − 2 sin²(y/2)."""
    real = torch.expm1(z[0]) * z[1].cos() - 2 * (z[1] / 2).sin().square()
    return real, z[0].exp() * z[1].sin()


def _times(a: Pair, b: Pair) -> Pair:
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def _over(a: Pair, b: Pair) -> Pair:
    size = b[0].square() + b[1].square()
    real, imaginary = _times(a, (b[0], -b[1]))
    return real / size, imaginary / size


def _single(z: Pair) -> Tensor:
    return torch.complex(z[0].float(), z[1].float())
