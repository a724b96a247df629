"""Every equation against what is known of it: exact solutions, orders, conserved quantities."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pelagos.datasets import equations
from pelagos.datasets.equations import catalogue
from pelagos.datasets.equations.equation import Problem, frames
from pelagos.datasets.equations.initial import (
    FourierSeries,
    PeakedSeries,
    Rescaled,
    trajectory_generator,
)
from pelagos.datasets.equations.semilinear import SemilinearEquation
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.vocabulary import VOCABULARY
from pelagos.datasets.solvers.etdrk import Spectral

SEMILINEAR = [
    name for name in equations.names() if isinstance(equations.get(name), SemilinearEquation)
]
NONLINEAR = [name for name in SEMILINEAR if equations.get(name).nonlinear is not None]


def box(shape, *lengths):
    return Grid(shape, lengths, ("periodic",) * len(shape))


def values(**parameters):
    return {
        name: torch.as_tensor(value, dtype=torch.float64).reshape(-1)
        for name, value in parameters.items()
    }


def at(equation, initial, grid, time, solver_step=None, **parameters):
    """The solution at `time` (one frame)."""
    solved = frames(
        equation, Problem(initial, values(**parameters), grid, time, solver_step=solver_step)
    )
    next(solved)
    return next(solved)


def drawn(equation, count=2, resolution=None, seed=0):
    """Parameters and initial states of the first trajectories."""
    grid = equation.grid(resolution)
    draws = [
        equation.draw(trajectory_generator(seed, equation.name, "train", i), grid)
        for i in range(count)
    ]
    chosen = {name: [draw.parameters[name] for draw in draws] for name in equation.parameters}
    return torch.stack([draw.initial for draw in draws]), chosen, grid


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


# ------------------------------------------------------------------------------ exact solutions


@pytest.mark.parametrize("n", [64, 63])
def test_heat_1d_decays_each_mode(n):
    grid = box((n,), 3.0)
    (x,) = grid.coordinates()
    nu, t = torch.tensor([0.1, 0.02], dtype=torch.float64), 0.9
    modes = [2 * math.pi * j / 3.0 for j in (1, 5, 20)]
    initial = sum(torch.sin(k * x + j) for j, k in enumerate(modes)).expand(2, 1, n)
    exact = sum(
        torch.exp(-nu * k * k * t)[:, None, None] * torch.sin(k * x + j)
        for j, k in enumerate(modes)
    )
    got = at(equations.get("heat_1d"), initial, grid, t, diffusivity=nu)
    torch.testing.assert_close(got, exact, atol=1e-12, rtol=0)


@pytest.mark.parametrize("shape", [(16, 24), (15, 21)])
def test_heat_2d_decays_each_mode(shape):
    grid = box(shape, 1.0, 2.0)
    x, y = torch.meshgrid(*grid.coordinates(), indexing="ij")
    kx, ky = 2 * math.pi * 3, 2 * math.pi * 4 / 2
    initial = torch.cos(kx * x - ky * y + 0.2)[None, None]
    got = at(equations.get("heat_2d"), initial, grid, 0.3, diffusivity=0.01)
    exact = math.exp(-0.01 * (kx**2 + ky**2) * 0.3) * initial
    torch.testing.assert_close(got, exact, atol=1e-12, rtol=0)


@pytest.mark.parametrize("n", [64, 63])
def test_advection_translates(n):
    grid = box((n,), 2.0)
    (x,) = grid.coordinates()
    speed, t = torch.tensor([0.7, -1.3], dtype=torch.float64), 5.3

    def profile(x):
        return torch.exp(torch.sin(math.pi * x)) + torch.cos(9 * math.pi * x)

    got = at(equations.get("advection_1d"), profile(x).expand(2, 1, n), grid, t, speed=speed)
    exact = profile(x - t * speed[:, None])[:, None]
    torch.testing.assert_close(got, exact, atol=1e-12, rtol=0)


def test_advection_diffusion_translates_and_decays():
    grid = box((24, 20), 1.0, 2.0)
    x, y = torch.meshgrid(*grid.coordinates(), indexing="ij")
    kx, ky = 2 * math.pi * 3, 2 * math.pi * 4 / 2
    chosen = {"diffusivity": 2e-3, "speed_x": 0.6, "speed_y": -0.9}
    got = at(
        equations.get("advection_diffusion_2d"),
        torch.sin(kx * x + ky * y)[None, None],
        grid,
        1.7,
        **chosen,
    )
    exact = math.exp(-2e-3 * (kx**2 + ky**2) * 1.7) * torch.sin(
        kx * (x - 0.6 * 1.7) + ky * (y + 0.9 * 1.7)
    )
    torch.testing.assert_close(got[0, 0], exact, atol=1e-12, rtol=0)


def test_advection_diffusion_translates_and_decays_in_three_dimensions():
    grid = box((12, 15, 18), 1.0, 2.0, 1.5)
    x, y, z = torch.meshgrid(*grid.coordinates(), indexing="ij")
    kx, ky, kz = 2 * math.pi * 3, 2 * math.pi * 4 / 2, -2 * math.pi * 5 / 1.5
    speeds = {"speed_x": 0.6, "speed_y": -0.9, "speed_z": 0.35}
    start = torch.sin(kx * x + ky * y + kz * z)[None, None]
    equation = equations.get("advection_diffusion_3d")
    got = at(equation, start, grid, 1.3, diffusivity=1e-3, **speeds)
    place = kx * (x - 0.6 * 1.3) + ky * (y + 0.9 * 1.3) + kz * (z - 0.35 * 1.3)
    exact = math.exp(-1e-3 * (kx**2 + ky**2 + kz**2) * 1.3) * torch.sin(place)
    torch.testing.assert_close(got[0, 0], exact, atol=1e-12, rtol=0)


def test_korteweg_de_vries_soliton_translates():
    grid, c = box((256,), 40.0), 3.0
    (x,) = grid.coordinates()

    def soliton(x):  # periodic images are below 1e-13 of it
        x = (x + 20) % 40 - 20
        return (c / 2 / torch.cosh(math.sqrt(c) / 2 * x).square())[None, None]

    equation = equations.get("korteweg_de_vries_1d")
    got = at(equation, soliton(x - 15), grid, 2.0, solver_step=2e-3)
    torch.testing.assert_close(got, soliton(x - 15 - 2 * c), atol=1e-7, rtol=0)


def heat_kernel_sum(x, nu, t):
    """φ = 2 + e^{−νt} cos x + ½ e^{−4νt} sin 2x solves φ_t = ν φ_xx; returns φ and φ_x."""
    a, b = math.exp(-nu * t), math.exp(-4 * nu * t) / 2
    return 2 + a * x.cos() + b * (2 * x).sin(), -a * x.sin() + 2 * b * (2 * x).cos()


def test_burgers_1d_matches_cole_hopf():
    grid, nu, t = box((128,), 2 * math.pi), 0.1, 1.0
    (x,) = grid.coordinates()

    def exact(t):
        phi, slope = heat_kernel_sum(x, nu, t)
        return (-2 * nu * slope / phi)[None, None]

    got = at(equations.get("burgers_1d"), exact(0), grid, t, viscosity=nu)
    torch.testing.assert_close(got, exact(t), atol=1e-10, rtol=0)


def test_burgers_2d_matches_cole_hopf_gradient_flow():
    grid, nu, t = box((64, 48), 2 * math.pi, 2 * math.pi), 0.1, 1.0
    x, y = torch.meshgrid(*grid.coordinates(), indexing="ij")

    def exact(t):
        a = math.exp(-5 * nu * t)
        phi = 5 + a * (x + 2 * y).cos() + a * (2 * x - y).sin()
        slope_x = -a * (x + 2 * y).sin() + 2 * a * (2 * x - y).cos()
        slope_y = -2 * a * (x + 2 * y).sin() - a * (2 * x - y).cos()
        return -2 * nu * torch.stack((slope_x / phi, slope_y / phi))[None]

    got = at(equations.get("burgers_2d"), exact(0), grid, t, viscosity=nu)
    torch.testing.assert_close(got, exact(t), atol=1e-8, rtol=0)


def test_burgers_3d_matches_cole_hopf_gradient_flow():
    grid, nu, t = box((32, 36, 30), *(2 * math.pi,) * 3), 0.1, 0.5
    x, y, z = torch.meshgrid(*grid.coordinates(), indexing="ij")
    waves = torch.tensor([[1.0, 2, -1], [2, -1, 1], [-1, 1, 2]], dtype=torch.float64)
    phases = [a * x + b * y + c * z for a, b, c in waves.tolist()]

    def exact(t):
        a = math.exp(-6 * nu * t)
        phi = 12 + a * (phases[0].cos() + phases[1].sin() + phases[2].cos())
        slopes = torch.stack((-a * phases[0].sin(), a * phases[1].cos(), -a * phases[2].sin()))
        return (-2 * nu * torch.einsum("wc,w...->c...", waves, slopes) / phi)[None]

    got = at(equations.get("burgers_3d"), exact(0), grid, t, 0.025, viscosity=nu)
    assert relative(exact(t), exact(0)) > 0.2
    torch.testing.assert_close(got, exact(t), atol=1e-7, rtol=0)


@pytest.mark.parametrize("mean_flow", [False, True])
def test_navier_stokes_taylor_green_decay(mean_flow):
    """cos x cos y decays by e^{−2νt}; so does any eigenfunction of the Laplacian, steadily."""
    grid, nu, t = box((32, 30), 2 * math.pi, 2 * math.pi), 0.05, 2.0
    x, y = torch.meshgrid(*grid.coordinates(), indexing="ij")
    modes = (3 * x + 4 * y).cos() + (5 * x).sin() if mean_flow else x.cos() * y.cos()
    got = at(equations.get("navier_stokes_2d"), modes[None, None], grid, t, viscosity=nu)
    rate = 25 * nu if mean_flow else 2 * nu
    torch.testing.assert_close(got[0, 0], math.exp(-rate * t) * modes, atol=1e-11, rtol=0)


def test_forced_navier_stokes_grows_its_laminar_flow():
    grid, nu, amplitude, t = box((24, 24), 1.0, 1.0), 0.01, 0.1, 3.0
    x, y = torch.meshgrid(*grid.coordinates(), indexing="ij")
    theta, rate = 2 * math.pi * (x + y), 8 * math.pi**2 * nu
    equation = equations.get("navier_stokes_forced_2d")
    rest = torch.zeros(1, 1, 24, 24, dtype=torch.float64)
    got = at(equation, rest, grid, t, viscosity=nu, forcing=amplitude)[0, 0]
    growth = amplitude * (1 - math.exp(-rate * t)) / rate
    torch.testing.assert_close(got, growth * (theta.sin() + theta.cos()), atol=1e-12, rtol=0)


def test_kolmogorov_laminar_flow_is_steady():
    """u = A sin(4y) / (16ν + μ) along x, whose vorticity is −∂u/∂y."""
    grid, nu, drag, amplitude = box((24, 32), 2 * math.pi, 2 * math.pi), 0.2, 0.3, 1.5
    y = grid.coordinates()[1]
    steady = -4 * amplitude / (16 * nu + drag) * (4 * y).cos().expand(1, 1, 24, 32)
    equation = equations.get("kolmogorov_2d")
    got = at(equation, steady, grid, 1.0, viscosity=nu, drag=drag, forcing=amplitude)
    torch.testing.assert_close(got, steady, atol=1e-11, rtol=0)


def test_vorticity_fluxes_equal_advection_of_vorticity():
    """N must be −u·∇ω with u = ∂ψ/∂y, v = −∂ψ/∂x, −Δψ = ω, on the modes that the rule keeps."""
    equation = equations.get("navier_stokes_2d")
    spectral = Spectral((32, 36), (1.0, 1.5), dealias=True)
    state = FourierSeries(modes=8, rms=(1.0, 1.0))(
        torch.Generator().manual_seed(0), box((32, 36), 1.0, 1.5)
    )
    w = spectral.forward(state[None]) * spectral.resolved
    psi = w * spectral.inverse_k2
    u, v = spectral.inverse(spectral.ik[1] * psi), -spectral.inverse(spectral.ik[0] * psi)
    curl = spectral.inverse(spectral.ik[0] * spectral.forward(v)) - spectral.inverse(
        spectral.ik[1] * spectral.forward(u)
    )
    torch.testing.assert_close(curl, spectral.inverse(w), atol=1e-12, rtol=0)
    w_x, w_y = (spectral.inverse(ik * w) for ik in spectral.ik)
    expected = -spectral.forward(u * w_x + v * w_y) * spectral.resolved
    assert equation.nonlinear is not None
    got = equation.nonlinear(spectral, {})(w) * spectral.resolved
    assert relative(got, expected) < 1e-13


def test_kuramoto_sivashinsky_grows_and_damps_small_waves():
    """A wave too small to interact changes by e^{(k² − k⁴) t}."""
    grid = box((48,), 32.0)
    (x,) = grid.coordinates()
    k = [2 * math.pi * j / 32 for j in (2, 4, 7)]
    initial = 1e-9 * sum((a * x + a).cos() for a in k)[None, None]
    got = at(equations.get("kuramoto_sivashinsky_1d"), initial, grid, 3.0)[0, 0]
    exact = 1e-9 * sum(math.exp(3 * (a**2 - a**4)) * (a * x + a).cos() for a in k)
    torch.testing.assert_close(got, exact, atol=1e-16, rtol=0)


@pytest.mark.parametrize(
    ("name", "speed"),
    [("burgers_1d", 1), ("kuramoto_sivashinsky_1d", 1), ("korteweg_de_vries_1d", 6)],
)
def test_adding_a_constant_makes_the_solution_travel(name, speed):
    """Galilean invariance: u + c solves the equation where u does, seen at x − speed · c t."""
    equation = equations.get(name)
    initial, chosen, grid = drawn(equation, 2)
    time, points = 2 * equation.dt, 5
    c = points * grid.spacing[0] / (speed * time)
    still = at(equation, initial, grid, time, **chosen)
    moving = at(equation, initial + c, grid, time, equation.solver_step / 4, **chosen)
    assert relative(still, initial) > 0.01
    assert relative(moving - c, still.roll(points, -1)) < 1e-3


def test_modes_that_would_alias_are_dropped_only_where_there_are_products():
    grid = box((32,), 1.0)
    (x,) = grid.coordinates()
    kept, cut = (20 * math.pi * x).cos()[None, None], (22 * math.pi * x).cos()[None, None]
    burgers = frames(
        equations.get("burgers_1d"), Problem(kept + cut, values(viscosity=0.1), grid, 0.1)
    )
    torch.testing.assert_close(next(burgers), kept, atol=1e-14, rtol=0)
    heat = frames(equations.get("heat_1d"), Problem(kept + cut, values(diffusivity=0.1), grid, 0.1))
    torch.testing.assert_close(next(heat), kept + cut, atol=1e-14, rtol=0)


# ----------------------------------------------------------------------- order and invariants


@pytest.mark.parametrize(
    ("name", "time", "steps", "resolution"),
    [
        ("burgers_1d", 0.1, 16, (128,)),
        ("burgers_2d", 0.1, 8, (32, 32)),
        ("burgers_3d", 0.1, 8, (16, 16, 16)),
        ("burgers_steep_2d", 0.02, 8, (32, 32)),
        ("kuramoto_sivashinsky_1d", 2.0, 64, (64,)),
        ("korteweg_de_vries_1d", 0.5, 16, (128,)),
        ("navier_stokes_2d", 1.0, 16, (32, 32)),
        ("navier_stokes_forced_2d", 1.0, 16, (32, 32)),
        ("kolmogorov_2d", 0.5, 8, (32, 32)),
        ("navier_stokes_sines_2d", 0.2, 16, (32, 32)),
        ("navier_stokes_gauss_2d", 0.2, 16, (32, 32)),
        ("navier_stokes_checkers_2d", 0.5, 16, (32, 32)),
        ("navier_stokes_vortex_sheet_2d", 0.5, 16, (32, 32)),
        ("navier_stokes_brownian_2d", 0.1, 16, (98, 98)),
        ("navier_stokes_shear_layer_2d", 0.2, 16, (32, 32)),
        ("navier_stokes_tracer_2d", 0.5, 16, (32, 32)),
        ("navier_stokes_kolmogorov_2d", 0.5, 16, (32, 32)),
        ("brusselator_2d", 0.5, 8, (32, 32)),
        ("brusselator_3d", 0.5, 8, (16, 16, 16)),
        ("gray_scott_2d", 40.0, 16, (32, 32)),
        ("fitzhugh_nagumo_2d", 0.2, 32, (16, 16)),
        ("allen_cahn_1d", 1.0, 8, (64,)),
        ("allen_cahn_2d", 1.0, 8, (80, 80)),
        ("allen_cahn_3d", 1.0, 8, (20, 20, 20)),
        ("fisher_1d", 0.5, 16, (64,)),
        ("fisher_2d", 0.5, 16, (32, 32)),
        ("fisher_3d", 0.5, 16, (14, 14, 14)),
    ],
)
def test_time_stepping_is_fourth_order(name, time, steps, resolution):
    equation = equations.get(name)
    initial, chosen, grid = drawn(equation, 2, resolution)

    def end(count):
        return at(equation, initial, grid, time, solver_step=time / count, **chosen)

    reference = end(steps * 8)
    coarse, fine = (relative(end(count), reference) for count in (steps, 2 * steps))
    assert 3.6 < math.log2(coarse / fine) < 4.4


def test_every_nonlinear_equation_is_tested_for_its_order():
    tested = test_time_stepping_is_fourth_order.pytestmark[0].args[1]
    assert sorted(case[0] for case in tested) == sorted(NONLINEAR)


@pytest.mark.parametrize(
    "name",
    [n for n in SEMILINEAR if {"mean of u", "mean of ω"} & {*equations.get(n).invariants}],
)
def test_spatial_mean_is_conserved(name):
    equation = equations.get(name)
    resolution = {1: None, 2: (32, 32), 3: (16, 16, 16)}[equation.ndim]
    initial, chosen, grid = drawn(equation, 2, resolution)
    got = at(equation, initial, grid, 5 * equation.dt, **chosen)
    assert (got.flatten(1).mean(1) - initial.flatten(1).mean(1)).abs().max() < 1e-13


def test_korteweg_de_vries_conserves_momentum_and_energy():
    equation = equations.get("korteweg_de_vries_1d")
    initial, _, grid = drawn(equation, 4)
    spectral = Spectral(grid.shape, grid.lengths)

    def integrals(u):
        slope = spectral.inverse(spectral.ik[0] * spectral.forward(u))
        return torch.stack((u.square().mean(-1), (u**3 - slope.square() / 2).mean(-1)))

    before, after = integrals(initial), integrals(at(equation, initial, grid, 3.0))
    momentum, energy = ((after - before) / before).abs().amax((1, 2)).tolist()
    assert momentum < 1e-7
    assert energy < 1e-5


def test_inviscid_flow_conserves_energy_and_enstrophy():
    equation = equations.get("navier_stokes_2d")
    initial, _, grid = drawn(equation, 2, (48, 48))
    spectral = Spectral(grid.shape, grid.lengths)

    def integrals(w):
        psi = spectral.inverse(spectral.inverse_k2 * spectral.forward(w))
        return torch.stack(((w * psi).flatten(1).mean(1), (w * w).flatten(1).mean(1)))

    end = at(equation, initial, grid, 1.0, solver_step=0.005, viscosity=[0.0, 0.0])
    assert relative(end, initial) > 0.1  # it has moved
    change = integrals(end) / integrals(initial) - 1
    assert change.abs().max() < 1e-8


@pytest.mark.parametrize("name", ["burgers_2d", "kuramoto_sivashinsky_1d", "kolmogorov_2d"])
def test_a_trajectory_does_not_depend_on_its_batch(name):
    equation = equations.get(name)
    initial, chosen, grid = drawn(equation, 5, None if equation.ndim == 1 else (32, 32))
    together = at(equation, initial, grid, 2 * equation.dt, **chosen)
    alone = at(
        equation, initial[3:4], grid, 2 * equation.dt, **{k: v[3] for k, v in chosen.items()}
    )
    torch.testing.assert_close(together[3:4], alone, atol=1e-12, rtol=1e-12)


def test_first_frame_is_the_initial_state_and_warm_up_comes_before_it():
    equation = equations.get("kuramoto_sivashinsky_1d")
    initial, _, grid = drawn(equation, 1)
    solved = frames(equation, Problem(initial, {}, grid, 0.5))
    torch.testing.assert_close(next(solved), initial, atol=1e-13, rtol=0)
    second = next(solved)
    warm = next(frames(equation, Problem(initial, {}, grid, 7.0, warm_up=0.5)))
    assert torch.equal(warm, second)


@pytest.mark.parametrize(
    "name", ["heat_2d", "advection_diffusion_2d", "advection_diffusion_3d", "advection_1d"]
)
def test_symbol_evolves_linear_equations(name):
    equation = equations.get(name)
    initial, chosen, grid = drawn(equation, 3)
    symbol, axes = equation.symbol(grid, values(**chosen)), tuple(range(2, initial.ndim))
    spectrum = torch.exp(0.4 * symbol) * torch.fft.rfftn(initial, dim=axes)
    got = torch.fft.irfftn(spectrum, s=grid.shape, dim=axes)
    torch.testing.assert_close(got, at(equation, initial, grid, 0.4, **chosen))


# ---------------------------------------------------------- parameters, initial states, registry


def test_names_and_unknown_names():
    assert {"heat_1d", "burgers_2d", "kolmogorov_2d"} <= set(equations.names())
    with pytest.raises(ValueError, match="did you mean 'burgers_1d'"):
        equations.get("burgers1d")


@pytest.mark.parametrize("name", equations.names())
def test_declarations_are_complete(name):
    equation = equations.get(name)
    assert equation.name == name
    assert {*equation.fields, *equation.constant_fields} <= set(VOCABULARY)
    assert name.endswith(f"_{equation.ndim}d")
    draw = equation.draw(torch.Generator().manual_seed(0), equation.grid())
    # Fields that follow from others (energy, vorticity) are no part of the state.
    assert 0 < draw.initial.shape[0] <= len(equation.fields)
    assert draw.initial.shape[1:] == equation.resolution
    assert draw.constants.shape == (len(equation.constant_fields), *equation.resolution)
    assert set(draw.parameters) == {*equation.parameters}
    names = {*equation.fields, *equation.constant_fields}
    assert set(equation.units) == {*names, "time", "length"}
    assert equation.solver
    assert equation.solver_step is not None or equation.step_control


def test_documentation_lists_the_equations_as_they_are():
    page = Path(__file__).parents[3] / "docs" / "equations.md"
    assert page.read_text(encoding="utf-8") == catalogue.page()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-0.1, "must be at least 0"),
        ((0.2, 0.1), "low ≤ high"),
        (float("nan"), "finite"),
        ((0.0, 0.1), "log-uniformly"),
        ((0.1, 0.2, 0.3), r"number or \[low, high\]"),
    ],
)
def test_impossible_parameters_are_refused(value, message):
    with pytest.raises(ValueError, match=message):
        equations.get("burgers_1d").restricted({"viscosity": value})


def test_unknown_parameters_are_refused():
    with pytest.raises(ValueError, match="did you mean 'viscosity'"):
        equations.get("burgers_1d").restricted({"viscocity": 0.1})
    with pytest.raises(ValueError, match="it has none"):
        equations.get("korteweg_de_vries_1d").restricted({"viscosity": 0.1})


def test_parameters_are_drawn_over_their_range():
    viscosity = equations.get("burgers_1d").parameters["viscosity"]
    low, high = viscosity.low, viscosity.high
    generator = torch.Generator().manual_seed(0)
    logs = torch.tensor([viscosity.draw(generator) for _ in range(4000)]).log()
    fractions = (logs - math.log(low)) / math.log(high / low)
    assert fractions.min() >= -1e-6
    assert fractions.max() <= 1 + 1e-6
    assert fractions.mean().item() == pytest.approx(0.5, abs=0.03)
    speed = equations.get("advection_1d").parameters["speed"]
    speeds = torch.tensor([speed.draw(generator) for _ in range(4000)])
    assert speeds.mean().item() == pytest.approx(0, abs=0.06)


def test_fixing_a_parameter_changes_nothing_else():
    equation = equations.get("kolmogorov_2d")
    state, chosen, _ = drawn(equation, 1)
    fixed_state, fixed, _ = drawn(equation.restricted({"viscosity": 0.03, "drag": (0.0, 1.0)}), 1)
    assert fixed["viscosity"] == [0.03]
    assert fixed["drag"] != chosen["drag"]
    assert fixed["forcing"] == chosen["forcing"]
    assert torch.equal(fixed_state, state)


def test_generators_are_distinct_within_a_dataset():
    seeds = {
        trajectory_generator(7, "heat_1d", split, i).initial_seed()
        for split in ("train", "valid", "test")
        for i in range(20000)
    }
    assert len(seeds) == 60000
    assert max(seeds) < 2**32  # all that a generator tells apart


@pytest.mark.parametrize(
    "sampler",
    [
        FourierSeries(modes=5, rms=(0.5, 1.0), mean=0.5, components=2),
        PeakedSeries(modes=4, peak=1.5, mean=1.0, components=2),
    ],
)
def test_initial_states_do_not_depend_on_the_grid(sampler):
    coarse = sampler(torch.Generator().manual_seed(3), box((16, 18), 1.0, 2.0))
    fine = sampler(torch.Generator().manual_seed(3), box((48, 36), 1.0, 2.0))
    torch.testing.assert_close(fine[:, ::3, ::2], coarse, atol=1e-13, rtol=0)


@pytest.mark.parametrize("shape", [(64,), (24, 20), (12, 14, 16)])
def test_initial_states_have_the_stated_amplitude_and_band(shape):
    sampler = FourierSeries(modes=3, rms=(0.7, 0.7), components=2)
    grid = box(shape, *(1.0,) * len(shape))
    u = sampler(torch.Generator().manual_seed(1), grid)
    assert u.square().mean().sqrt().item() == pytest.approx(0.7, rel=1e-12)
    spectral = Spectral(shape, grid.lengths)
    v = spectral.forward(u[None]).abs().amax((0, 1)) / math.prod(shape)
    inside = (spectral.k2 > 0) & (spectral.k2 <= (2 * math.pi * 3) ** 2 * 1.0001)
    assert v[~inside].max() < 1e-15
    assert v[inside].min() > 1e-6


def test_a_grid_that_cannot_hold_the_initial_state_is_refused():
    with pytest.raises(ValueError, match="resolution must exceed 24 points"):
        drawn(equations.get("heat_1d"), 1, (24,))


@pytest.mark.parametrize("name", equations.names())
def test_every_equation_says_what_it_starts_from(name):
    starts = equations.get(name).starts()
    assert starts
    assert "object at" not in starts
    assert "(generator" not in starts


def test_what_an_equation_starts_from_follows_from_its_samplers():
    equation = equations.get("heat_1d")
    assert equation.starts() == "random Fourier series of up to 8 periods per box, plus a mean"
    other = replace(equation, initial=Rescaled(FourierSeries(modes=3, rms=(1.0, 1.0)), -1.0, 2.5))
    assert other.starts() == "random Fourier series of up to 3 periods per box, scaled to [-1, 2.5]"
    assert replace(other, initial_states="waves").starts() == "waves"
