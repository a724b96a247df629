"""Building blocks on periodic grids in 1D, 2D and 3D: circular and spectral convolutions.

Shapes: x is (B, C, *S). Circular convolutions are linear maps that commute, so a chain or a sum of
them is one convolution; `compose` and `embed` build its kernel, and gradients flow to the factors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class Convolution(nn.Module):
    """Weights of a circular convolution with "same" output, stride 1: `y = w ∗ x + b`.

    Args:
        ndim: space axes.
        inputs, outputs: channels.
        size: kernel width along every axis (odd).
        bias: whether there is a bias.
    """

    def __init__(self, ndim: int, inputs: int, outputs: int, size: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, *(size,) * ndim))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def reset(self, generator: torch.Generator) -> None:
        """Uniform in ±1/√fan_in, weights and bias."""
        bound = 1 / math.sqrt(self.weight[0].numel())
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def forward(self, x: Float[Tensor, "B C *S"]) -> Float[Tensor, "B D *S"]:
        """The convolution of x."""
        return circular_convolution(x, self.weight, self.bias)


class FiniteDifference(nn.Module):
    """A learned 3-wide stencil that annihilates constants, over the grid width.

    The centre tap of the kernel is lowered by the sum of all taps; the result is divided by the
    grid width, so that one set of weights means the same derivative at another resolution.
    """

    def __init__(self, ndim: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, *(3,) * ndim))

    def reset(self, generator: torch.Generator) -> None:
        """Uniform in ±1/√fan_in."""
        bound = 1 / math.sqrt(self.weight[0].numel())
        nn.init.uniform_(self.weight, -bound, bound, generator=generator)

    def kernel(self, width: float) -> Tensor:
        """The zero-sum kernel over `width`."""
        total = self.weight.flatten(2).sum(2)
        return (self.weight - embed(pointwise(total, self.weight.ndim - 2), 3)) / width


class SpectralConvolution(nn.Module):
    """Global convolution on the lowest Fourier modes: `y = F⁻¹ R F x`, R one matrix per mode.

    Kept are the lowest `modes` of the last axis and the lowest and highest `modes` of the others.
    Weights are real pairs (2·modes, …, modes, C_in, C_out, 2), low modes before high ones, and
    the layer computes in at least single precision whatever autocast says.

    Args:
        ndim: space axes.
        inputs, outputs: channels.
        modes: kept modes per axis and sign.
    """

    def __init__(self, ndim: int, inputs: int, outputs: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        kept = (2 * modes,) * (ndim - 1) + (modes,)
        self.weight = nn.Parameter(torch.empty(*kept, inputs, outputs, 2))

    def reset(self, generator: torch.Generator) -> None:
        """Real and imaginary parts uniform in [0, 1/(C_in·C_out))."""
        inputs, outputs = self.weight.shape[-3:-1]
        nn.init.uniform_(self.weight, 0, 1 / (inputs * outputs), generator=generator)

    def forward(self, x: Float[Tensor, "B C *S"]) -> Float[Tensor, "B D *S"]:
        """The spectral convolution of x.

        Raises:
            ValueError: the grid has fewer modes than the layer keeps.
        """
        shape = tuple(x.shape[2:])
        self._check(shape)
        with torch.autocast(x.device.type, enabled=False):
            weight = torch.view_as_complex(self.weight.to(_at_least_single(self.weight.dtype)))
            x = x.to(weight.real.dtype)
            spectrum = low_modes(x, self.modes).flatten(2)
            mixed = torch.einsum("bim,mio->bom", spectrum, weight.flatten(0, -3))
            return from_low_modes(mixed.unflatten(2, weight.shape[:-2]), shape)

    def _check(self, shape: tuple[int, ...]) -> None:
        needed = (2 * self.modes,) * len(shape[:-1]) + (2 * self.modes - 2,)
        if any(n < m for n, m in zip(shape, needed, strict=True)):
            raise ValueError(
                f"{self.modes} modes need a grid of at least {'×'.join(map(str, needed))} points; "
                f"got {'×'.join(map(str, shape))}. Use fewer modes or a finer grid"
            )


def circular_convolution(
    x: Float[Tensor, "B C *S"], weight: Tensor, bias: Tensor | None = None
) -> Float[Tensor, "B D *S"]:
    """`w ∗ x + b` with periodic boundaries (cross-correlation, as in all of deep learning).

    Raises:
        ValueError: the kernel reaches further than the grid is wide.
    """
    ndim = x.ndim - 2
    reach = [size // 2 for size in weight.shape[2:]]
    if any(reach):
        if any(r > n for r, n in zip(reach, x.shape[2:], strict=True)):
            raise ValueError(
                f"a kernel of {tuple(weight.shape[2:])} does not fit a grid of "
                f"{tuple(x.shape[2:])} points; use a smaller kernel or a finer grid"
            )
        x = F.pad(x, [r for r in reversed(reach) for _ in range(2)], mode="circular")
    return _CONV[ndim](x, weight, bias)


def compose(outer: Convolution, inner: Convolution) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution that equals `outer(inner(x))`.

    Kernel widths add: k₁ + k₂ − 1. The bias of `inner` passes through the sum of `outer`'s taps.
    The products are made in full precision under autocast: they stand for weights.
    """
    with torch.autocast(outer.weight.device.type, enabled=False):
        return _compose(outer, inner)


def _compose(outer: Convolution, inner: Convolution) -> tuple[Tensor, Tensor]:
    assert inner.bias is not None
    assert outer.bias is not None
    ndim = outer.weight.ndim - 2
    if inner.weight[0, 0].numel() == outer.weight[0, 0].numel() == 1:
        weight = (outer.weight.flatten(1) @ inner.weight.flatten(1))[(..., *(None,) * ndim)]
    else:
        axes = tuple(range(2, 2 + ndim))
        reach = [size - 1 for size in outer.weight.shape[2:]]
        full = _CONV[ndim](inner.weight.transpose(0, 1), outer.weight.flip(axes), padding=reach)
        weight = full.transpose(0, 1)
    return weight, outer.bias + outer.weight.flatten(2).sum(2) @ inner.bias


def pointwise(matrix: Float[Tensor, "D C"], ndim: int) -> Tensor:
    """A channel matrix as a kernel of width 1."""
    return matrix[(..., *(None,) * ndim)]


def embed(kernel: Tensor, size: int) -> Tensor:
    """The same kernel, zero-padded around its centre to width `size` (odd)."""
    pads = [(size - width) // 2 for width in reversed(kernel.shape[2:])]
    return F.pad(kernel, [p for p in pads for _ in range(2)]) if any(pads) else kernel


def low_modes(x: Float[Tensor, "B C *S"], modes: int) -> Tensor:
    """The kept part of the unnormalised real FFT: (B, C, 2·modes, …, modes), complex.

    Truncated transforms are matrix products: for few modes they beat the FFT, which computes and
    throws away the rest.
    """
    matrix = _forward_real(x.shape[-1], modes, x.dtype, x.device)
    spectrum = torch.view_as_complex((x @ matrix).unflatten(-1, (modes, 2)))
    for axis in range(2, x.ndim - 1):
        matrix = _complex_waves(x.shape[axis], modes, x.dtype, x.device)
        spectrum = _along(spectrum, matrix.conj(), axis)
    return spectrum


def from_low_modes(spectrum: Tensor, shape: tuple[int, ...]) -> Float[Tensor, "B C *S"]:
    """The inverse real FFT on `shape` of a spectrum that is zero outside the kept modes."""
    modes, real = spectrum.shape[-1], spectrum.real.dtype
    for axis in range(2, spectrum.ndim - 1):
        n = shape[axis - 2]
        matrix = _complex_waves(n, modes, real, spectrum.device)
        spectrum = _along(spectrum, matrix.T / n, axis)
    pairs = torch.view_as_real(spectrum.contiguous()).flatten(-2)
    return pairs @ _inverse_real(shape[-1], modes, real, spectrum.device)


def _along(x: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """Multiply axis `axis` of x by `matrix` (n_in, n_out)."""
    return (x.movedim(axis, -1) @ matrix).movedim(-1, axis)


def _at_least_single(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _constant(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Compute once per argument, as an ordinary tensor even under inference mode."""
    return lru_cache(maxsize=64)(torch.inference_mode(False)(function))


@_constant
def _forward_real(n: int, modes: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(n, 2·modes): cos and −sin of 2πjk/n, interleaved: the low modes of a real FFT."""
    angle = _angles(n, torch.arange(modes))
    return torch.stack((angle.cos(), -angle.sin()), -1).flatten(1).to(device, dtype)


@_constant
def _inverse_real(n: int, modes: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(2·modes, n): real field from interleaved low modes; each k stands for ±k."""
    k = torch.arange(modes)
    twice = torch.where((k == 0) | (2 * k == n), 1.0, 2.0).double() / n
    angle = _angles(n, k)
    pairs = torch.stack((angle.cos() * twice, -angle.sin() * twice), -1)
    # sin(πj) of the Nyquist mode is exactly zero: its imaginary part must not leak.
    pairs[:, 2 * k == n, 1] = 0
    return pairs.flatten(1).T.contiguous().to(device, dtype)


@_constant
def _complex_waves(n: int, modes: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(n, 2·modes): exp(2πijk/n) for k = 0 … modes−1, −modes … −1."""
    k = torch.cat((torch.arange(modes), torch.arange(-modes, 0)))
    angle = _angles(n, k)
    return torch.complex(angle.cos(), angle.sin()).to(device, dtype.to_complex())


def _angles(n: int, k: Tensor) -> Tensor:
    """(n, len(k)) float64 angles 2πjk/n, reduced to one turn before rounding."""
    turns = (torch.arange(n)[:, None] * k) % n
    return turns.double() * (2 * math.pi / n)
