"""The covariance of what a measurement leaves of smooth errors, and its gradient.

With the precision M_c = Eᵀ w_c E of every field c in the real basis E (see `fourier_basis`) and the
amplitudes S, which mix fields p, one basis function q at a time,

    P = (I + Σ_c S_cᵀ M_c S_c)⁻¹,        T = S P Sᵀ = (Λ⁻¹ + M)⁻¹,  Λ = S Sᵀ.

What a correction needs of T are its products with a vector, and its blocks T_cc of a field with
itself. With gradients H_c of those, and Y_c = P S_cᵀ,

    X = Σ_c (Y_c H_c) Y_cᵀ,        ∂M_c = −S_c X S_cᵀ,        ∂S_c = 2 H_c Y_cᵀ − 2 M_c S_c X,

of the latter only what one basis function has with itself, and of the symmetric X half: with three
fields that is half the work of −P ∂P P. All is in double precision: accurate measurements make P
ill-conditioned, and what is small in it is multiplied by precisions as large again.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable


def coupled_posterior(
    mixing: Float[Tensor, "Q C P"],
    precision: Float[Tensor, "B C Q R"],
    seen: Float[Tensor, "B C Q"],
) -> tuple[Float[Tensor, "B C Q"], Float[Tensor, "B C Q R"]]:
    """T times `seen`, and the blocks T_cc.

    Args:
        mixing: S.
        precision: M, symmetric.
        seen: a vector.
    """
    if seen.device.type != "cpu" or len(seen) <= 1:
        return cast(tuple[Tensor, Tensor], _Coupled.apply(mixing, precision, seen))
    # One trajectory's matrices stay in a processor's cache.
    each = [
        _Coupled.apply(mixing, *row) for row in zip(precision.split(1), seen.split(1), strict=True)
    ]
    products, blocks = zip(*each, strict=True)
    return torch.cat(products), torch.cat(blocks)


def posterior(gram: Float[Tensor, "*B N N"]) -> Float[Tensor, "*B N N"]:
    """(I + G)⁻¹ of symmetric G, in double precision."""
    return cast(Tensor, _Posterior.apply(gram))


class _Posterior(torch.autograd.Function):
    """Its gradient −P ∂P P is two products of matrices, where that of a Cholesky factor and of the
    inverse from it would be ten, and triangular solves."""

    @staticmethod
    def forward(ctx: Any, gram: Tensor) -> Tensor:
        eye = torch.eye(gram.shape[-1], dtype=_wide(gram), device=gram.device)
        inverse = _inverse(gram + eye)
        ctx.save_for_backward(inverse)
        ctx.dtype = gram.dtype
        return inverse

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> Tensor:
        (inverse,) = ctx.saved_tensors
        return -(inverse @ gradient.to(inverse.dtype) @ inverse).to(ctx.dtype)


class _Coupled(torch.autograd.Function):
    """See the module's docstring; `latent` is P Sᵀ `seen`."""

    @staticmethod
    def forward(ctx: Any, mixing: Tensor, precision: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        dtype, wide = precision.dtype, _wide(precision)
        each = mixing.to(wide).permute(1, 2, 0)  # (C, P, Q)
        inverse = _inverse(_one_and_gram(each, precision.to(wide)))
        right = _times_mixing(inverse, each)
        blocks = _from_rows(right, each)
        latent = _latent(right, seen.to(wide))
        ctx.save_for_backward(each, precision, seen, right, latent)
        return (each * latent[:, None]).sum(2).to(dtype), blocks.to(dtype)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, of_product: Tensor, of_blocks: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        each, precision, seen, right, latent = ctx.saved_tensors
        wide, dtype = each.dtype, precision.dtype
        precision, seen, of_product, of_blocks = (
            x.to(wide) for x in (precision, seen, of_product, of_blocks)
        )
        half = (right.flatten(2, 3) @ ((of_blocks + of_blocks.mT) / 2)).view_as(right)
        change = _mixed_square(half, right, each)
        of_precision = -_from_rows(change, each)
        own = half.diagonal(dim1=-2, dim2=-1) - (precision[:, :, None] * change).sum(-1)
        of_mixing = 2 * own.sum(0)
        # The product with a vector: P is symmetric, so its adjoint is the same product.
        other = _latent(right, of_product)
        of_seen, product = ((each * x[:, None]).sum(2) for x in (other, latent))
        of_precision -= of_seen[..., None] * product[..., None, :]
        back, there = ((precision @ x[..., None])[..., 0] for x in (of_seen, product))
        for field, way in ((of_product - back, latent), (seen - there, other)):
            of_mixing = of_mixing + (field[:, :, None] * way[:, None]).sum(0)
        return of_mixing.permute(2, 0, 1).to(dtype), of_precision.to(dtype), of_seen.to(dtype)


def _one_and_gram(each: Float[Tensor, "C P Q"], precision: Tensor) -> Float[Tensor, "B N N"]:
    """I + Σ_c S_cᵀ M_c S_c, rows (p, q)."""
    fields, size = each.shape[1:]
    gram = precision.new_empty(len(precision), fields, size, fields, size)
    for c, (own, of_field) in enumerate(zip(each, precision.unbind(1), strict=True)):
        for p in range(fields):
            scaled = of_field * own[p, :, None]
            for s in range(p, fields):
                _add_product(gram[:, p, :, s], scaled, own[s], first=c == 0)
    for p in range(fields):
        for s in range(p):
            gram[:, p, :, s] = gram[:, s, :, p].mT
    gram = gram.view(len(precision), fields * size, -1)
    gram.diagonal(dim1=-2, dim2=-1).add_(1)
    return gram


def _times_mixing(inverse: Float[Tensor, "B N N"], each: Tensor) -> Float[Tensor, "B C P Q R"]:
    """Y_c = P S_cᵀ, rows (p, q), columns r."""
    fields, size = each.shape[1:]
    apart = inverse.view(len(inverse), 1, fields, size, fields, size)
    total = inverse.new_empty(len(inverse), len(each), fields, size, size)
    for s in range(fields):
        _add_product(total, apart[..., s, :], each[:, s, None, None], first=s == 0)
    return total


def _from_rows(matrix: Float[Tensor, "B C P Q R"], each: Tensor) -> Float[Tensor, "B C Q R"]:
    """Σ_p S_c of the rows (p, q) of matrix c."""
    total = matrix[:, :, 0] * each[:, 0, :, None]
    for p in range(1, matrix.shape[2]):
        total.addcmul_(matrix[:, :, p], each[:, p, :, None])
    return total


def _latent(right: Float[Tensor, "B C P Q R"], vector: Tensor) -> Float[Tensor, "B P Q"]:
    """P Sᵀ times a vector (B, C, R)."""
    return (right.flatten(2, 3) @ vector[..., None]).sum(1).view(len(right), *right.shape[2:4])


def _mixed_square(
    half: Float[Tensor, "B C P Q R"], right: Float[Tensor, "B C P Q R"], each: Tensor
) -> Float[Tensor, "B C P Q R"]:
    """X S_cᵀ of X = Σ_c `half`_c `right`_cᵀ, which is symmetric: one of its halves is computed."""
    fields = half.shape[2]
    total = torch.empty_like(half)
    for p in range(fields):
        rows, columns = half[:, :, p], right[:, :, p:].flatten(2, 3)
        found = (rows @ columns.mT).sum(1).unflatten(-1, (fields - p, -1))  # (B, Q, P - p, R)
        for s in range(p, fields):
            block = found[:, None, :, s - p]
            _add_product(total[:, :, p], block, each[:, s, None], first=s == 0)
            if s > p:
                _add_product(total[:, :, s], block.mT, each[:, p, None], first=p == 0)
    return total


def _add_product(total: Tensor, left: Tensor, right: Tensor, *, first: bool) -> None:
    """Of the first, `total` becomes the product: memory is not filled with zeros before."""
    if first:
        torch.mul(left, right, out=total)
    else:
        total.addcmul_(left, right)


def _inverse(matrix: Float[Tensor, "*B N N"]) -> Float[Tensor, "*B N N"]:
    return torch.cholesky_inverse(torch.linalg.cholesky_ex(matrix).L)


def _wide(like: Tensor) -> torch.dtype:
    return torch.float32 if like.device.type == "mps" else torch.float64
