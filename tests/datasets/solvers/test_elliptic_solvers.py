"""Solvers of elliptic problems: manufactured solutions, layers, batches, refusals."""

import math

import pytest
import torch

from pelagos.datasets import equations
from pelagos.datasets.equations.elliptic import ThresholdedField
from pelagos.datasets.solvers.blow_up import BlowUp
from pelagos.datasets.solvers.elliptic import solve_diffusion, solve_helmholtz


def cells(*shape, lengths=(1.0, 1.5)):
    """Cell centres, spacing."""
    spacing = tuple(length / n for length, n in zip(lengths, shape, strict=True))
    axes = [
        h * (torch.arange(n, dtype=torch.float64) + 0.5)
        for h, n in zip(spacing, shape, strict=True)
    ]
    return torch.meshgrid(*axes, indexing="ij"), spacing


def observed_order(error):
    return math.log2(error(1) / error(2))


def smooth_medium(x, y):
    """a, u = sin(πx) sin(2πy / 1.5) and f = −∇·(a ∇u)."""
    a = 1 + 0.5 * torch.sin(3 * x) * torch.cos(2 * y)
    a_x, a_y = 1.5 * torch.cos(3 * x) * torch.cos(2 * y), -torch.sin(3 * x) * torch.sin(2 * y)
    k, m = math.pi, 2 * math.pi / 1.5
    u = torch.sin(k * x) * torch.sin(m * y)
    u_x, u_y = (
        k * torch.cos(k * x) * torch.sin(m * y),
        m * torch.sin(k * x) * torch.cos(m * y),
    )
    return a, u, a * (k * k + m * m) * u - a_x * u_x - a_y * u_y


def batched(*fields):
    return [field[None, None] for field in fields]


def test_diffusion_converges_to_a_manufactured_solution_with_second_order():
    def error(factor):
        (x, y), spacing = cells(24 * factor, 30 * factor)
        a, u, f = batched(*smooth_medium(x, y))
        return (solve_diffusion(a, f, spacing) - u).square().mean().sqrt().item()

    assert error(1) < 1e-2
    assert observed_order(error) == pytest.approx(2, abs=0.1)


def test_helmholtz_converges_to_a_manufactured_solution_with_second_order():
    def error(factor):
        (x, y), spacing = cells(24 * factor, 20 * factor)
        _, u, _ = smooth_medium(x, y)
        q = 60 + 30 * torch.cos(x * y)  # above the lowest eigenvalues: indefinite
        f = ((math.pi**2 + (2 * math.pi / 1.5) ** 2) - q) * u
        got = solve_helmholtz(*batched(q, f), spacing)
        return (got - u[None, None]).square().mean().sqrt().item()

    assert error(1) < 2e-2
    assert observed_order(error) == pytest.approx(2, abs=0.15)


def test_flux_through_layers_is_exact():
    """Along x, −(a u')' = 0 but for two sources: u is linear in each layer, a u' continuous."""
    n = 20
    spacing = (1.0 / n,)
    a = torch.where(torch.arange(n) < 12, 3.0, 12.0).double()[None, None]
    f = torch.zeros(1, 1, n, dtype=torch.float64)
    f[..., 7] = n  # a unit source in cell 7
    x = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    resistance = torch.where(x < 0.6, x / 3, 0.2 + (x - 0.6) / 12)
    total, at = 0.2 + 0.4 / 12, resistance[7]
    want = torch.where(
        resistance <= at, resistance * (total - at), at * (total - resistance)
    ) / total  # fmt: skip
    torch.testing.assert_close(solve_diffusion(a, f, spacing)[0, 0], want, atol=1e-10, rtol=0)


def test_diffusion_in_three_dimensions_and_single_precision():
    (x, y, z), spacing = cells(12, 10, 8, lengths=(1.0, 1.0, 1.0))
    u = torch.sin(math.pi * x) * torch.sin(math.pi * y) * torch.sin(math.pi * z)
    f = 3 * math.pi**2 * u
    ones = torch.ones_like(u)
    got = solve_diffusion(*batched(ones, f), spacing)[0, 0]
    torch.testing.assert_close(got, u, atol=1.5e-2, rtol=0)
    single = solve_diffusion(*batched(ones.float(), f.float()), spacing)[0, 0]
    torch.testing.assert_close(single.double(), got, atol=1e-5, rtol=0)


def test_a_problem_does_not_depend_on_its_batch():
    (_, _), spacing = cells(17, 13)
    grid = equations.get("darcy_2d").grid((17, 13))
    a = torch.stack([
        ThresholdedField(0.1, 1.0, modes=12)(torch.Generator().manual_seed(i), grid)
        for i in range(4)
    ])  # fmt: skip
    f = torch.ones_like(a) * torch.tensor([1.0, 1e-3, 1e3, 5.0]).double()[:, None, None, None]
    together = solve_diffusion(a, f, spacing)
    for i in range(4):
        alone = solve_diffusion(a[i : i + 1], f[i : i + 1], spacing)
        torch.testing.assert_close(together[i : i + 1], alone, atol=0, rtol=1e-12)


def test_conjugate_gradients_agree_with_a_sparse_solve():
    """−Δu − q u with q = 0 is the same problem, factorised."""
    (x, _), spacing = cells(15, 18)
    f = torch.randn(2, 1, *x.shape, generator=torch.Generator().manual_seed(0)).double()
    got = solve_diffusion(torch.ones_like(f), f, spacing)
    torch.testing.assert_close(got, solve_helmholtz(torch.zeros_like(f), f, spacing))


def test_what_cannot_be_solved_is_named():
    f = torch.ones(2, 1, 8, 8, dtype=torch.float64)
    a = torch.ones_like(f)
    a[1, :, 3:5] = -1.0
    with pytest.raises(BlowUp, match="trajectory 1 has a coefficient that is not") as caught:
        solve_diffusion(a, f, (0.1, 0.1))
    assert set(caught.value.reasons) == {1}
