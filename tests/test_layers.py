"""Circular and spectral convolutions against closed forms and against the plain FFT."""

import math

import pytest
import torch

from pelagos.operators.layers import (
    Convolution,
    FiniteDifference,
    SpectralConvolution,
    circular_convolution,
    compose,
    embed,
    from_low_modes,
    low_modes,
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
    torch.testing.assert_close(circular_convolution(x, *compose(outer, inner)), outer(inner(x)))


def test_composed_convolution_passes_gradients_to_both_factors():
    inner, outer = made(Convolution(2, 3, 5, 3)), made(Convolution(2, 5, 2, 1), 1)
    x, y = random(2, 3, 8, 8), random(2, 2, 8, 8, seed=1)
    parameters = [*inner.parameters(), *outer.parameters()]
    chain = torch.autograd.grad((outer(inner(x)) * y).sum(), parameters)
    one = torch.autograd.grad(
        (circular_convolution(x, *compose(outer, inner)) * y).sum(), parameters
    )
    for a, b in zip(chain, one, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("grid", GRIDS)
def test_finite_difference_annihilates_constants(grid):
    kernel = made(FiniteDifference(len(grid), 3, 2)).kernel(0.5)
    y = circular_convolution(torch.ones(1, 3, *grid, dtype=torch.float64), kernel)
    assert y.abs().max() < 1e-13


def test_finite_difference_over_its_width_is_a_derivative():
    """With the taps (−1, 0, 1)/2 it converges to the derivative at second order in the width."""
    difference = FiniteDifference(1, 1, 1).double()
    difference.weight.data = torch.tensor([[[-0.5, 0.0, 0.5]]], dtype=torch.float64)
    errors = []
    for n in (32, 64):
        x = torch.arange(n, dtype=torch.float64) * (2 * math.pi / n)
        y = circular_convolution(x.sin()[None, None], difference.kernel(2 * math.pi / n))
        errors.append((y[0, 0] - x.cos()).abs().max())
    assert 3.8 < errors[0] / errors[1] < 4.2


@pytest.mark.parametrize("grid", GRIDS)
def test_truncated_transform_equals_the_truncated_fft(grid):
    modes = 3 if min(grid) >= 6 else 2
    x = random(2, 3, *grid)
    axes = tuple(range(2, x.ndim))
    full = torch.fft.rfftn(x, dim=axes)[..., :modes]
    for axis in axes[:-1]:
        keep = torch.cat((torch.arange(modes), torch.arange(-modes, 0) + grid[axis - 2]))
        full = full.index_select(axis, keep)
    torch.testing.assert_close(low_modes(x, modes), full)


@pytest.mark.parametrize(("grid", "modes"), [((12,), 7), ((11,), 6), ((8, 12), 4), ((6, 6, 10), 3)])
def test_all_modes_give_the_field_back(grid, modes):
    """With every mode kept (Nyquist included where modes = n/2 + 1) the round trip is exact."""
    if len(grid) == 1:
        x = random(2, 3, *grid)
    else:  # band-limited along the last axis, complete along the others
        x = from_low_modes(low_modes(random(2, 3, *grid), modes), grid)
    torch.testing.assert_close(from_low_modes(low_modes(x, modes), grid), x)


@pytest.mark.parametrize("grid", [(16,), (8, 10), (6, 8, 6)])
def test_spectral_convolution_refuses_more_modes_than_the_grid_has(grid):
    layer = made(SpectralConvolution(len(grid), 1, 1, 32))
    with pytest.raises(ValueError, match="32 modes need a grid of at least"):
        layer(random(1, 1, *grid))


def test_spectral_convolution_is_single_precision_under_autocast():
    layer = SpectralConvolution(2, 2, 2, 3)
    layer.reset(torch.Generator().manual_seed(0))
    x = random(1, 2, 9, 7).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x.bfloat16())
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, layer(x), rtol=0.02, atol=1e-3)


def test_constants_made_under_inference_mode_can_be_trained_with():
    layer = made(SpectralConvolution(1, 1, 1, 3))
    x = random(1, 1, 37)  # a size no other test uses: its matrices are made here
    with torch.inference_mode():
        layer(x)
    layer(x).sum().backward()
    assert layer.weight.grad is not None


def test_kernel_wider_than_the_grid_is_refused():
    with pytest.raises(ValueError, match="does not fit a grid"):
        circular_convolution(random(1, 1, 2), random(1, 1, 7))


def test_embed_keeps_the_centre():
    torch.testing.assert_close(embed(torch.ones(1, 1, 1), 3), torch.tensor([[[0.0, 1.0, 0.0]]]))
