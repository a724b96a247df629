"""Kernels on other grids than the one that their weights know: derivatives and sub-grids."""

import math

import pytest
import torch

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.window import Context
from pelagos.operators import create
from pelagos.operators.layers.convolution import convolution
from pelagos.operators.layers.stretching import Scale, stretched

FIRST = torch.tensor([[[-0.5, 0.0, 0.5]]], dtype=torch.float64)
SECOND = torch.tensor([[[1.0, -2.0, 1.0]]], dtype=torch.float64)


def wave(points):
    return (2 * math.pi * torch.arange(points, dtype=torch.float64) / points).sin()[None, :, None]


@pytest.mark.parametrize("points", [32, 48, 64, 96, 100, 128, 256])
@pytest.mark.parametrize("kernel", [FIRST, SECOND])
def test_a_stencil_of_64_points_means_the_same_derivative_on_every_grid(points, kernel):
    """Exact: what it gives of a sine at 64 points, sin 2π/64 cos and (2 cos 2π/64 − 2) sin."""
    scale = Scale(stretch=((points, 64),))
    found = convolution(wave(points), stretched(kernel, scale.stretch), dilation=scale.dilation)
    angle = 2 * math.pi * torch.arange(points, dtype=torch.float64) / points
    exact = {
        FIRST: math.sin(2 * math.pi / 64) * angle.cos(),
        SECOND: (2 * math.cos(2 * math.pi / 64) - 2) * angle.sin(),
    }[kernel]
    whole = points % 64 == 0
    tolerance = 1e-12 if whole else 0.02 * exact.abs().max().item()
    torch.testing.assert_close(found[0, :, 0], exact, rtol=0, atol=tolerance)


def test_sums_and_the_first_two_moments_stay():
    kernel = torch.rand(2, 3, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    stretch = ((24, 16), (10, 16))
    found = stretched(kernel, stretch)
    assert Scale(stretch=stretch).dilation == (1, 1)

    def moments(weight, spacing):
        axes = [
            s * (torch.arange(n, dtype=torch.float64) - n // 2)
            for n, s in zip(weight.shape[2:], spacing, strict=True)
        ]
        x, y = torch.meshgrid(*axes, indexing="ij")
        return [(weight * f).sum((2, 3)) for f in (x**0, x, y, x * x, x * y, y * y)]

    expected, got = moments(kernel, (1 / 16, 1 / 16)), moments(found, (1 / 24, 1 / 10))
    torch.testing.assert_close(got, expected)


def test_dymixop_sees_the_same_on_every_second_point():
    """At twice the points its local part acts on each sub-grid as it does on the grid it knows."""
    operator = create(
        "dymixop", fields=("u",), ndim=2, hidden=4, layers=2, modes=2, kernel_size=3,
        resolution=(12, 10),
    ).double()  # fmt: skip
    with torch.no_grad():
        for layer in operator.mixing:
            layer.globals[0].weight.zero_()  # which sees all sub-grids
        operator.lift.weight[:, 1:].zero_()  # as coordinates do

    def step(fields):
        context = Context(("u",), Grid.unit(fields.shape[-2:]))
        return next(operator.rollout(fields, context, dt=1.0, steps=1))

    generator = torch.Generator().manual_seed(1)
    fine = torch.randn(1, 1, 1, 24, 20, dtype=torch.float64, generator=generator)
    found = step(fine)
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        part = fine[..., i::2, j::2].contiguous()
        torch.testing.assert_close(found[..., i::2, j::2], step(part))


@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize("ndim", [1, 2])
def test_between_ends_dymixop_goes_on_from_the_points_that_it_knows(ndim, times):
    """At k times the points every k-th one has what the known grid gives, whatever lies between."""
    shape = (12, 10)[:ndim]
    operator = create(
        "dymixop", fields=("u",), ndim=ndim, hidden=4, layers=2, modes=3, kernel_size=3,
        resolution=shape,
    ).double()  # fmt: skip

    def step(fields):
        points = tuple(fields.shape[3:])
        context = Context(("u",), Grid(points, (1.0,) * ndim, ("wall",) * ndim))
        return next(operator.rollout(fields, context, dt=1.0, steps=1))

    fine = torch.randn(
        1, 1, 1, *(times * n for n in shape), dtype=torch.float64,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    known = (..., *(slice(None, None, times),) * ndim)
    torch.testing.assert_close(step(fine)[known], step(fine[known].contiguous()))
