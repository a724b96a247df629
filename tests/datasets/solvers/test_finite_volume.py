"""The finite-volume scheme against exact solutions, symmetries and conservation laws."""

import math

import numpy as np
import pytest
import torch

from pelagos.datasets.solvers.finite_volume import FiniteVolume, limited, with_ghosts
from pelagos.datasets.solvers.riemann import Euler, ShallowWater
from pelagos.datasets.solvers.riemann_exact import cell_means, dam_break, gas

GAS = Euler(torch.tensor(1.4, dtype=torch.float64))
WATER = ShallowWater(torch.tensor(1.0, dtype=torch.float64))
# Left and right (ρ, u, p), and the time at which they are compared (Toro's tests, and a contact).
RIEMANN = {
    "sod": ((1.0, 0.0, 1.0), (0.125, 0.0, 0.1), 0.2),
    "123": ((1.0, -2.0, 0.4), (1.0, 2.0, 0.4), 0.12),
    "strong shock": ((1.0, 0.0, 1000.0), (1.0, 0.0, 0.01), 0.012),
    "colliding": ((5.99924, 19.5975, 460.894), (5.99242, -6.19633, 46.0950), 0.02),
    "moving contact": ((1.4, 0.3, 1.0), (1.0, 0.3, 1.0), 0.5),
}


# ------------------------------------------------------------------------------------- gas


def centres(n, length=1.0):
    return (torch.arange(n, dtype=torch.float64) + 0.5) * (length / n)


def two_states(left, right, n):
    values = (torch.tensor(side, dtype=torch.float64)[:, None] for side in (left, right))
    return torch.where(centres(n) < 0.5, *values)[None]


def solved(system, w, time, boundary, length=1.0, **options):
    """Primitive states after `time`."""
    shape = w.shape[2:]
    solver = FiniteVolume(system, tuple(length / n for n in shape), boundary, **options)
    u, sound = solver.advance(system.conserved(w), time)
    assert sound.all()
    return system.primitive(u)


def riemann_error(name, n):
    """Mean error of the density relative to its range."""
    left, right, time = RIEMANN[name]
    w = solved(GAS, two_states(left, right, n), time, ("open",))
    exact = cell_means(lambda x: gas(left, right, (x - 0.5) / time)[0], n)
    return np.abs(w[0, 0].numpy() - exact).mean() / np.ptp(exact)


@pytest.mark.parametrize("name", RIEMANN)
def test_riemann_problems_converge_to_the_exact_solution(name):
    # Shocks converge like h; contacts, which the limiter smears, like h^(2/3) or so.
    coarse, fine = riemann_error(name, 100), riemann_error(name, 400)
    assert fine < 0.015
    assert math.log(coarse / fine, 4) > 0.6


def test_a_contact_at_rest_is_kept_to_rounding():
    w = two_states((1.0, 0.0, 1.0), (0.1, 0.0, 1.0), 50)
    torch.testing.assert_close(solved(GAS, w, 1.0, ("open",)), w, atol=1e-13, rtol=0)


def vortex(n):
    """A steady isentropic vortex, carried along by (1, 1): Shu (1998), box of 10."""
    x = centres(n, 10.0) - 5
    x, y = torch.meshgrid(x, x, indexing="ij")
    r2, strength = x**2 + y**2, 5.0
    swirl = strength / (2 * math.pi) * torch.exp(0.5 * (1 - r2))
    heat = 1 - 0.4 * strength**2 / (8 * 1.4 * math.pi**2) * torch.exp(1 - r2)
    return torch.stack((heat**2.5, 1 - swirl * y, 1 + swirl * x, heat**3.5))[None]


def test_a_vortex_converges_at_second_order():
    errors = []
    for n in (32, 64):
        start = vortex(n)
        w = solved(GAS, start, 1.25, ("periodic", "periodic"), 10.0)
        exact = start.roll((n // 8, n // 8), (2, 3))  # an eighth of the box further
        errors.append((w - exact).abs().mean().item())
    assert math.log2(errors[0] / errors[1]) > 1.9
    assert errors[1] < 2e-3


def test_a_density_wave_in_float32_matches_float64():
    x = centres(64)
    w = torch.stack((1 + 0.2 * torch.sin(2 * math.pi * x), 0 * x + 1, 0 * x + 1))[None]
    single = Euler(torch.tensor(1.4))
    low = solved(single, w.float(), 0.3, ("periodic",))
    assert low.dtype == torch.float32
    torch.testing.assert_close(low.double(), solved(GAS, w, 0.3, ("periodic",)), atol=2e-5, rtol=0)


def quadrants(n=32, batch=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand((batch, 4, 2, 2), generator=generator, dtype=torch.float64)
    w = torch.cat((0.1 + draw[:, :1], 2 * draw[:, 1:3] - 1, 0.1 + draw[:, 3:]), 1)
    return w.repeat_interleave(n // 2, 2).repeat_interleave(n // 2, 3)


@pytest.mark.parametrize("boundary", ["periodic", "wall"])
@pytest.mark.parametrize("system", [GAS, WATER])
def test_mass_and_energy_are_conserved_to_rounding(system, boundary):
    w = quadrants()[:, : 3 if system is WATER else 4]
    before = system.conserved(w)
    after = system.conserved(solved(system, w, 0.3, (boundary,) * 2))
    kept = slice(None) if boundary == "periodic" else [0, -1] if system is GAS else [0]
    change = (after - before).sum((2, 3)) / before.abs().sum((2, 3))
    assert change[:, kept].abs().max() < 1e-13
    assert (after - before).abs().max() > 0.1


def test_transposed_and_mirrored_states_have_transposed_and_mirrored_solutions():
    w = quadrants()
    end = solved(GAS, w, 0.2, ("wall", "wall"))
    transposed = w.transpose(2, 3)[:, [0, 2, 1, 3]].contiguous()
    other = solved(GAS, transposed, 0.2, ("wall", "wall")).transpose(2, 3)[:, [0, 2, 1, 3]]
    torch.testing.assert_close(other, end, atol=1e-12, rtol=0)
    sign = torch.tensor([1.0, -1.0, 1.0, 1.0], dtype=torch.float64)[:, None, None]
    mirrored = solved(GAS, w.flip(2) * sign, 0.2, ("wall", "wall")).flip(2) * sign
    torch.testing.assert_close(mirrored, end, atol=1e-12, rtol=0)


def test_a_wall_is_a_plane_of_symmetry():
    left = quadrants(seed=1)
    sign = torch.tensor([1.0, -1.0, 1.0, 1.0], dtype=torch.float64)[:, None, None]
    both = torch.cat((left, left.flip(2) * sign), 2)
    end = solved(GAS, left, 0.2, ("wall", "periodic"))
    solver = FiniteVolume(GAS, (1 / 32, 1 / 32), ("wall", "periodic"))
    whole, _ = solver.advance(GAS.conserved(both), 0.2)
    torch.testing.assert_close(GAS.primitive(whole)[:, :, :32], end, atol=1e-12, rtol=0)


def test_ends_may_differ():
    # A pulse runs to the right: it leaves through an open end, and comes back from a wall.
    x = centres(200)
    pulse = 0.01 * torch.exp(-(((x - 0.7) / 0.05) ** 2))
    w = torch.stack((1 + pulse, pulse, 0 * x + (1 + pulse) ** 1.4))[None]
    w[:, 2] = (1 + pulse) ** 1.4 / 1.4  # unit speed of sound: a simple wave
    away = solved(GAS, w, 0.8, ("wall-open",))
    back = solved(GAS, w, 0.8, ("open-wall",))
    assert (away[:, 0] - 1).abs().max() < 2e-4
    assert (back[:, 0] - 1).abs().max() > 0.008
    assert back[0, 0].argmax().item() / 200 == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_plane_waves_look_the_same_along_every_axis(ndim):
    line = two_states((1.0, 0.0, 1.0), (0.125, 0.0, 0.1), 40)
    # A step of the same length in 1, 2 and 3 axes.
    dt = torch.tensor([0.004], dtype=torch.float64)
    reference, _, _ = FiniteVolume(GAS, (1 / 40,), ("open",)).step(GAS.conserved(line), line, dt)
    for axis in range(ndim):
        shape = [1] * ndim
        shape[axis] = 40
        w = torch.zeros(1, ndim + 2, *shape, dtype=torch.float64)
        for to, channel in ((0, 0), (1 + axis, 1), (-1, 2)):
            w[0, to] = line[0, channel].reshape(shape)
        w = w.expand(1, ndim + 2, *(40 if d == axis else 3 for d in range(ndim))).contiguous()
        solver = FiniteVolume(GAS, (1 / 40,) * ndim, ("open",) * ndim)
        out, _, _ = solver.step(GAS.conserved(w), w, dt)
        got = out[0, 1 + axis].movedim(axis, 0).reshape(40, -1)
        torch.testing.assert_close(got, reference[0, 1, :, None].expand_as(got), atol=1e-14, rtol=0)


def test_a_trajectory_does_not_depend_on_its_batch():
    w = quadrants(n=20, batch=4)
    solver = FiniteVolume(GAS, (1 / 20, 1 / 20), ("periodic", "periodic"))
    together, _ = solver.advance(GAS.conserved(w), 0.1)
    for i in range(4):
        alone, _ = solver.advance(GAS.conserved(w[i : i + 1]), 0.1)
        assert torch.equal(alone[0], together[i])


def test_near_vacuum_and_strong_blasts_stay_positive():
    w = torch.ones(1, 4, 32, 32, dtype=torch.float64)
    w[:, 1:3] = 0
    w[:, 3] = 1e-6
    w[:, 3, 14:18, 14:18] = 1e4
    w[:, 0, :, 20:] = 1e-4
    end = solved(GAS, w, 0.002, ("periodic", "periodic"))
    assert end[:, 0].min() > 0
    assert end[:, 3].min() > 0
    parting = two_states((1.0, -20.0, 0.4), (1.0, 20.0, 0.4), 100)  # leaves a vacuum behind
    solver = FiniteVolume(GAS, (0.01,), ("open",))
    u, sound = solver.advance(GAS.conserved(parting), 0.01)
    assert sound.all()
    assert GAS.primitive(u)[:, [0, 2]].min() > 0


def test_impossible_states_fail_alone():
    w = quadrants(n=16, batch=3)
    w[1, 3, 2, 3] = -0.5
    w[2, 0, 0, 0] = math.nan
    solver = FiniteVolume(GAS, (1 / 16, 1 / 16), ("periodic", "periodic"))
    u, sound = solver.advance(GAS.conserved(w), 0.05)
    assert sound.tolist() == [True, False, False]
    assert u[1:].isnan().all()
    alone, _ = solver.advance(GAS.conserved(w[:1]), 0.05)
    assert torch.equal(alone, u[:1])


def atmosphere(n, boundary="wall"):
    """Isothermal gas at rest above a floor, in discrete balance, and its potential."""
    x = centres(n)
    potential = with_ghosts(x[None, None, :, None].expand(1, 1, n, 4))
    density = torch.exp(-x) * (1 + 0.5 * (x > 0.4))  # with a jump: any stratification balances
    weight = 0.5 * (density[1:] + density[:-1]) / n
    pressure = 2 - torch.cat((torch.zeros(1, dtype=torch.float64), weight.cumsum(0)))
    w = torch.stack((density, 0 * x, 0 * x, pressure))[None, :, :, None]
    return w.expand(1, 4, n, 4).contiguous(), potential


@pytest.mark.parametrize("boundary", ["wall", "open"])
def test_hydrostatic_balance_is_kept_to_rounding(boundary):
    w, potential = atmosphere(40)
    end = solved(GAS, w, 2.0, (boundary, "periodic"), potential=potential)
    torch.testing.assert_close(end, w, atol=1e-10, rtol=0)


def test_gravity_conserves_total_energy():
    w, potential = atmosphere(40)
    w[:, 0] *= 1 + 0.3 * torch.rand((40, 4), generator=torch.Generator().manual_seed(0))
    end = solved(GAS, w, 0.5, ("wall", "periodic"), potential=potential)
    inner = potential[:, :, 1:-1, 1:-1]

    def energy(w):
        return (GAS.conserved(w)[:, -1:] + w[:, :1] * inner).sum()

    assert abs(energy(end) / energy(w) - 1) < 1e-13
    assert end[:, 1].abs().max() > 0.01


def test_limited_slopes_are_central_where_smooth_and_zero_at_extrema():
    one, two = torch.tensor([1.0, 1.0, -1.0, 1.0]), torch.tensor([1.2, 9.0, 1.0, 0.0])
    torch.testing.assert_close(limited(one, two), torch.tensor([1.1, 2.0, 0.0, 0.0]))


# --------------------------------------------------------------------------------- shallow water


@pytest.mark.parametrize("low", [0.3, 0.0])
def test_dam_breaks_converge_to_the_exact_solution(low):
    errors = []
    for n in (100, 400):
        w = two_states((1.0, 0.0), (max(low, 1e-8), 0.0), n)
        end = solved(WATER, w, 0.2, ("open",))
        exact = cell_means(lambda x: dam_break(1.0, low, (x - 0.5) / 0.2)[0], n)
        errors.append(np.abs(end[0, 0].numpy() - exact).mean())
    assert errors[1] < 1e-3
    assert math.log(errors[0] / errors[1], 4) > 0.75


def test_inertial_oscillation_turns_uniform_flow():
    # Without pressure gradients (u, v) rotates clockwise at the rate f.
    w = torch.ones(1, 3, 8, 8, dtype=torch.float64)
    w[:, 1], w[:, 2] = 0.1, 0.0
    f = torch.tensor(2.0, dtype=torch.float64)
    end = solved(WATER, w, 1.0, ("periodic", "periodic"), rotation=f)
    expected = (0.1 * math.cos(2.0), -0.1 * math.sin(2.0))
    assert end[0, 1, 0, 0].item() == pytest.approx(expected[0], abs=1e-3)
    assert end[0, 2, 0, 0].item() == pytest.approx(expected[1], abs=1e-3)


def test_geostrophic_jet_stays_and_converges():
    drifts = []
    for n in (32, 64):
        y = centres(n)
        h = 1 - 0.05 * torch.tanh((y - 0.5) * 10)
        u = 0.05 * 10 / torch.cosh((y - 0.5) * 10) ** 2 / 4  # f u = −g h_y, f = 4
        w = torch.stack((h, u, 0 * y))[None, :, None].expand(1, 3, 4, n).contiguous()
        f = torch.tensor(4.0, dtype=torch.float64)
        shape = (1 / n, 1 / n)
        solver = FiniteVolume(WATER, shape, ("periodic", "wall"), rotation=f)
        u_end, sound = solver.advance(WATER.conserved(w), 1.0)
        assert sound.all()
        drifts.append((WATER.primitive(u_end) - w).abs().mean().item())
    assert math.log2(drifts[0] / drifts[1]) > 1.5
    assert drifts[1] < 2e-3
