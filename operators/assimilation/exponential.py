"""Exponential time differencing for u_t = A u + G(u), with A diagonal in Fourier space.

    u(t + h) ≈ e^{hA} u + h φ₁(hA) G(u),                                        order 1
    a = e^{hA} u + h φ₁(hA) G(u),  u(t + h) ≈ a + h φ₂(hA) [G(a) − G(u)],       order 2

φ₁(z) = (eᶻ − 1)/z, φ₂(z) = (φ₁(z) − 1)/z (Cox & Matthews 2002, ETD1 and ETD2RK). Exact for any h
where G = 0 (then steps compose: h₁ then h₂ is h₁ + h₂) and where G is constant. Nothing forces A to
be stable.

A is a sum of derivatives with constant coefficients, so its symbol is a polynomial in i k, with the
angular wavenumber k = 2π m / length of the mode number m. On an even axis, odd derivatives of the
Nyquist mode are zero: on the grid it is a cosine, whose odd derivatives vanish at every point.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Inexact
from torch import Tensor

from ...datasets.base.annotations import Count
from ...datasets.base.config import Checked
from ...datasets.fields.grid import Grid
from ...datasets.fields.window import Context

# Below this |z| the φ functions are summed as series: by their recurrence they would lose a digit.
SERIES_RADIUS = 1.0
SERIES_TERMS = 20


@dataclass(frozen=True)
class Derivative(Checked):
    """A term of A: coefficient · parameter · ∂^orders, acting on one field or on all.

    Attributes:
        coefficient: a number in physical units.
        orders: order of the derivative along every axis; zeros for a multiple of the field.
        field: name of the field on which it acts; empty: on each.
        parameter: name of a parameter of the data by which the coefficient is multiplied; empty:
            none.
    """

    coefficient: float
    orders: tuple[Count, ...]
    field: str = ""
    parameter: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.orders) not in (1, 2, 3):
            raise ValueError(
                f"linear.orders needs one order per space axis; got {list(self.orders)}"
            )


def phi(z: Inexact[Tensor, " *Z"]) -> tuple[Tensor, Tensor]:
    """φ₁ and φ₂, accurate for every z, with gradients."""
    small = z.abs() < SERIES_RADIUS
    inside = torch.where(small, z, 0)
    series = torch.full_like(inside, 1 / math.factorial(SERIES_TERMS + 2))
    for j in reversed(range(SERIES_TERMS)):
        series = series * inside + 1 / math.factorial(j + 2)
    outside = torch.where(small, 1, z)
    far = torch.expm1(outside) / outside
    phi1 = torch.where(small, inside * series + 1, far)
    phi2 = torch.where(small, series, (far - 1) / outside)
    return phi1, phi2


def wavenumbers(grid: Grid, device: torch.device | str = "cpu") -> list[Float[Tensor, "..."]]:
    """Angular wavenumber per axis on the real-FFT modes, float64, shaped to broadcast."""
    *full, last = grid.shape
    modes = [torch.fft.fftfreq(n, 1 / n, dtype=torch.float64).round() for n in full]
    modes.append(torch.arange(last // 2 + 1, dtype=torch.float64))
    ndim = len(modes)
    return [
        (2 * math.pi / length * m)
        .reshape(*(-1 if i == axis else 1 for i in range(ndim)))
        .to(device)
        for axis, (m, length) in enumerate(zip(modes, grid.lengths, strict=True))
    ]


def monomial(grid: Grid, orders: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Π (i k)^order over the axes: the symbol of a derivative, complex128, shaped K."""
    total = torch.ones((), dtype=torch.complex128, device=device)
    for k, n, order in zip(wavenumbers(grid, device), grid.shape, orders, strict=True):
        if order % 2:
            nyquist = k.abs().max() if n % 2 == 0 else math.inf
            k = torch.where(k.abs() == nyquist, 0, k)
        total = total * (1j * k) ** order
    return total


def symbol(
    terms: Sequence[Derivative], context: Context, device: torch.device | str = "cpu"
) -> Complex[Tensor, "b C *K"]:
    """Symbol λ(k) of the given terms on the real-FFT modes, complex128; b is B or 1.

    Raises:
        ValueError: a term needs a parameter that the data do not have.
    """
    fields, grid = context.fields, context.grid
    *full, last = grid.shape
    total = torch.zeros(1, len(fields), *full, last // 2 + 1, dtype=torch.complex128, device=device)
    for term in terms:
        here = torch.tensor([float(term.field in ("", name)) for name in fields], device=device)
        here = here.reshape(-1, *(1,) * grid.ndim)
        value = coefficient(term, context, device) * here
        total = total + value * monomial(grid, term.orders, device)
    return total


def coefficient(term: Derivative, context: Context, device: torch.device | str) -> Tensor:
    """(b, 1, 1 …) float64 value of a term's coefficient.

    Raises:
        ValueError: it needs a parameter that the data do not have.
    """
    shape = (-1, *(1,) * (1 + context.grid.ndim))
    value = torch.tensor([term.coefficient], dtype=torch.float64, device=device)
    if term.parameter:
        if context.parameters is None or term.parameter not in context.parameter_names:
            known = ", ".join(context.parameter_names) or "none"
            raise ValueError(
                f"the known linear part needs the parameter {term.parameter!r}; the data have "
                f"{known}. Give it in the context's parameters (parameters={{{term.parameter!r}: "
                f"…}}, on the command line --parameter {term.parameter}=…)"
            )
        index = context.parameter_names.index(term.parameter)
        value = value * context.parameters[:, index].to(device, torch.float64)
    return value.reshape(shape)


def exponential_step(
    fields: Float[Tensor, "B C *S"],
    dt: Float[Tensor, " B"],
    symbol: Complex[Tensor, "b C *K"],
    tendency: Callable[[Tensor], Tensor] | None,
    order: int = 1,
) -> Float[Tensor, "B C *S"]:
    """The fields `dt` later; see the module's docstring.

    Coefficients are computed in double precision and applied in that of the fields, at least
    single, whatever autocast says.

    Args:
        fields: u, in physical units.
        dt: h, physical time per sample.
        symbol: of A, per sample or one for all.
        tendency: G, fields to their physical rate of change; None for zero.
        order: 1 or 2.
    """
    single = torch.promote_types(fields.dtype, torch.float32)
    fields = fields.to(single).contiguous()  # torch 2.8 refuses what is expanded
    axes = tuple(range(2, fields.ndim))
    h = _steps(dt, symbol)
    z = h * symbol
    whole = torch.exp(z).to(single.to_complex())
    spectrum = whole * torch.fft.rfftn(fields, dim=axes)
    if tendency is None:
        return torch.fft.irfftn(spectrum, s=fields.shape[2:], dim=axes)
    phi1, phi2 = phi(z)
    rate = torch.fft.rfftn(tendency(fields).to(single), dim=axes)
    spectrum = spectrum + (h * phi1).to(whole.dtype) * rate
    stage = torch.fft.irfftn(spectrum, s=fields.shape[2:], dim=axes)
    if order == 1:
        return stage
    change = torch.fft.rfftn(tendency(stage).to(single), dim=axes) - rate
    correction = (h * phi2).to(whole.dtype) * change
    return stage + torch.fft.irfftn(correction, s=fields.shape[2:], dim=axes)


def _steps(dt: Float[Tensor, " B"], symbol: Tensor) -> Float[Tensor, "b ..."]:
    """The steps shaped to multiply the symbol; a single one where all samples share it."""
    told = dt.device.type == "cpu" and not torch.compiler.is_compiling()
    same = told and bool((dt == dt[0]).all())
    h = (dt[:1] if same else dt).to(symbol.device, torch.float64)
    return h.reshape(-1, *(1,) * (symbol.ndim - 1))
