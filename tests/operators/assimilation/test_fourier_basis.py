"""Products of basis functions, and their sums on the diagonal, against the basis written out."""

import math

import pytest
import torch

from pelagos.operators.assimilation.fourier_basis import (
    diagonal,
    half_modes,
    products_of,
    sums_of_modes,
)

GRIDS = {1: (7,), 2: (4, 5), 3: (3, 4, 3)}


def basis(space, modes):
    """(n, Q) cosines, then sines of all but the mean."""
    mesh = torch.meshgrid(*(torch.arange(n).double() / n for n in space), indexing="ij")
    angle = 2 * math.pi * torch.stack([m.flatten() for m in mesh], 1) @ modes.double().T
    return torch.cat((angle.cos(), angle.sin()[:, 1:]), 1)


@pytest.mark.parametrize("ndim", GRIDS)
def test_products_and_diagonals_are_those_of_the_basis(ndim):
    space, modes = GRIDS[ndim], half_modes(ndim, 2)
    minus, plus = sums_of_modes(modes, space)
    waves = basis(space, modes)
    generator = torch.Generator().manual_seed(ndim)
    weight = torch.randn(2, 2, *space, generator=generator, dtype=torch.float64)
    found = products_of(weight, minus, plus)
    torch.testing.assert_close(
        found, torch.einsum("bcx,xq,xr->bcqr", weight.flatten(2), waves, waves)
    )
    # Of any matrix, symmetric or not.
    matrix = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    summed = diagonal(matrix, minus, plus, space).flatten(2)
    torch.testing.assert_close(summed, torch.einsum("bcqr,xq,xr->bcx", matrix, waves, waves))


@pytest.mark.parametrize("ndim", GRIDS)
def test_each_is_the_others_adjoint(ndim):
    """⟨products(w), A⟩ = ⟨w, diagonal(A)⟩, and so do their gradients."""
    space = GRIDS[ndim]
    minus, plus = sums_of_modes(half_modes(ndim, 2), space)
    generator = torch.Generator().manual_seed(ndim)
    weight = torch.randn(1, 2, *space, generator=generator, dtype=torch.float64).requires_grad_()
    products = products_of(weight, minus, plus)
    matrix = torch.randn(products.shape, generator=generator, dtype=torch.float64).requires_grad_()
    (products * matrix.detach()).sum().backward()
    torch.testing.assert_close(weight.grad, diagonal(matrix, minus, plus, space).detach())
    (diagonal(matrix, minus, plus, space) * weight.detach()).sum().backward()
    torch.testing.assert_close(matrix.grad, products.detach())
