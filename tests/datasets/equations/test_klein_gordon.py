"""Klein–Gordon and sine–Gordon: kinks, breathers, free waves, order, energy."""

import math

import pytest
import torch

from pelagos.datasets import equations
from pelagos.datasets.equations.equation import Problem, frames
from pelagos.datasets.equations.klein_gordon import breather
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.solvers.etdrk import Spectral

POINTS = {1: (96,), 2: (32, 32), 3: (14, 14, 14)}


def box(shape, *lengths):
    return Grid(shape, lengths, ("periodic",) * len(shape))


def fixed(**parameters):
    return {name: torch.tensor([v], dtype=torch.float64) for name, v in parameters.items()}


def at(equation, initial, grid, time, step=None, **parameters):
    solved = frames(equation, Problem(initial, fixed(**parameters), grid, time, solver_step=step))
    next(solved)
    return next(solved)


@pytest.mark.parametrize("v", [0.0, 0.4])
def test_kinks_travel_unchanged(v):
    """tanh(γ (x − v t) / √2) solves u_tt = u_xx + u − u³; here as a pair of opposite kinks."""
    equation = equations.get("klein_gordon_1d")
    grid = box((512,), 80.0)
    (x,) = grid.coordinates()
    time, boost = 3.0, 1 / math.sqrt(1 - v * v)

    def pair(t):
        a, b = (
            torch.tanh(boost * (x - 20 - v * t) / math.sqrt(2)),
            torch.tanh(boost * (60 - x + v * t) / math.sqrt(2)),
        )
        slope = boost / math.sqrt(2) * ((1 - a * a) - (1 - b * b))
        return torch.stack((a + b - 1, -v * slope))[None]

    got = at(equation, pair(0), grid, time, 0.02, speed=1.0, mass_squared=-1.0, coupling=1.0)
    torch.testing.assert_close(got, pair(time), atol=1e-7, rtol=0)


@pytest.mark.parametrize("v", [0.0, 0.6])
def test_breathers_swing_and_move(v):
    equation = equations.get("sine_gordon_1d")
    grid = box((512,), 80.0)
    (x,) = grid.coordinates()
    omega, time = 0.6, 4.3
    boost = 1 / math.sqrt(1 - v * v)
    start = breather(x - 30, omega, v, 0.3)
    # In the frame of the breather the time of (x, t) is γ (t − v x) = t / γ − γ v (x − v t).
    end = breather(x - 30 - v * time, omega, v, 0.3 + omega * time / boost)
    got = at(equation, start[None], grid, time, 0.05, speed=1.0, mass_squared=1.0)[0]
    torch.testing.assert_close(got, end, atol=1e-6, rtol=0)


def test_sine_gordon_kink_pair_travels():
    """4 arctan(e^{γ (x − v t)}), and its mirror image going the other way, before they meet."""
    equation = equations.get("sine_gordon_1d")
    grid = box((512,), 100.0)
    (x,) = grid.coordinates()
    v, time = 0.5, 6.0
    boost = 1 / math.sqrt(1 - v * v)

    def pair(t):
        left = torch.exp(boost * (x - 25 - v * t))
        right = torch.exp(boost * (75 - x - v * t))
        u = 4 * left.arctan() + 4 * right.arctan() - 2 * math.pi
        rate = -4 * v * boost * (left / (1 + left**2) + right / (1 + right**2))
        return torch.stack((u, rate))[None]

    got = at(equation, pair(0), grid, time, 0.05, speed=1.0, mass_squared=1.0)
    torch.testing.assert_close(got, pair(time), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["klein_gordon_1d", "klein_gordon_2d", "klein_gordon_3d"])
def test_free_waves_are_exact(name):
    equation = equations.get(name)
    shape = (24, 20, 16)[: equation.ndim]
    grid = box(shape, *(2 * math.pi,) * equation.ndim)
    x = torch.meshgrid(*grid.coordinates(), indexing="ij")
    phase = sum((j + 3) * axis for j, axis in enumerate(x))
    omega = 1.5 * math.sqrt(sum((j + 3) ** 2 for j in range(equation.ndim)))
    start = torch.stack((phase.cos(), omega * phase.sin()))[None]
    got = at(equation, start, grid, 2.7, 0.5, speed=1.5, mass_squared=0.0, coupling=0.0)
    turned = phase - omega * 2.7
    want = torch.stack((turned.cos(), omega * turned.sin()))[None]
    torch.testing.assert_close(got, want, atol=1e-11, rtol=0)


@pytest.mark.parametrize(
    "name", ["klein_gordon_1d", "klein_gordon_2d", "klein_gordon_3d", "sine_gordon_1d"]
)
def test_time_stepping_is_fourth_order(name):
    equation = equations.get(name)
    grid = equation.grid(POINTS[equation.ndim])
    draw = equation.draw(torch.Generator().manual_seed(0), grid)

    def end(step):
        return at(equation, draw.initial[None], grid, 1.2, step, **draw.parameters)

    reference = end(0.0075)
    coarse, fine = ((end(step) - reference).norm() for step in (0.12, 0.06))
    assert 3.6 < math.log2(coarse / fine) < 4.5


@pytest.mark.parametrize(
    "name", ["klein_gordon_1d", "klein_gordon_2d", "klein_gordon_3d", "sine_gordon_1d"]
)
def test_energy_does_not_drift_in_long_runs(name):
    """Symplectic: the energy's error is no larger late than early."""
    equation = equations.get(name)
    grid = equation.grid(POINTS[equation.ndim])
    draw = equation.draw(torch.Generator().manual_seed(1), grid)
    spectral = Spectral(grid.shape, grid.lengths)
    p = draw.parameters

    def energy(state):
        u, rate = state[0]
        curvature = spectral.inverse(spectral.k2 * spectral.forward(state[:, :1]))[0, 0]
        kinetic = (rate.square() + u * curvature) / 2  # as the mean of |∇u|² is that of −u Δu
        if name == "sine_gordon_1d":
            return (kinetic + p["mass_squared"] * (1 - torch.cos(u))).mean()
        quadratic = p["mass_squared"] * u**2 / 2
        return (kinetic + quadratic + p["coupling"] * u**4 / 4).mean()

    solved = frames(equation, Problem(draw.initial[None], fixed(**p), grid, 0.5, solver_step=0.1))
    energies = torch.stack([energy(next(solved)) for _ in range(240)])
    error = (energies / energies[0] - 1).abs()
    assert error.max() < 1e-3
    assert error[160:].max() < 2 * error[:80].max() + 1e-9
    backwards = next(solved)
    assert backwards.isfinite().all()


def test_it_runs_backwards():
    """Splittings of symmetric order undo themselves when the rate is reversed."""
    equation = equations.get("klein_gordon_1d")
    grid = equation.grid((64,))
    draw = equation.draw(torch.Generator().manual_seed(2), grid)
    flip = torch.tensor([1.0, -1.0], dtype=torch.float64)[:, None]
    there = at(equation, draw.initial[None], grid, 3.0, 0.1, **draw.parameters)
    back = at(equation, there * flip, grid, 3.0, 0.1, **draw.parameters) * flip
    torch.testing.assert_close(back, draw.initial[None], atol=1e-9, rtol=0)
