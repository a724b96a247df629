"""The smooth part of a correction: δ₁ of `correction`, and what it leaves of the variance.

It solves for the coefficients of the error in the real basis (see `fourier_basis`); what costs is
the inverse of I + Bᵀ w B, whose rows are fields times basis functions.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .fourier_basis import analysed, diagonal, products_of, sums_of_modes, synthesised
from .measurement import Information
from .posterior import posterior

SMALLEST = 1e-6


def smooth_coupled(
    mixing: Float[Tensor, "Q C P"],
    modes: Int[Tensor, "R D"],
    deviation: Float[Tensor, "B C *S"],
    measured: Information,
) -> tuple[Float[Tensor, "B C *S"], Float[Tensor, "B C *S"]]:
    """δ₁, and the factor on the variance, for errors that are correlated between fields.

    Args:
        mixing: S in the real basis.
        modes: wavenumbers.
        deviation: D.
        measured: w and b.
    """
    space = tuple(deviation.shape[2:])
    minus, plus = sums_of_modes(modes, space)
    products = products_of(deviation.square() * measured.precision, minus, plus)
    seen = analysed(deviation * measured.weighted, modes)
    latent, after = posterior(mixing, products, seen)
    change = synthesised(latent, modes, space)
    before = mixing[: len(modes)].square().sum((0, 2))
    return deviation * change, _left(after, before, minus, plus, space)


def smooth_apart(
    mixing: Float[Tensor, "Q C C"],
    modes: Int[Tensor, "R D"],
    deviation: Float[Tensor, "B C *S"],
    measured: Information,
) -> tuple[Float[Tensor, "B C *S"], Float[Tensor, "B C *S"]]:
    """As `smooth_coupled`, each field by itself: of S, only the diagonals count."""
    space = tuple(deviation.shape[2:])
    minus, plus = sums_of_modes(modes, space)
    own = mixing.diagonal(dim1=1, dim2=2)
    products = products_of(deviation.square() * measured.precision, minus, plus)
    seen = analysed(deviation * measured.weighted, modes)
    each = [
        posterior(one[..., None], matrix, vector)
        for one, matrix, vector in zip(
            own.split(1, 1), products.split(1, 1), seen.split(1, 1), strict=True
        )
    ]
    latent, after = (torch.cat(parts, 1) for parts in zip(*each, strict=True))
    change = synthesised(latent, modes, space)
    before = own[: len(modes)].square().sum(0)
    return deviation * change, _left(after, before, minus, plus, space)


def _left(
    after: Tensor, before: Tensor, minus: Tensor, plus: Tensor, space: tuple[int, ...]
) -> Float[Tensor, "B C *S"]:
    """diag(B (I + Bᵀ w B)⁻¹ Bᵀ) / diag(B Bᵀ)."""
    whole = before.reshape(-1, *(1,) * len(space)).clamp_min(SMALLEST)
    return (diagonal(after, minus, plus, space) / whole).clamp(SMALLEST, 1)
