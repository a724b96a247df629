"""Spectral derivatives, φ-functions and the ETDRK4 step against closed forms."""

import itertools
import math

import pytest
import torch

from pelagos.datasets.equations.equation import Problem, frames
from pelagos.datasets.equations.registry import get
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.solvers.etdrk import ETDRK4, Spectral, phi, substeps

EVEN_AND_ODD = [(16,), (15,), (8, 9), (9, 8), (8, 6, 9), (7, 8, 6)]


def mesh(shape, lengths):
    grid = Grid(shape, lengths, ("periodic",) * len(shape))
    return torch.meshgrid(*grid.coordinates(), indexing="ij")


@pytest.mark.parametrize("shape", EVEN_AND_ODD)
def test_derivatives_of_fourier_modes_are_exact(shape):
    lengths = tuple(1.5 + axis for axis in range(len(shape)))
    spectral = Spectral(shape, lengths)
    x = mesh(shape, lengths)
    below_nyquist = [range(-((n - 1) // 2), (n - 1) // 2 + 1) for n in shape]
    for modes in itertools.islice(itertools.product(*below_nyquist), 0, None, 7):
        k = [2 * math.pi * m / length for m, length in zip(modes, lengths, strict=True)]
        phase = sum(a * b for a, b in zip(k, x, strict=True)) + 0.3
        v = spectral.forward(phase.cos()[None, None])
        for axis in range(len(shape)):
            got = spectral.inverse(spectral.ik[axis] * v)[0, 0]
            torch.testing.assert_close(got, -k[axis] * phase.sin(), atol=1e-12, rtol=0)
        got = spectral.inverse(-spectral.k2 * v)[0, 0]
        k2 = sum(a * a for a in k)
        torch.testing.assert_close(got, -k2 * phase.cos(), atol=1e-11, rtol=0)
        inverse = spectral.inverse(spectral.inverse_k2 * v)[0, 0]
        expected = phase.cos() / k2 if k2 else torch.zeros_like(phase)
        torch.testing.assert_close(inverse, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("shape", [*EVEN_AND_ODD, (128, 6), (256, 9), (4, 128, 6)])
def test_transforms_invert_each_other(shape):
    u = torch.randn(2, 3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    spectral = Spectral(shape, (1.0,) * len(shape))
    torch.testing.assert_close(spectral.inverse(spectral.forward(u)), u, atol=1e-14, rtol=0)


def test_nyquist_mode_has_no_odd_derivative_but_decays():
    spectral = Spectral((8, 6), (2 * math.pi, 2 * math.pi))
    x, y = mesh((8, 6), (2 * math.pi, 2 * math.pi))
    alternating = (4 * x).cos().round()  # ±1 along x
    v = spectral.forward((alternating * (y + 0.3).cos())[None, None])
    assert spectral.inverse(spectral.ik[0] * v).abs().max() < 1e-14
    got = spectral.inverse(-spectral.k2 * v)[0, 0]
    torch.testing.assert_close(got, -17 * alternating * (y + 0.3).cos())


@pytest.mark.parametrize("n", range(4, 20))
def test_two_thirds_rule_leaves_no_aliases_of_squares(n):
    spectral = Spectral((n,), (2 * math.pi,), dealias=True)
    kept = int(spectral.resolved.sum()) - 1
    assert kept < n / 3 <= kept + 1  # and no mode is given away
    (x,) = mesh((n,), (2 * math.pi,))
    v = spectral.forward((kept * x + 0.3).cos().square()[None, None])[0, 0] / n
    spurious = v[1 : kept + 1]  # the exact square has modes 0 and 2 kept
    assert spurious.abs().max() < 1e-15


def test_phi_functions_match_contour_means():
    radius = torch.logspace(-8, 3, 60, dtype=torch.float64)
    angle = torch.linspace(math.pi / 2, 3 * math.pi / 2, 9, dtype=torch.float64)
    z = torch.cat([torch.polar(*torch.broadcast_tensors(radius[:, None], angle)).flatten()])
    circle = torch.exp(2j * math.pi * (torch.arange(128, dtype=torch.float64) + 0.5) / 128)
    r = z[:, None] + 2 * circle
    e = torch.exp(r)
    formulas = ((e - 1) / r, (e - 1 - r) / r**2, (e - 1 - r - r**2 / 2) / r**3)
    for got, formula in zip(phi(z), formulas, strict=True):
        torch.testing.assert_close(got, formula.mean(1), atol=1e-13, rtol=0)


def test_real_phi_functions_are_accurate_on_both_sides_of_the_series_radius():
    z = torch.tensor([0.0, -0.999, -1.0, -1.001, 0.999, 1.001], dtype=torch.float64)
    terms = torch.stack([z**j / math.factorial(j + 3) for j in range(18)])
    torch.testing.assert_close(phi(z)[2], terms.sum(0), atol=1e-15, rtol=0)
    assert [p[0].item() for p in phi(z)] == pytest.approx([1, 1 / 2, 1 / 6], rel=1e-15)


def linear(symbol, spectral, dt=0.7):
    return ETDRK4(symbol, None, dt, spectral)


@pytest.mark.parametrize("shape", EVEN_AND_ODD)
def test_linear_steps_are_exact_for_any_length(shape):
    lengths = (2 * math.pi,) * len(shape)
    spectral = Spectral(shape, lengths)
    x = mesh(shape, lengths)
    rates = torch.tensor([0.1, 0.3], dtype=torch.float64).reshape(2, 1, *(1,) * len(shape))
    phase = x[0] + 2 * x[-1]
    u = phase.sin().expand(2, 1, *shape)
    k2 = 9 if len(shape) == 1 else 5
    v = linear(-rates * spectral.k2, spectral).step(spectral.forward(u))
    torch.testing.assert_close(spectral.inverse(v), (-0.7 * k2 * rates).exp() * u)
    v = linear(-rates * spectral.ik[0], spectral).step(spectral.forward(u))
    speed = 3 if len(shape) == 1 else 1
    expected = (phase - speed * 0.7 * rates).sin()
    torch.testing.assert_close(spectral.inverse(v), expected, atol=1e-13, rtol=0)


def test_constant_forcing_is_integrated_exactly():
    """u_t = −a u + f has u = f/a + (u₀ − f/a) e^{−a t}: exact, as φ-functions sum to it."""
    spectral = Spectral((8,), (1.0,))
    force = spectral.forward(torch.ones(1, 1, 8, dtype=torch.float64))
    rate = torch.full((1, 1, 5), -3.0, dtype=torch.float64)
    stepper = ETDRK4(rate, lambda v: force.clone(), 0.4, spectral)
    u = spectral.inverse(stepper.step(5 * force))
    torch.testing.assert_close(u[0, 0, 0].item(), 1 / 3 + (5 - 1 / 3) * math.exp(-1.2))


def test_step_is_fourth_order_where_both_parts_act():
    """u_t = −2 u + u² for spatial constants: u = 2 / (1 + (2/u₀ − 1) e^{2t})."""
    spectral = Spectral((4,), (1.0,))
    rate = torch.full((1, 1, 3), -2.0, dtype=torch.float64)

    def error(steps):
        stepper = ETDRK4(
            rate, lambda v: spectral.forward(spectral.inverse(v) ** 2), 1 / steps, spectral
        )
        v = spectral.forward(torch.full((1, 1, 4), 1.5, dtype=torch.float64))
        for _ in range(steps):
            v = stepper.step(v)
        exact = 2 / (1 + (2 / 1.5 - 1) * math.exp(2))
        return abs(spectral.inverse(v)[0, 0, 0].item() - exact)

    errors = [error(steps) for steps in (8, 16, 32)]
    for coarse, fine in itertools.pairwise(errors):
        assert 3.8 < math.log2(coarse / fine) < 4.2


def test_step_leaves_its_argument_alone_and_keeps_single_precision():
    spectral = Spectral((16,), (1.0,), torch.float32)
    double = Spectral((16,), (1.0,))
    symbol = -0.01 * double.k2[None, None]
    u = torch.randn(3, 1, 16, generator=torch.Generator().manual_seed(0))

    def stepped(s, u):
        v = s.forward(u) * s.resolved
        before = v.clone()
        term = lambda v: s.forward(s.inverse(v) ** 2)  # noqa: E731
        result = ETDRK4(symbol, term, 0.1, s).step(v)
        assert torch.equal(v, before)
        return s.inverse(result)

    single = stepped(spectral, u)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), stepped(double, u.double()), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("interval", "largest", "count"),
    [
        (0.1, 0.1, 1),
        (0.1, 0.02, 5),
        (0.3, 0.1, 3),
        (0.1, 0.03, 4),
        (1.0, math.inf, 1),
        (1.0, 2.0, 1),
    ],
)
def test_substeps(interval, largest, count):
    assert substeps(interval, largest) == count


def test_twins_of_a_chaotic_equation_part_at_the_stated_rate():
    """The distance of two nearby solutions grows by e per Lyapunov time, on the average."""
    equation = get("kuramoto_sivashinsky_1d")
    assert equation.lyapunov_time is not None
    grid, size = equation.grid(), 1e-7
    generators = [torch.Generator().manual_seed(i) for i in range(16)]
    states = torch.stack([equation.initial(generator, grid) for generator in generators]).double()
    states = next(frames(equation, Problem(states, {}, grid, 1.0, warm_up=150.0)))
    kick = torch.randn(states.shape, generator=generators[0], dtype=torch.float64)
    pair = torch.cat([states, states + size * kick / kick.norm(dim=-1, keepdim=True)])
    growth = []
    for _ in range(8):  # 25 time units each, the first for the direction to settle
        solved = frames(equation, Problem(pair, {}, grid, 25.0))
        next(solved)
        one, two = next(solved).chunk(2)
        distance = (two - one).norm(dim=-1, keepdim=True)
        growth.append((distance / size).log())
        pair = torch.cat([one, one + (two - one) * size / distance])
    rate = torch.stack(growth[1:]).mean().item() / 25
    assert rate == pytest.approx(1 / equation.lyapunov_time, rel=0.2)
