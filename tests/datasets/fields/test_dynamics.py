"""Exponents, verified spectra and linear forecasts, against closed forms and Lorenz' equations."""

import cmath
import math

import pytest
import torch

from pelagos.datasets import metrics
from pelagos.datasets.fields.dynamics import by_differences


def lorenz(x):
    return torch.stack(
        (
            10 * (x[..., 1] - x[..., 0]),
            x[..., 0] * (28 - x[..., 2]) - x[..., 1],
            x[..., 0] * x[..., 1] - 8 / 3 * x[..., 2],
        ),
        -1,
    )


def runge_kutta(x, h=0.02):
    a = lorenz(x)
    b = lorenz(x + h / 2 * a)
    c = lorenz(x + h / 2 * b)
    d = lorenz(x + h * c)
    return x + h / 6 * (a + 2 * b + 2 * c + d)


def by_derivatives(step):
    return lambda x, v: torch.func.jvp(step, (x,), (v,))


@pytest.mark.parametrize("way", [by_derivatives, by_differences])
def test_exponent_of_a_linear_map(way):
    """ln of the largest eigenvalue over the step."""
    matrix = torch.tensor([[0.5, 1.0], [0.0, 0.9]], dtype=torch.float64)
    start = torch.ones(1, 2, dtype=torch.float64)
    tangent = torch.tensor([[1.0, 0.3]], dtype=torch.float64)
    advance = way(lambda x: x @ matrix.T)
    found = metrics.largest_lyapunov(advance, start, tangent, 0.25, 60, discard=60)
    assert found.item() == pytest.approx(math.log(0.9) / 0.25, rel=1e-4)


def test_exponent_of_lorenz_equations():
    """0.9056 (Sprott 2003)."""
    generator = torch.Generator().manual_seed(0)
    state = 8 * torch.randn(512, 3, dtype=torch.float64, generator=generator)
    state[:, 2] += 25
    for _ in range(1500):  # some linger near the fixed points
        state = runge_kutta(state)
    tangent = torch.randn(512, 3, dtype=torch.float64, generator=generator)
    advance = by_derivatives(runge_kutta)
    found = metrics.largest_lyapunov(advance, state, tangent, 0.02, 400, discard=150)
    assert found.mean().item() == pytest.approx(0.9056, rel=0.03)


def test_residuals_verify_a_linear_map():
    """Its eigenvalues have residual zero, and the pseudospectrum is that of the matrix."""
    turn = 0.9 * torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    matrix = torch.block_diag(turn, torch.tensor([[0.3]], dtype=torch.float64))
    states = torch.randn(400, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    modes = metrics.residual_modes(states, states @ matrix.T)
    assert modes.residuals.max() < 1e-6
    expected = [0.3, 0.9 * cmath.exp(1j * math.acos(0.6)), 0.9 * cmath.exp(-1j * math.acos(0.6))]
    found = modes.eigenvalues.tolist()
    for value in expected:
        assert min(abs(value - other) for other in found) < 1e-9
    points = torch.tensor([0.3 + 0j, 1.0, 1.5j])
    pseudo = modes.pseudospectrum(points)
    assert pseudo[0] < 1e-6
    # No state shrinks by more than 0.7 under (A − 1): the block of the third coordinate.
    assert pseudo[1].item() == pytest.approx(0.7, abs=0.05)


def test_eigenvalues_that_the_dynamics_have_not_are_told_by_their_residuals():
    """x → 2x mod 1 has no eigenfunction but the constant in a few sines and cosines."""
    x = torch.rand(4000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def observables(x):
        waves = [f(2 * math.pi * k * x) for k in (1, 2, 3) for f in (torch.sin, torch.cos)]
        return torch.stack((torch.ones_like(x), *waves), 1)

    modes = metrics.residual_modes(observables(x), observables(2 * x % 1))
    assert modes.eigenvalues[0].real.item() == pytest.approx(1, abs=1e-9)
    assert modes.residuals[0] < 1e-6
    assert modes.residuals[1:].min() > 0.5  # spurious: near 0 or ±1, none of them is true


def test_too_few_pairs_are_refused():
    with pytest.raises(ValueError, match="5 observables need as many pairs of snapshots; got 3"):
        metrics.residual_modes(torch.zeros(3, 5), torch.zeros(3, 5))


def test_a_history_of_waves_goes_on():
    """Two damped waves in 16 points: five frames hold them, and ten more follow."""
    x = 2 * math.pi * torch.arange(16, dtype=torch.float64) / 16

    def frame(t):
        return 0.95**t * torch.sin(x + 0.3 * t) + 0.9**t * torch.cos(2 * x - 0.5 * t)

    frames = torch.stack([frame(t) for t in range(15)])
    torch.testing.assert_close(metrics.dmd_forecast(frames[:5], 10), frames[5:])
    assert torch.equal(metrics.dmd_forecast(frames[:1], 3), frames[:1].expand(3, -1))
