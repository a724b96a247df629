"""Incompressible flow as velocity: closed forms, the tracer, the random initial flows."""

import math
from dataclasses import replace

import pytest
import torch

from pelagos.datasets import equations
from pelagos.datasets.equations import incompressible, initial_flows
from pelagos.datasets.equations.equation import Problem, frames
from pelagos.datasets.equations.initial import trajectory_generator
from pelagos.datasets.solvers.etdrk import Spectral

NAMES = [equation.name for equation in incompressible.EQUATIONS]


def fixed(**parameters):
    return {name: torch.tensor([value], dtype=torch.float64) for name, value in parameters.items()}


def at(equation, initial, grid, time, step=None, **parameters):
    solved = frames(equation, Problem(initial, fixed(**parameters), grid, time, solver_step=step))
    next(solved)
    return next(solved)


def mesh(equation, *shape):
    grid = equation.grid(shape)
    return grid, *torch.meshgrid(*grid.coordinates(), indexing="ij")


def divergence(velocity, grid):
    spectral = Spectral(grid.shape, grid.lengths)
    v = spectral.forward(velocity)
    return spectral.inverse(spectral.ik[0] * v[:, :1] + spectral.ik[1] * v[:, 1:2])


def test_taylor_green_vortex_decays():
    equation = equations.get("navier_stokes_sines_2d")
    grid, x, y = mesh(equation, 24, 28)
    k = 2 * math.pi
    start = torch.stack((torch.sin(k * x) * torch.cos(k * y), -torch.cos(k * x) * torch.sin(k * y)))
    got = at(equation, start[None], grid, 0.7, viscosity=0.01)[0]
    want = math.exp(-2 * k * k * 0.01 * 0.7) * start
    torch.testing.assert_close(got, want, atol=1e-11, rtol=0)


def test_velocity_and_vorticity_solve_the_same_equation():
    velocity = equations.get("navier_stokes_brownian_2d")
    vorticity = equations.get("navier_stokes_2d")
    grid = velocity.grid((100, 100))
    start = velocity.draw(torch.Generator().manual_seed(0), grid).initial[None]
    spectral = Spectral(grid.shape, grid.lengths)

    def curl(u):
        return spectral.inverse(initial_flows.vorticity_of(spectral, spectral.forward(u)))

    got = curl(at(velocity, start, grid, 0.1, 0.005, viscosity=1e-3))
    want = at(vorticity, curl(start), grid, 0.1, 0.005, viscosity=1e-3)
    torch.testing.assert_close(got, want, atol=1e-10, rtol=0)


def test_tracer_is_carried_by_a_steady_shear():
    """In u = A sin(2πy), without diffusion, c = cos(2π (x − A t sin(2πy)))."""
    equation = equations.get("navier_stokes_tracer_2d")
    grid, x, y = mesh(equation, 32, 64)
    shear = 0.4 * torch.sin(2 * math.pi * y)
    start = torch.stack((shear, torch.zeros_like(x), torch.cos(2 * math.pi * x)))
    got = at(equation, start[None], grid, 1.0, 0.01, viscosity=0.0)[0]
    torch.testing.assert_close(got[:2], start[:2], atol=1e-12, rtol=0)
    want = torch.cos(2 * math.pi * (x - shear))
    torch.testing.assert_close(got[2], want, atol=1e-6, rtol=0)


def test_force_grows_the_laminar_flow():
    """Of A sin θ e_x, θ = 2π (x + y), pressure leaves ½ A sin θ (1, −1)."""
    equation = equations.get("navier_stokes_kolmogorov_2d")
    grid, x, y = mesh(equation, 24, 24)
    rest = torch.zeros(1, 2, 24, 24, dtype=torch.float64)
    nu, amplitude, time = 0.01, 0.3, 2.0
    got = at(equation, rest, grid, time, viscosity=nu, forcing=amplitude)[0]
    rate = 8 * math.pi**2 * nu
    u = amplitude / 2 * (1 - math.exp(-rate * time)) / rate * torch.sin(2 * math.pi * (x + y))
    torch.testing.assert_close(got, torch.stack((u, -u)), atol=1e-10, rtol=0)
    shape = equation.draw(torch.Generator().manual_seed(0), grid).constants[0]
    torch.testing.assert_close(shape, torch.sin(2 * math.pi * (x + y)))


@pytest.mark.parametrize("name", NAMES)
def test_flows_are_random_incompressible_and_without_a_mean(name):
    equation = equations.get(name)
    grid = equation.grid((98, 98))
    draws = torch.stack(
        [equation.draw(trajectory_generator(0, name, "train", i), grid).initial for i in range(3)]
    )
    assert divergence(draws[:, :2], grid).abs().max() < 1e-10
    assert draws[:, :2].mean((2, 3)).abs().max() < 1e-13
    assert (draws[0] - draws[1]).abs().max() > 1e-3
    rms = draws[:, :2].square().mean((1, 2, 3)).sqrt()
    assert (rms > 0.05).all()
    assert (rms < 2).all()


@pytest.mark.parametrize("name", ["sines", "gaussians", "vortex_sheet", "patches"])
def test_smooth_initial_states_do_not_depend_on_the_grid(name):
    sampler = getattr(initial_flows, name)
    equation = equations.get("navier_stokes_sines_2d")
    coarse = sampler(torch.Generator().manual_seed(5), equation.grid((32, 48)))
    fine = sampler(torch.Generator().manual_seed(5), equation.grid((96, 96)))[:, ::3, ::2]
    torch.testing.assert_close(fine - fine.mean(), coarse - coarse.mean(), atol=2e-2, rtol=0)


def test_checkers_are_constant_in_squares():
    equation = equations.get("navier_stokes_checkers_2d")
    field = initial_flows.checkers(torch.Generator().manual_seed(0), equation.grid((50, 30)))[0]
    squares = field.unflatten(0, (10, 5)).unflatten(2, (10, 3))
    assert (squares.amax((1, 3)) == squares.amin((1, 3))).all()
    assert squares[:, 0, :, 0].unique().numel() == 100
    assert field.abs().max() <= 10


def test_vortex_sheet_has_a_jump_of_one_across_it():
    """Across the line the velocity along it changes by the sheet's strength, 1."""
    equation = equations.get("navier_stokes_vortex_sheet_2d")
    grid = equation.grid((128, 128))
    vorticity = initial_flows.vortex_sheet(torch.Generator().manual_seed(0), grid)[0]
    column = vorticity - vorticity.min()  # above the background
    torch.testing.assert_close(column.mean(1), torch.ones(128).double(), atol=1e-3, rtol=0)


def test_energy_is_kept_without_viscosity():
    equation = replace(equations.get("navier_stokes_vortex_sheet_2d"))
    grid = equation.grid((64, 64))
    start = equation.draw(torch.Generator().manual_seed(0), grid).initial[None]
    solved = frames(equation, Problem(start, fixed(viscosity=0.0), grid, 0.4, solver_step=0.005))
    before, after = next(solved), next(solved)
    energies = [u.square().mean().item() for u in (before, after)]
    assert (before - after).abs().max() > 0.05
    assert energies[1] == pytest.approx(energies[0], rel=1e-6)
