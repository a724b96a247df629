"""Convolutions that respect the boundary, their sums and chains, against closed forms."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pelagos.operators.layers.convolution import (
    Convolution,
    FiniteDifference,
    compose,
    convolution,
    side_by_side,
    sum_of,
)

GRIDS = [(16,), (15,), (12, 10), (9, 14), (6, 8, 10), (7, 6, 5)]


def made(module, seed=0):
    module.reset(torch.Generator().manual_seed(seed))
    return module.double()


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("sizes", [(1, 1), (3, 1), (1, 3), (3, 3)])
def test_composed_convolution_equals_the_chain(grid, sizes):
    n = len(grid)
    inner, outer = made(Convolution(n, 3, 5, sizes[0])), made(Convolution(n, 5, 2, sizes[1]), 1)
    x = random(2, 3, *grid)
    one = convolution(x.movedim(1, -1), *compose(outer, inner)).movedim(-1, 1)
    torch.testing.assert_close(one, outer(inner(x)))


def test_composed_convolution_passes_gradients_to_both_factors():
    inner, outer = made(Convolution(2, 3, 5, 3)), made(Convolution(2, 5, 2, 1), 1)
    x, y = random(2, 3, 8, 8), random(2, 2, 8, 8, seed=1)
    parameters = [*inner.parameters(), *outer.parameters()]
    chain = torch.autograd.grad((outer(inner(x)) * y).sum(), parameters)
    composed = convolution(x.movedim(1, -1), *compose(outer, inner)).movedim(-1, 1)
    one = torch.autograd.grad((composed * y).sum(), parameters)
    for a, b in zip(chain, one, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("grid", GRIDS)
def test_convolution_is_the_library_one_on_a_circular_grid(grid):
    """Channels last and first give what torch's circular padding gives."""
    layer = made(Convolution(len(grid), 3, 4, 3))
    plain = [nn.Conv1d, nn.Conv2d, nn.Conv3d][len(grid) - 1](
        3, 4, 3, padding=1, padding_mode="circular", dtype=torch.float64
    )
    plain.load_state_dict(layer.state_dict())
    x = random(2, 3, *grid)
    torch.testing.assert_close(layer(x), plain(x))
    last = convolution(x.movedim(1, -1), layer.weight, layer.bias)
    torch.testing.assert_close(last.movedim(-1, 1), plain(x))


@pytest.mark.parametrize("grid", GRIDS)
def test_a_wall_shows_copies_of_the_end(grid):
    layer = made(Convolution(len(grid), 3, 4, 5))
    x = random(2, 3, *grid)
    extended = F.pad(x, (2,) * 2 * len(grid), mode="replicate").movedim(1, -1)
    inner = (slice(None), *(slice(2, -2),) * len(grid))
    expected = convolution(extended, layer.weight, layer.bias)[inner]
    walls = (False,) * len(grid)
    found = convolution(x.movedim(1, -1), layer.weight, layer.bias, walls)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("periodic", [(True, False), (False, True), (False, False)])
def test_nothing_crosses_a_wall(periodic):
    """A change at one end reaches the other end of a periodic axis, and of no other."""
    layer = made(Convolution(2, 1, 1, 3))
    x = random(1, 8, 8, 1)
    for axis in (1, 2):
        moved = x.clone()
        moved.select(axis, 0).add_(1.0)
        change = convolution(moved, layer.weight, None, periodic) - convolution(
            x, layer.weight, None, periodic
        )
        far = change.select(axis, -1).abs().max()
        assert (far > 0.01) == periodic[axis - 1]
        assert change.select(axis, 1).abs().max() > 0.01


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("size", [1, 3, 5])
def test_sum_of_branches_is_one_convolution(grid, size):
    n = len(grid)
    branches = [
        made(Convolution(n, 3, 2, size), 0),
        made(FiniteDifference(n, 3, 2), 1),
        made(Convolution(n, 3, 2, 1), 2),
    ]
    x, width = random(2, *grid, 3), 0.5
    difference = branches[1].weight
    zero_sum = difference.clone()
    zero_sum[(..., *(1,) * n)] -= difference.flatten(2).sum(2)
    expected = convolution(x, zero_sum / width)
    for branch in (branches[0], branches[2]):
        expected = expected + convolution(x, branch.weight, branch.bias)
    torch.testing.assert_close(convolution(x, *sum_of(branches, width)), expected)


def test_side_by_side_is_concatenation():
    branches = [made(Convolution(2, 3, 2, 3), seed) for seed in (0, 1)]
    x = random(2, 8, 6, 3)
    apart = torch.cat([convolution(x, b.weight, b.bias) for b in branches], -1)
    torch.testing.assert_close(convolution(x, *side_by_side(branches)), apart)


@pytest.mark.parametrize("grid", GRIDS)
def test_finite_difference_annihilates_constants(grid):
    kernel, _ = sum_of(stencil(len(grid), 3, 2), 0.5)
    y = convolution(torch.ones(1, *grid, 3, dtype=torch.float64), kernel)
    assert y.abs().max() < 1e-13


def test_finite_difference_over_its_width_is_a_derivative():
    """With the taps (−1, 0, 1)/2 it converges to the derivative at second order in the width."""
    branches = stencil(1, 1, 1)
    branches[1].weight.data = torch.tensor([[[-0.5, 0.0, 0.5]]], dtype=torch.float64)
    errors = []
    for n in (32, 64):
        x = torch.arange(n, dtype=torch.float64) * (2 * math.pi / n)
        y = convolution(x.sin()[None, :, None], sum_of(branches, 2 * math.pi / n)[0])
        errors.append((y[0, :, 0] - x.cos()).abs().max())
    assert 3.8 < errors[0] / errors[1] < 4.2


def stencil(ndim, inputs, outputs):
    """A finite difference beside a convolution that is zero."""
    nothing = made(Convolution(ndim, inputs, outputs, 1))
    for parameter in nothing.parameters():
        parameter.data.zero_()
    return [nothing, made(FiniteDifference(ndim, inputs, outputs))]


def test_kernel_wider_than_the_grid_is_refused():
    with pytest.raises(ValueError, match="does not fit a grid"):
        convolution(random(1, 2, 1), random(1, 1, 7))
