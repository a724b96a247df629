"""Reaction–diffusion: travelling fronts, linear waves, homogeneous states, walls, forcing."""

import math
from dataclasses import replace

import pytest
import torch

from pelagos.datasets import equations
from pelagos.datasets.equations.equation import Problem, frames
from pelagos.datasets.equations.initial import trajectory_generator
from pelagos.datasets.equations.response import RandomForcing
from pelagos.datasets.fields.grid import Grid


def fixed(**parameters):
    return {name: torch.tensor([value], dtype=torch.float64) for name, value in parameters.items()}


def at(equation, initial, grid, time, step=None, **parameters):
    solved = frames(equation, Problem(initial, fixed(**parameters), grid, time, solver_step=step))
    next(solved)
    return next(solved)


def small_wave(matrix, amplitudes, k, x, time):
    """(amplitudes cos kx) after `time` under w_t = matrix w."""
    grown = torch.linalg.matrix_exp(time * torch.tensor(matrix, dtype=torch.float64)) @ amplitudes
    return grown[:, None] * torch.cos(k * x)


@pytest.mark.parametrize("reflected", [False, True])
def test_fisher_front_travels_between_walls(reflected):
    """u = (1 + e^{z})⁻², z = √(ρ/6ν) (x − c t), c = 5 √(ρν/6) (Ablowitz & Zeppetella 1979)."""
    fisher = replace(
        equations.get("fisher_1d"), boundary=("wall",), cell_centred=True, lengths=(60.0,)
    )
    grid = fisher.grid((512,))
    (x,) = grid.coordinates()
    rate, nu, time = 1.5, 1.2, 4.0
    sharpness, speed = math.sqrt(rate / (6 * nu)), 5 * math.sqrt(rate * nu / 6)

    def front(t):
        u = (1 + torch.exp(sharpness * (x - 25 - speed * t))) ** -2
        return (u.flip(0) if reflected else u)[None, None]

    got = at(fisher, front(0), grid, time, 0.02, diffusivity=nu, rate=rate)
    torch.testing.assert_close(got, front(time), atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", ["fisher_1d", "fisher_2d", "fisher_3d"])
def test_fisher_homogeneous_state_is_logistic(name):
    equation = equations.get(name)
    grid = equation.grid((6,) * equation.ndim)
    start = torch.full((1, 1, *grid.shape), 0.2, dtype=torch.float64)
    got = at(equation, start, grid, 0.5, diffusivity=2e-3, rate=4.0)
    end = 0.2 * math.e**2 / (1 + 0.2 * (math.e**2 - 1))
    torch.testing.assert_close(got, torch.full_like(got, end), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["allen_cahn_1d", "allen_cahn_2d", "allen_cahn_3d"])
def test_allen_cahn_homogeneous_state_and_kink(name):
    equation = equations.get(name)
    grid = equation.grid((128, *(6,) * (equation.ndim - 1)))
    start = torch.full((1, 1, *grid.shape), 0.2, dtype=torch.float64)
    end = 0.2 * math.e**1.5 / math.sqrt(1 + 0.04 * (math.e**3 - 1))
    got = at(equation, start, grid, 1.5, diffusivity=1e-3)
    torch.testing.assert_close(got, torch.full_like(got, end), atol=1e-6, rtol=0)
    x = grid.coordinates()[0].reshape(-1, *(1,) * (equation.ndim - 1))
    width = math.sqrt(2 * 1e-3)  # a kink and an anti-kink, too far apart to attract each other
    kinks = torch.tanh((x - 0.25) / width) * torch.tanh((0.75 - x) / width)
    kinks = kinks.expand(1, 1, *grid.shape)
    got = at(equation, kinks, grid, 2.0, diffusivity=1e-3)
    torch.testing.assert_close(got, kinks, atol=1e-4, rtol=0)


def test_allen_cahn_lowers_its_free_energy():
    equation = equations.get("allen_cahn_1d")
    grid = equation.grid()
    draw = equation.draw(torch.Generator().manual_seed(0), grid)
    nu = draw.parameters["diffusivity"]
    solved = frames(equation, Problem(draw.initial[None], fixed(diffusivity=nu), grid, 0.5))

    def energy(u):
        slope = (u.roll(-1, -1) - u) / grid.spacing[0]
        return (nu * slope.square() / 2 + (1 - u * u).square() / 4).mean()

    energies = torch.stack([energy(next(solved)) for _ in range(12)])
    assert (energies.diff() < 0).all()


def test_brusselator_waves_about_its_equilibrium_follow_the_linear_theory():
    equation = equations.get("brusselator_2d")
    grid = equation.grid((32, 32))
    a, b, d_u, d_v, time = 1.2, 2.0, 0.8, 0.3, 1.3
    k = 2 * math.pi * 3 / 32
    x = grid.coordinates()[0][:, None].expand(32, 32)
    matrix = [[b - 1 - d_u * k * k, a * a], [-b, -a * a - d_v * k * k]]
    amplitudes = torch.tensor([1e-7, -2e-7], dtype=torch.float64)
    base = torch.tensor([a, b / a], dtype=torch.float64)[:, None, None]
    start = base + amplitudes[:, None, None] * torch.cos(k * x)
    chosen = {"a": a, "b": b, "diffusivity_u": d_u, "diffusivity_v": d_v}
    got = at(equation, start[None], grid, time, 0.01, **chosen)[0] - base
    want = small_wave(matrix, amplitudes, k, x.reshape(-1), time).reshape(2, 32, 32)
    torch.testing.assert_close(got, want, atol=1e-12, rtol=0)


def test_brusselator_in_three_dimensions_repeats_its_planes():
    plane, volume = equations.get("brusselator_2d"), equations.get("brusselator_3d")
    flat = Grid((16, 16), (16.0, 16.0), ("periodic",) * 2)
    chosen = {"a": 1.0, "b": 2.5, "diffusivity_u": 1.0, "diffusivity_v": 0.5}
    state = plane.draw(torch.Generator().manual_seed(0), plane.grid()).initial[None, :, ::4, ::4]
    want = at(plane, state, flat, 0.5, **chosen)
    for axis in (2, 3, 4):
        stack = state.unsqueeze(axis).repeat_interleave(6, axis)
        shape = tuple(stack.shape[2:])
        grid = Grid(shape, (16.0,) * 3, ("periodic",) * 3)
        got = at(volume, stack, grid, 0.5, **chosen)
        torch.testing.assert_close(got.select(axis, 2), want, atol=1e-12, rtol=0)


def test_gray_scott_without_catalyst_relaxes():
    equation = equations.get("gray_scott_2d")
    grid = equation.grid((16, 16))
    start = torch.zeros(1, 2, 16, 16, dtype=torch.float64)
    start[:, 0] = 0.4
    chosen = {"feed": 0.03, "kill": 0.06, "diffusivity_u": 2e-5, "diffusivity_v": 1e-5}
    got = at(equation, start, grid, 50.0, **chosen)
    want = 1 - 0.6 * math.exp(-0.03 * 50)
    torch.testing.assert_close(got[:, 0], torch.full_like(got[:, 0], want), atol=1e-6, rtol=0)
    assert got[:, 1].abs().max() == 0


def test_gray_scott_draws_whole_regimes_or_what_was_asked_for():
    equation = equations.get("gray_scott_2d")
    regimes = {tuple(regime.values()) for regime in equation.regimes.values()}

    def pairs(equation, count=60):
        grid = equation.grid((8, 8))
        generator = torch.Generator().manual_seed(0)
        draws = [equation.draw(generator, grid).parameters for _ in range(count)]
        return {(draw["feed"], draw["kill"]) for draw in draws}

    assert pairs(equation) == regimes
    slow = equation.restricted({"feed": (0.01, 0.02)})
    assert pairs(slow) == {pair for pair in regimes if pair[0] <= 0.02}
    own = equation.restricted({"feed": 0.04, "kill": 0.06})
    assert pairs(own, 3) == {(0.04, 0.06)}


def test_fitzhugh_nagumo_waves_between_walls_follow_the_linear_theory():
    """About rest with k = 0, cos(π j x / L) keeps its shape: no flux through the walls."""
    equation = equations.get("fitzhugh_nagumo_2d")
    grid = equation.grid((16, 24))
    x, y = torch.meshgrid(*grid.coordinates(), indexing="ij")
    d_u, d_v, time = 1e-2, 3e-2, 1.7
    shape = torch.cos(math.pi * 3 * x / 2) * torch.cos(math.pi * 2 * y / 2)
    k2 = (3 * math.pi / 2) ** 2 + (2 * math.pi / 2) ** 2
    matrix = torch.tensor([[1 - d_u * k2, -1.0], [1.0, -1 - d_v * k2]], dtype=torch.float64)
    start = torch.tensor([1e-6, 2e-6]).double()
    want = torch.linalg.matrix_exp(time * matrix) @ start
    got = at(
        equation,
        (start[:, None, None] * shape)[None],
        grid,
        time,
        diffusivity_u=d_u,
        diffusivity_v=d_v,
        k=0.0,
    )
    torch.testing.assert_close(got[0], want[:, None, None] * shape, atol=1e-13, rtol=0)


def test_walls_commute_with_reflections():
    equation = equations.get("fitzhugh_nagumo_2d")
    grid = equation.grid((16, 16))
    draw = equation.draw(torch.Generator().manual_seed(1), grid)
    got = at(equation, draw.initial[None], grid, 0.3, **draw.parameters)
    mirrored = at(equation, draw.initial[None].flip(2), grid, 0.3, **draw.parameters)
    torch.testing.assert_close(mirrored.flip(2), got, atol=1e-11, rtol=0)


# ------------------------------------------------------------------------------- the response


def response(grid, forcing, equation=None, **changes):
    equation = equation or equations.get("brusselator_response_3d")
    chosen = {name: p.low for name, p in equation.parameters.items()} | changes
    blank = torch.zeros(1, 1, *grid.shape, dtype=torch.float64)
    solved = frames(equation, Problem(blank, fixed(**chosen), grid, 1.0, constants=forcing))
    return next(solved), list(solved)


def test_response_is_one_field_over_time_and_space():
    equation = equations.get("brusselator_response_3d")
    grid = equation.grid((9, 14, 16), (4.5, 28.0, 28.0))
    draw = equation.draw(torch.Generator().manual_seed(0), grid)
    forced, more = response(grid, draw.constants[None])
    still, _ = response(grid, torch.zeros_like(draw.constants)[None])
    assert forced.shape == (1, 1, 9, 14, 16)
    assert more == []
    assert torch.equal(forced[:, :, 0], still[:, :, 0])
    flow = equation.flow
    space = flow.grid((14, 16), (28.0, 28.0))
    start = equation.start(torch.Generator().manual_seed(0), space)[None]
    chosen = {name: p.low for name, p in equation.parameters.items()}
    solved = frames(flow, Problem(start, fixed(**chosen), space, 0.5))
    unforced = torch.stack([next(solved)[:, 0] for _ in range(9)], 1)
    torch.testing.assert_close(still[:, 0], unforced, atol=1e-12, rtol=0)


def test_response_integrates_its_forcing_exactly_where_the_equation_is_linear():
    """With a = b = 0 and v = 0, u_t = D Δu − u + f: f linear in time has a closed response."""
    base = equations.get("brusselator_response_3d")
    equation = replace(base, start=lambda generator, grid: torch.zeros(2, *grid.shape).double())
    grid = equation.grid((7, 8, 8), (3.5, 28.0, 28.0))
    t, x, _ = torch.meshgrid(*grid.coordinates(), indexing="ij")
    k = 2 * math.pi / 28
    forcing = ((0.3 + 0.2 * t) * torch.cos(k * x))[None, None]
    got, _ = response(grid, forcing, equation, a=0.0, b=0.0, diffusivity_u=2.0)
    rate = 1 + 2 * k * k
    slope, offset = 0.2 / rate, 0.3 / rate - 0.2 / rate**2
    want = (slope * t + offset - offset * torch.exp(-rate * t)) * torch.cos(k * x)
    torch.testing.assert_close(got[0, 0], want, atol=1e-7, rtol=0)


def test_random_forcing_has_the_stated_amplitude():
    grid = equations.get("brusselator_response_3d").grid((400, 2, 2))
    sampler = RandomForcing(modes=6, rms=(0.3, 0.3))
    squares = [
        sampler(trajectory_generator(0, "f", "train", i), grid).square().mean() for i in range(200)
    ]
    assert torch.stack(squares).mean().sqrt().item() == pytest.approx(0.3, rel=0.1)
