"""The smooth part of a correction: δ₁ of `correction`, and what it leaves of the variance.

It solves for the coefficients of the error in the real basis (see `fourier_basis`); what costs is
the inverse of I + Bᵀ w B, whose rows are fields times basis functions.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from .fourier_basis import analysed, diagonal, products_of, sums_of_modes, synthesised
from .measurement import Information

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
    blocks, fields = products.shape[:2], mixing.shape[1]
    gram = torch.einsum("qcp,bcqr,rcs->bpqsr", mixing, products, mixing)
    size = fields * len(mixing)
    inverse = _posterior(gram.reshape(blocks[0], size, size))
    seen = analysed(deviation * measured.weighted, modes)
    seen = torch.einsum("qcp,bcq->bpq", mixing, seen).flatten(1)
    latent = (inverse @ seen.to(inverse.dtype)[..., None]).to(deviation.dtype)
    latent = latent.reshape(blocks[0], fields, -1)
    change = synthesised(torch.einsum("qcp,bpq->bcq", mixing, latent), modes, space)
    inverse = inverse.to(deviation.dtype).reshape(blocks[0], fields, len(mixing), fields, -1)
    after = torch.einsum("qcp,bpqsr,rcs->bcqr", mixing, inverse, mixing)
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
    own = mixing.diagonal(dim1=1, dim2=2).T  # (C, Q)
    pairs = own[:, :, None] * own[:, None, :]
    products = products_of(deviation.square() * measured.precision, minus, plus)
    inverse = _posterior(pairs * products)
    seen = own * analysed(deviation * measured.weighted, modes)
    latent = (inverse @ seen.to(inverse.dtype)[..., None])[..., 0].to(deviation.dtype)
    change = synthesised(own * latent, modes, space)
    after = pairs * inverse.to(deviation.dtype)
    before = own[:, : len(modes)].square().sum(1)
    return deviation * change, _left(after, before, minus, plus, space)


def _left(
    after: Tensor, before: Tensor, minus: Tensor, plus: Tensor, space: tuple[int, ...]
) -> Float[Tensor, "B C *S"]:
    """diag(B (I + Bᵀ w B)⁻¹ Bᵀ) / diag(B Bᵀ)."""
    whole = before.reshape(-1, *(1,) * len(space)).clamp_min(SMALLEST)
    return (diagonal(after, minus, plus, space) / whole).clamp(SMALLEST, 1)


class _Posterior(torch.autograd.Function):
    """(I + G)⁻¹ of symmetric G, in double precision: accurate measurements make it ill-conditioned.

    Its gradient −P ∂P P is two products of matrices in the precision of G, where that of a Cholesky
    factor and of the inverse from it would be ten, and triangular solves, in double precision.
    """

    @staticmethod
    def forward(ctx: Any, gram: Tensor) -> Tensor:
        wide = torch.float32 if gram.device.type == "mps" else torch.float64
        matrix = gram.to(wide) + torch.eye(gram.shape[-1], dtype=wide, device=gram.device)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky_ex(matrix).L)
        ctx.save_for_backward(inverse.to(gram.dtype))
        return inverse

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> Tensor:
        (inverse,) = ctx.saved_tensors
        return -(inverse @ gradients[0].to(inverse.dtype) @ inverse)


def _posterior(gram: Float[Tensor, "*B N N"]) -> Float[Tensor, "*B N N"]:
    return cast(Tensor, _Posterior.apply(gram))
