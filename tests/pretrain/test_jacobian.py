"""The penalty on the Jacobian, where the Jacobian is known."""

import math
from dataclasses import replace

import pytest
import torch
from linear_model import window_of
from torch import nn

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.normalization import Identity, Statistics
from pelagos.operators import create
from pelagos.pretrain.objectives import objective_of
from pelagos.pretrain.objectives.jacobian import (
    JacobianConfig,
    JacobianPenalty,
    row_norms,
    steepness,
)
from pelagos.pretrain.objectives.rollout import RolloutConfig
from pelagos.pretrain.objectives.tangents import pushed

POINTS = 32


class Filter(nn.Module):
    """The next frame is the latest one times a symbol in Fourier space."""

    def __init__(self, symbol):
        super().__init__()
        self.symbol = nn.Parameter(symbol)

    def forward(self, window):
        spectrum = torch.fft.rfft(window.history[:, -1])
        return torch.fft.irfft(self.symbol * spectrum, n=POINTS).unsqueeze(1)


def symbol_of(kind):
    k = torch.arange(POINTS // 2 + 1, dtype=torch.float64)
    if kind == "advection":
        return torch.exp(-1j * 2 * math.pi * k * 3 / POINTS)  # three points further
    return torch.exp(-0.01 * k**2).to(torch.complex128)


def kernel_norm(symbol):
    """Σ_j g_j² of a circulant matrix, by Parseval."""
    weight = torch.full_like(symbol.real, 2.0)
    weight[0] = weight[-1] = 1.0
    return ((weight * symbol.abs().square()).sum() / POINTS).item()


def random_window(batch=64, fields=("u",)):
    generator = torch.Generator().manual_seed(0)
    shape = (batch, 2, len(fields), POINTS)
    return window_of(torch.randn(shape, generator=generator, dtype=torch.float64), fields=fields)


@pytest.mark.parametrize("kind", ["advection", "heat"])
def test_row_norms_are_those_of_the_kernel(kind):
    symbol = symbol_of(kind)
    found = row_norms(Filter(symbol), random_window(), Identity(), seed=1, probes=16)
    expected = 1.0 if kind == "advection" else kernel_norm(symbol)
    assert found.shape == (64, 1, POINTS)
    if kind == "advection":  # every row has one entry, 1: exact with every probe
        torch.testing.assert_close(found, torch.ones_like(found), rtol=1e-12, atol=0)
    assert found.mean().item() == pytest.approx(expected, rel=0.03)
    assert expected == pytest.approx(kernel_norm(symbol))


def test_units_do_not_matter():
    window, symbol = random_window(), symbol_of("heat")
    far = Statistics({"*": {"u": 300.0}}, {"*": {"u": 50.0}})
    large = replace(window, history=50 * window.history + 300)
    found = row_norms(Filter(symbol), large, far, 1, 2)
    torch.testing.assert_close(found, row_norms(Filter(symbol), window, Identity(), 1, 2))


def test_the_plain_penalty_and_its_gradient():
    """R = Σ g²/2 of the kernel; along the symbol of a wave number it grows by weight · symbol."""
    symbol = symbol_of("heat")
    penalty = JacobianPenalty(JacobianConfig(adaptive=False, probes=32), fields=1)
    model = Filter(symbol)
    value = penalty(model, random_window(256), Identity(), 0)
    assert value.item() == pytest.approx(kernel_norm(symbol) / 2, rel=0.01)
    (gradient,) = torch.autograd.grad(value, model.symbol)
    expected = 2 * symbol.real[1:-1] / POINTS
    torch.testing.assert_close(gradient.real[1:-1], expected, rtol=0.1, atol=0)


def test_tolerances_do_not_degenerate():
    """As the rows shrink, the pull on them stays bounded: that of free tolerances would not."""
    window, floor = random_window(8), 0.1
    for size in (1e-1, 1e-3, 1e-6):
        penalty = JacobianPenalty(JacobianConfig(floor=floor, bins=3), fields=1)
        assert penalty.rows is not None
        model = Filter(size * symbol_of("advection"))
        for _ in range(2):
            value = penalty(model, window, Identity(), 0)
            penalty.rows.learn(penalty.rows.take())
        tolerance = penalty.tolerance(penalty.bins(window.history[:, -1], window.grid), value)
        torch.testing.assert_close(
            tolerance, torch.full_like(tolerance, math.hypot(floor, size)), rtol=1e-6, atol=0
        )
        value = penalty(model, window, Identity(), 0)
        (gradient,) = torch.autograd.grad(value, model.symbol)
        along = (gradient.conj() * symbol_of("advection")).real.sum().item()  # d/d size
        assert along == pytest.approx(size / (size**2 + floor**2), rel=1e-6)
        assert along <= 1 / (2 * floor) + 1e-9


def test_masked_points_do_not_count():
    window = random_window(8)
    mask = torch.rand(8, 1, POINTS, generator=torch.Generator().manual_seed(2)) < 0.5
    window = replace(window, context=replace(window.context, mask=mask))
    penalty = JacobianPenalty(JacobianConfig(adaptive=False), fields=1)
    found = penalty(Filter(3 * symbol_of("advection")), window, Identity(), 0)
    assert found.item() == pytest.approx(4.5)


@pytest.mark.parametrize("kind", ["periodic", "wall"])
def test_steepness_of_a_wave(kind):
    grid = Grid((256,), (2 * math.pi,), (kind,))
    (x,) = grid.coordinates()
    found = steepness(x.sin()[None, None], grid)
    torch.testing.assert_close(found[0, 0], x.cos().abs(), atol=2e-2, rtol=0)


class Burgers(nn.Module):
    """A step of u_t = −(u²/2)_x + 0.1 u_xx on [0, 2π): Fourier, 2/3 rule, classical Runge–Kutta."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def forward(self, window):
        u = window.history[:, -1]
        k = torch.arange(u.shape[-1] // 2 + 1, dtype=u.dtype)
        kept = k < u.shape[-1] / 3

        def rate(v):
            square = torch.fft.rfft(torch.fft.irfft(v).square())
            return kept * (-0.5j * k * square) - 0.1 * k**2 * v

        v, h = torch.fft.rfft(u) * kept, 0.005
        for _ in range(self.steps):
            a = rate(v)
            b = rate(v + h / 2 * a)
            c = rate(v + h / 2 * b)
            v = v + h / 6 * (a + 2 * b + 2 * c + rate(v + h * c))
        return torch.fft.irfft(v).unsqueeze(1)


def test_on_burgers_the_tolerance_follows_the_slope():
    grid = Grid((128,), (2 * math.pi,), ("periodic",))
    (x,) = grid.coordinates()
    phase = torch.linspace(0, 2 * math.pi, 9, dtype=torch.float64)[:-1, None]
    u = (torch.sin(x + phase) + 0.5 * torch.cos(2 * x - phase))[:, None]

    def window(u):
        found = window_of(u[:, None].repeat(1, 2, 1, 1))
        return replace(found, context=replace(found.context, grid=grid))

    u = Burgers(300)(window(u))[:, 0]  # until there are fronts
    penalty = JacobianPenalty(JacobianConfig(bins=8, probes=8), fields=1)
    assert penalty.rows is not None
    penalty(Burgers(40), window(u), Identity(), 0)
    penalty.rows.learn(penalty.rows.take())
    tolerance, slope = penalty.tolerance(penalty.bins(u, grid), u), steepness(u, grid)
    pair = torch.stack((tolerance.flatten(), slope.flatten()))
    assert torch.corrcoef(pair)[0, 1] > 0.8
    steep, flat = tolerance[slope > 3].mean(), tolerance[slope < 0.5].mean()
    assert steep > 1.4 * flat


def test_it_is_added_to_the_loss():
    config = JacobianConfig(weight=0.5, adaptive=False)
    window, model = random_window(), Filter(symbol_of("advection"))
    plain = objective_of(RolloutConfig())
    held = objective_of(RolloutConfig(jacobian=config))
    held.meet(create("dymixop", fields=("u",), ndim=1, hidden=2))
    assert held.whole
    assert not plain.whole
    difference = held.loss(model, window, Identity(), 0) - plain.loss(model, window, Identity(), 0)
    assert difference.item() == pytest.approx(0.25)


class Backwards(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


class OnlyBackwards(nn.Module):
    def forward(self, window):
        return Backwards.apply(window.history)


def test_an_operator_without_forward_mode_is_named():
    window = random_window(2)
    with pytest.raises(ValueError, match="cannot be differentiated forwards: "):
        pushed(OnlyBackwards(), window, torch.ones_like(window.history))
