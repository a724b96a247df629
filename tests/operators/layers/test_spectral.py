"""Truncated transforms and the spectral convolution against the plain FFT."""

import pytest
import torch

from pelagos.operators.layers import spectral
from pelagos.operators.layers.spectral import (
    EXTENSION,
    SpectralConvolution,
    from_low_modes,
    low_modes,
    spectral_convolution,
)

GRIDS = [(16,), (15,), (12, 10), (9, 14), (6, 8, 10), (7, 6, 5)]


@pytest.fixture(params=["matrices", "fft"], autouse=True)
def transform(request, monkeypatch):
    """Every property holds for both ways to transform a periodic axis."""
    if request.param == "fft":
        monkeypatch.setattr(spectral, "MATRIX_MODES", 0)


def made(*arguments, seed=0):
    layer = SpectralConvolution(*arguments)
    layer.reset(torch.Generator().manual_seed(seed))
    return layer.double()


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def truncated_fft(x, modes):
    """(B, C, 2·modes, …, modes), complex, of a channels-first field."""
    axes = tuple(range(2, x.ndim))
    full = torch.fft.rfftn(x, dim=axes)[..., :modes]
    for axis in axes[:-1]:
        n = x.shape[axis]
        keep = torch.cat((torch.arange(modes), torch.arange(-modes, 0) + n))
        full = full.index_select(axis, keep)
    return full


def periodic(grid):
    return (True,) * len(grid)


@pytest.mark.parametrize("grid", GRIDS)
def test_truncated_transform_equals_the_truncated_fft(grid):
    modes = 3 if min(grid) >= 6 else 2
    x = random(2, 3, *grid)
    found = low_modes(x.movedim(1, -1), modes, periodic(grid))
    found = torch.complex(found[:, 0], found[:, 1]).movedim(-1, 1)
    torch.testing.assert_close(found, truncated_fft(x, modes))


@pytest.mark.parametrize(("grid", "modes"), [((12,), 7), ((11,), 6), ((8, 12), 4), ((6, 6, 10), 3)])
def test_all_modes_give_the_field_back(grid, modes):
    """With every mode kept (Nyquist included where modes = n/2 + 1) the round trip is exact."""
    around = periodic(grid)
    x = random(2, *grid, 3)
    if len(grid) > 1:  # band-limited along the last axis, complete along the others
        x = from_low_modes(low_modes(x, modes, around), grid, around)
    torch.testing.assert_close(from_low_modes(low_modes(x, modes, around), grid, around), x)


@pytest.mark.parametrize("grid", GRIDS)
def test_spectral_convolution_equals_the_textbook_one(grid):
    modes = 3 if min(grid) >= 6 else 2
    layer, x = made(len(grid), 3, 4, modes), random(2, 3, *grid)
    spectrum = truncated_fft(x, modes)
    mixed = torch.einsum("bi...,...io->bo...", spectrum, torch.view_as_complex(layer.weight.data))
    full = torch.zeros(2, 4, *grid[:-1], grid[-1] // 2 + 1, dtype=torch.complex128)
    places = [torch.cat((torch.arange(modes), torch.arange(n - modes, n))) for n in grid[:-1]]
    index = torch.meshgrid(*places, torch.arange(modes), indexing="ij")
    full[(slice(None), slice(None), *index)] = mixed
    expected = torch.fft.irfftn(full, s=grid, dim=tuple(range(2, x.ndim)))
    torch.testing.assert_close(layer(x), expected)


def test_several_convolutions_of_one_field_share_its_transform():
    layers = [made(2, 3, 4, 3, seed=seed) for seed in (0, 1)]
    x = random(2, 9, 8, 3)
    apart = [spectral_convolution(x, [layer], (True, True)) for layer in layers]
    torch.testing.assert_close(spectral_convolution(x, layers, (True, True)), torch.cat(apart, -1))


@pytest.mark.parametrize("n", [24, 27])
def test_an_axis_with_ends_is_continued_smoothly(n):
    """Its modes are those of the field on a longer, periodic axis; the result is cut back."""
    layer, x = made(1, 2, 2, 4), random(1, n, 2)
    extra = round(EXTENSION * n)
    t = torch.arange(1, extra + 1, dtype=torch.float64)[:, None] / (extra + 1)
    s = 3 * t**2 - 2 * t**3
    longer = torch.cat((x, (1 - s) * x[:, -1:] + s * x[:, :1]), 1)
    expected = spectral_convolution(longer, [layer], (True,))[:, :n]
    torch.testing.assert_close(spectral_convolution(x, [layer], (False,)), expected)


def test_ends_matter_on_their_own_axis_alone():
    layer, x = made(2, 1, 1, 3), random(1, 12, 12, 1)
    mixed = spectral_convolution(x, [layer], (True, False))
    rolled = spectral_convolution(x.roll(5, 1), [layer], (True, False))
    torch.testing.assert_close(rolled, mixed.roll(5, 1))
    shifted = spectral_convolution(x.roll(5, 2), [layer], (True, False))
    assert (shifted - mixed.roll(5, 2)).abs().max() > 1e-3


@pytest.mark.parametrize("grid", [(16,), (8, 10), (6, 8, 6)])
def test_more_modes_than_the_grid_has_are_refused(grid):
    layer = made(len(grid), 1, 1, 32)
    with pytest.raises(ValueError, match="32 modes need a grid of at least"):
        layer(random(1, 1, *grid))


def test_single_precision_under_autocast():
    layer = SpectralConvolution(2, 2, 2, 3)
    layer.reset(torch.Generator().manual_seed(0))
    x = random(1, 2, 9, 7).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x.bfloat16())
    assert y.dtype == torch.float32
    # Exactly the full-precision function of the rounded input: the island holds.
    assert torch.equal(y, layer(x.bfloat16().float()))


def test_half_precision_weights_compute_in_single_precision():
    layer = SpectralConvolution(1, 2, 2, 3)
    layer.reset(torch.Generator().manual_seed(0))
    layer.bfloat16()
    x = random(1, 2, 9).bfloat16()
    assert layer(x).dtype == torch.float32


def test_constants_made_under_inference_mode_can_be_trained_with():
    layer = made(1, 1, 1, 3)
    x = random(1, 1, 37)  # a size no other test uses: its matrices are made here
    with torch.inference_mode():
        layer(x)
    layer(x).square().sum().backward()
    assert layer.weight.grad is not None


def test_gradients_agree_between_the_transforms(monkeypatch):
    layer, x = made(3, 2, 2, 2), random(1, 2, 5, 6, 4).requires_grad_()
    found = []
    for modes in (8, 0):
        monkeypatch.setattr(spectral, "MATRIX_MODES", modes)
        found.append(torch.autograd.grad(layer(x).square().sum(), [x, layer.weight]))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)
