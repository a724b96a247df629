"""Tridiagonal matrices."""

import pytest
import torch

from pelagos.datasets.solvers.tridiagonal import multiply_tridiagonal, solve_tridiagonal


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_tridiagonal_systems_are_solved(n):
    generator = torch.Generator().manual_seed(n)
    lower, upper, right = torch.randn(3, 4, n, generator=generator, dtype=torch.float64)
    lower[:, 0] = upper[:, -1] = 0
    diagonal = 2.5 + lower.abs() + upper.abs()
    matrix = torch.diag_embed(diagonal)
    if n > 1:
        matrix = matrix + torch.diag_embed(lower[:, 1:], -1) + torch.diag_embed(upper[:, :-1], 1)
    want = torch.linalg.solve(matrix, right)
    got = solve_tridiagonal(lower, diagonal, upper, right)
    torch.testing.assert_close(got, want, atol=1e-12, rtol=0)
    product = multiply_tridiagonal((lower, diagonal, upper), got)
    torch.testing.assert_close(product, right, atol=1e-12, rtol=0)
