"""The covariance of what a measurement leaves of smooth errors, and its gradient.

With the precision M_c of every field in the real basis (see `fourier_basis`), and per basis
function the covariance Λ of the fields before the measurement,

    T = (Λ⁻¹ + M)⁻¹,        ∂(Λ⁻¹ + M) = −T H T,

H a gradient with respect to T. Λ⁻¹ couples a basis function with itself alone, M a field with
itself alone. So fields are eliminated one against the others by products with diagonal matrices,
and of T H T only each field's own block and what a basis function has with itself is needed: with
three fields, about half of the products that the inverse of the whole matrix and T H T would take.

Rows are scaled so that Λ⁻¹ + M has a unit diagonal where precision is judged: the largest entry on
the diagonal of its inverse is how many times the variance of a basis function would be smaller if
all others were known (a variance inflation factor). Where it is small, single precision is exact to
its rounding, however accurate the sensors; else, as with few accurate sensors, all is done again in
double precision.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

# Up to these inflations single precision is used: by the prior alone, and with what is measured.
_RELATED, _INFLATED = 30.0, 300.0
_INDEPENDENT = 1e-7  # of a field's variance, at least, that no other tells: Λ has an inverse
_TINY = 1e-20


def posterior(
    mixing: Float[Tensor, "Q C P"],
    precision: Float[Tensor, "B C Q R"],
    seen: Float[Tensor, "B C Q"],
) -> tuple[Float[Tensor, "B C Q"], Float[Tensor, "B C Q R"]]:
    """T times `seen`, and the blocks of T of a field with itself.

    The gradient of the blocks has to be symmetric, as that of `diagonal` is.

    Args:
        mixing: S of Λ = S Sᵀ.
        precision: M, symmetric.
        seen: a vector.
    """
    prior, alone = _inverse_prior(mixing.to(_wide(mixing)))
    on_host = precision.device.type == "cpu"
    single = on_host and precision.dtype == torch.float32 and bool(alone >= 1 / _RELATED)
    if not on_host or len(seen) <= 1:
        return cast(tuple[Tensor, Tensor], _Posterior.apply(prior, precision, seen, single))
    # One trajectory's matrices stay in a processor's cache.
    each = [
        _Posterior.apply(prior, *row, single)
        for row in zip(precision.split(1), seen.split(1), strict=True)
    ]
    products, blocks = zip(*each, strict=True)
    return torch.cat(products), torch.cat(blocks)


def _inverse_prior(
    mixing: Float[Tensor, "Q C P"],
) -> tuple[Float[Tensor, "C C Q"], Float[Tensor, ""]]:
    """Λ⁻¹, and the least share of a field's variance that the fields before it do not tell.

    Where that share is next to nothing, or a field has no errors, it is enlarged.
    """
    covariance = mixing @ mixing.mT
    own = covariance.diagonal(dim1=1, dim2=2)
    with torch.no_grad():
        size = (own + _TINY).rsqrt()
        factor, failed = torch.linalg.cholesky_ex(size[:, :, None] * covariance * size[:, None])
        alone = factor.diagonal(dim1=1, dim2=2).square().amin(1)
        alone = torch.where(failed == 0, alone, 0)
        added = (_INDEPENDENT - alone).clamp_min(0)[:, None] * own + _TINY
    inverse = torch.linalg.inv_ex(covariance + torch.diag_embed(added)).inverse
    return inverse.permute(1, 2, 0), alone.min()


class _Posterior(torch.autograd.Function):
    """See the module's docstring; the inverse prior is the same for all trajectories."""

    @staticmethod
    def forward(
        ctx: Any, prior: Tensor, precision: Tensor, seen: Tensor, single: bool
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        covariance = _covariance(prior, precision, single)
        product = _times(covariance, seen)
        ctx.save_for_backward(covariance, product)
        ctx.dtypes = prior.dtype, precision.dtype
        blocks = covariance.diagonal(dim1=1, dim2=3).movedim(-1, 1)
        return product.to(seen.dtype), blocks.to(precision.dtype, copy=True)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, of_product: Tensor | None, of_blocks: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        covariance, product = ctx.saved_tensors
        of_prior = of_precision = of_seen = None
        if of_blocks is not None:
            of_prior, of_precision = _sandwiched(covariance, of_blocks.to(covariance.dtype))
        if of_product is not None:
            # T is symmetric: the adjoint of a product with it is the same product.
            of_seen = _times(covariance, of_product)
            outer = of_seen[..., None] * product[..., None, :]
            itself = (of_seen[:, :, None] * product[:, None]).sum(0)
            of_precision = outer if of_precision is None else of_precision.add_(outer)
            of_prior = itself if of_prior is None else of_prior.add_(itself)
            of_seen = of_seen.to(of_product)
        if of_prior is None or of_precision is None:
            return None, None, None, None
        like_prior, like_precision = ctx.dtypes
        of_prior, of_precision = -of_prior.to(like_prior), of_precision.neg_().to(like_precision)
        return of_prior, of_precision, of_seen, None


def _covariance(prior: Tensor, precision: Tensor, single: bool) -> Float[Tensor, "B C Q C Q"]:
    """T, in single precision where that is as good as its inputs, if it may be at all."""
    if single:
        found = _eliminated(prior.float(), precision)
        left = found.flatten(3).flatten(1, 2).diagonal(dim1=-2, dim2=-1)
        own = prior.diagonal(dim1=0, dim2=1).T + precision.diagonal(dim1=-2, dim2=-1)
        if bool((own * left.view_as(own)).max() <= _INFLATED):  # not so where anything is NaN
            return found
    wide = _wide(precision)
    return _eliminated(prior.to(wide), precision.to(wide))


def _eliminated(prior: Tensor, precision: Tensor) -> Float[Tensor, "B C Q C Q"]:
    """T by the first field against the others."""
    batch, fields, size = precision.shape[:3]
    first = precision[:, 0].clone()
    first.diagonal(dim1=-2, dim2=-1).add_(prior[0, 0])
    first = _inverse(first)
    if fields == 1:
        return first.view(batch, 1, size, 1, size)
    coupling = prior[0, 1:]
    rest = precision.new_empty(batch, fields - 1, size, fields - 1, size)
    scaled = first[:, None] * coupling[:, :, None]
    torch.mul(scaled[:, :, :, None], -coupling, out=rest)
    for r in range(1, fields):
        rest[:, r - 1, :, r - 1] += precision[:, r]
    rest.diagonal(dim1=2, dim2=4).add_(prior[1:, 1:])
    rest = _inverse(rest.view(batch, (fields - 1) * size, -1)).view(batch, fields - 1, size, -1)
    mixed = rest[:, 0] * coupling[0, :, None]
    for r in range(1, fields - 1):
        mixed.addcmul_(rest[:, r], coupling[r, :, None])
    beside = (first @ mixed).neg_().view(batch, size, fields - 1, size)
    total = precision.new_empty(batch, fields, size, fields, size)
    total[:, 0, :, 0] = torch.baddbmm(first, (beside * coupling).sum(2), first, alpha=-1)
    total[:, 0, :, 1:] = beside
    total[:, 1:, :, 0] = beside.permute(0, 2, 3, 1)
    total[:, 1:, :, 1:] = rest.view(batch, fields - 1, size, fields - 1, size)
    return total


def _sandwiched(
    covariance: Float[Tensor, "B C Q C Q"], middle: Float[Tensor, "B C Q Q"]
) -> tuple[Float[Tensor, "C C Q"], Float[Tensor, "B C Q Q"]]:
    """Of T H T, the sum over B of what q has with itself, and every field's own block.

    The blocks are symmetric as H is, so that of each a quarter is the mirror of another.
    """
    batch, fields, size = covariance.shape[:3]
    whole, middle_row = covariance.view(batch, fields * size, -1), (size + 1) // 2
    half = torch.empty_like(whole)
    own = covariance.new_empty(batch, fields, size, size)
    itself = covariance.new_empty(fields, fields, size)
    parts = [slice(c * size, (c + 1) * size) for c in range(fields)]
    for c, part in enumerate(parts):
        torch.bmm(whole[:, :, part], middle[:, c], out=half[:, :, part])
    for c, part in enumerate(parts):
        rows, columns, found = half[:, part], whole[:, :, part], own[:, c]
        upper, lower = found[:, :middle_row], found[:, middle_row:]
        torch.bmm(rows[:, :middle_row], columns, out=upper)
        torch.bmm(rows[:, middle_row:], columns[:, :, middle_row:], out=lower[:, :, middle_row:])
        lower[:, :, :middle_row] = upper[:, :, middle_row:].mT
        itself[c, c] = found.diagonal(dim1=-2, dim2=-1).sum(0)
        for s, other in enumerate(parts[:c]):
            both = (rows * whole[:, other]).sum((0, 2))
            itself[c, s] = itself[s, c] = both
    return itself, own


def _times(covariance: Float[Tensor, "B C Q C Q"], vector: Tensor) -> Float[Tensor, "B C Q"]:
    rows = covariance.flatten(3).flatten(1, 2)
    found = rows @ vector.to(covariance.dtype).flatten(1)[..., None]
    return found.view(covariance.shape[:3])


def _inverse(matrix: Float[Tensor, "*B N N"]) -> Float[Tensor, "*B N N"]:
    return torch.cholesky_inverse(torch.linalg.cholesky_ex(matrix).L)


def _wide(like: Tensor) -> torch.dtype:
    return torch.float32 if like.device.type == "mps" else torch.float64
