"""Truncated Fourier transforms as matrix products, and the spectral (global) convolution.

Fields are channels-last, (B, *S, C). Their low modes are real, (B, 2, *K, C): the axis of two holds
real and imaginary parts, K is 2·modes (low modes before high ones) along all space axes but the
last, and `modes` along that one. In this layout every transform is one batched matrix product
without a copy before or after it, and so is the product with one matrix per mode.

An axis that is not periodic is continued beyond its end by a smooth transition back to the value at
its start, over a quarter of its length; the continuation is part of the matrices and costs nothing.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .constants import constant
from .precision import SinglePrecision

# Share of an axis that is not periodic by which it is continued.
EXTENSION = 0.25

# A matrix product is faster than the library's FFT, which computes all modes, up to about this many
# modes per doubling of the points (measured on two x86 cores, 32 to 4096 points).
MATRIX_MODES = 8


class SpectralConvolution(SinglePrecision):
    """Global convolution on the lowest Fourier modes: `y = F⁻¹ R F x`, R one matrix per mode.

    Kept are the lowest `modes` of the last axis and the lowest and highest `modes` of the others.
    Weights are real pairs (2·modes, …, modes, C_in, C_out, 2), low modes before high ones, and
    the layer computes in at least single precision whatever autocast says.

    Args:
        ndim: space axes.
        inputs, outputs: channels.
        modes: kept modes per axis and sign.
    """

    entrances = ("multiply",)

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
        """The spectral convolution of x on a periodic grid, channels first.

        Raises:
            ValueError: the grid has fewer modes than the layer keeps.
        """
        periodic = (True,) * (x.ndim - 2)
        return spectral_convolution(x.movedim(1, -1), [self], periodic).movedim(-1, 1)

    def product(self, modes: Float[Tensor, "B 2 *K C"]) -> Float[Tensor, "B 2 *K D"]:
        """R times low modes."""
        kept, inputs = modes.shape[2:-1], modes.shape[-1]
        rows = modes.reshape(2 * modes.shape[0], -1, inputs).transpose(0, 1)
        parts = self.multiply(rows)
        outputs = parts.shape[-1] // 2
        parts = parts.reshape(-1, modes.shape[0], 2, outputs, 2)
        (rr, ri), (ir, ii) = (part.unbind(-1) for part in parts.unbind(2))
        mixed = torch.stack((rr - ii, ri + ir))
        return mixed.permute(2, 0, 1, 3).reshape(modes.shape[0], 2, *kept, outputs)

    def multiply(self, rows: Float[Tensor, "K rows C"]) -> Float[Tensor, "K rows _"]:
        """Every mode's rows times its matrix, whose columns are pairs of real and imaginary."""
        weight = self.weight  # once: fine-tuning may compute it
        inputs, outputs = weight.shape[-3:-1]
        return torch.bmm(rows, weight.to(rows.dtype).reshape(-1, inputs, 2 * outputs))


def spectral_convolution(
    x: Float[Tensor, "B *S C"],
    layers: list[SpectralConvolution],
    periodic: tuple[bool, ...],
    finer: tuple[int, ...] = (),
) -> Float[Tensor, "B *S D"]:
    """Spectral convolutions of one x, side by side in the channels; at least single precision.

    Args:
        x: channels last.
        layers: convolutions that keep the same number of modes.
        periodic: per space axis; the others are continued (see the module's docstring).
        finer: per axis, how many times as many points it has as weights know; 1 by default.

    Raises:
        ValueError: the grid has fewer modes than the layers keep.
    """
    shape, modes = tuple(x.shape[1:-1]), layers[0].modes
    every = _strides(periodic, finer)
    _check_modes(tuple(-(-n // k) for n, k in zip(shape, every, strict=True)), modes)
    with torch.autocast(x.device.type, enabled=False):
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        steps = (slice(None, None, step) for step in every)
        low = low_modes(x if max(every) == 1 else x[(slice(None), *steps)], modes, periodic)
        mixed = [layer.product(low) for layer in layers]
        joined = mixed[0] if len(mixed) == 1 else torch.cat(mixed, -1)
        return from_low_modes(joined, shape, periodic, every)


def _strides(periodic: tuple[bool, ...], finer: tuple[int, ...]) -> tuple[int, ...]:
    """Of how many points one is summed over, per axis."""
    finer = finer or (1,) * len(periodic)
    return tuple(1 if wraps else k for wraps, k in zip(periodic, finer, strict=True))


def low_modes(
    x: Float[Tensor, "B *S C"], modes: int, periodic: tuple[bool, ...]
) -> Float[Tensor, "B 2 *K C"]:
    """The kept part of the unnormalised real FFT."""
    batch, *shape, channels = x.shape
    parts = 1
    for axis in reversed(range(len(shape))):
        basis = _Axis(shape[axis], modes, periodic[axis], x.dtype, x.device)
        rows = x.reshape(math.prod((batch, *shape[:axis])), shape[axis] * parts, -1)
        if basis.few:
            matrix = _analyse_real(basis) if parts == 1 else _analyse_complex(basis)
            x = torch.bmm(matrix.expand(len(rows), -1, -1), rows)
        else:
            x = _fft(rows, basis) if parts == 2 else _rfft(rows, basis)
        parts = 2
    kept = (2 * modes,) * (len(shape) - 1) + (modes,)
    return x.reshape(batch, 2, *kept, channels)


def from_low_modes(
    spectrum: Float[Tensor, "B 2 *K C"],
    shape: tuple[int, ...],
    periodic: tuple[bool, ...],
    every: tuple[int, ...] = (),
) -> Float[Tensor, "B *S C"]:
    """The inverse real FFT on `shape` of a spectrum that is zero outside the kept modes.

    Axes with ends may have `every` times the points that the spectrum was taken from.
    """
    batch, modes, channels = spectrum.shape[0], spectrum.shape[-2], spectrum.shape[-1]
    x = spectrum
    for axis, n in enumerate(shape):
        stride = every[axis] if every else 1
        basis = _Axis(n, modes, periodic[axis], x.dtype, x.device, stride)
        last = axis == len(shape) - 1
        rows = x.reshape(math.prod((batch, *shape[:axis])), 2 * modes * (1 if last else 2), -1)
        if basis.few:
            matrix = _synthesise_real(basis) if last else _synthesise_complex(basis)
            x = torch.bmm(matrix.expand(len(rows), -1, -1), rows)
        else:
            x = _irfft(rows, basis) if last else _ifft(rows, basis)
    return x.reshape(batch, *shape, channels)


class _Axis(NamedTuple):
    """What the transform matrices of a space axis depend on.

    Attributes:
        n: points; of `stride` points the spectrum was taken from one.
    """

    n: int
    modes: int
    periodic: bool
    dtype: torch.dtype
    device: torch.device
    stride: int = 1

    @property
    def extended(self) -> int:
        """Points of the axis with its continuation, of those that the spectrum is taken from."""
        known = self.n // self.stride
        return known if self.periodic else known + max(1, round(EXTENSION * known))

    @property
    def few(self) -> bool:
        """Whether a matrix product is the faster transform; an axis with ends has no other."""
        return not self.periodic or self.modes <= MATRIX_MODES * math.log2(self.n)


def _rfft(x: Float[Tensor, "N n R"], axis: _Axis) -> Float[Tensor, "N parts R"]:
    low = torch.fft.rfft(x, dim=1)[:, : axis.modes]
    return torch.cat((low.real, low.imag), 1)


def _fft(x: Float[Tensor, "N pairs R"], axis: _Axis) -> Float[Tensor, "N parts R"]:
    full = torch.fft.fft(torch.complex(x[:, ::2], x[:, 1::2]), dim=1)
    kept = torch.cat((full[:, : axis.modes], full[:, axis.n - axis.modes :]), 1)
    return torch.cat((kept.real, kept.imag), 1)


def _ifft(x: Float[Tensor, "N parts R"], axis: _Axis) -> Float[Tensor, "N pairs R"]:
    low, high = torch.complex(*x.chunk(2, 1)).chunk(2, 1)
    empty = low.new_zeros(len(x), axis.n - 2 * axis.modes, x.shape[2])
    field = torch.fft.ifft(torch.cat((low, empty, high), 1), dim=1)
    return torch.stack((field.real, field.imag), 2).flatten(1, 2)


def _irfft(x: Float[Tensor, "N parts R"], axis: _Axis) -> Float[Tensor, "N n R"]:
    return torch.fft.irfft(torch.complex(*x.chunk(2, 1)), n=axis.n, dim=1)


@constant
def _analyse_real(axis: _Axis) -> Float[Tensor, "parts n"]:
    """(2·modes, n): the low modes of a real FFT; cosines, then minus sines."""
    angle = _angles(axis, torch.arange(axis.modes))
    return _continued(torch.cat((angle.cos(), -angle.sin())), axis).to(axis.device, axis.dtype)


@constant
def _analyse_complex(axis: _Axis) -> Float[Tensor, "parts n2"]:
    """(2·2·modes, n·2): the low and high modes of a complex FFT of pairs."""
    angle = _angles(axis, _both_signs(axis.modes))
    cos, sin = (_continued(wave, axis) for wave in (angle.cos(), angle.sin()))
    real, imaginary = torch.stack((cos, sin), -1), torch.stack((-sin, cos), -1)
    return torch.cat((real, imaginary)).flatten(1).to(axis.device, axis.dtype)


@constant
def _synthesise_complex(axis: _Axis) -> Float[Tensor, "n2 parts"]:
    """(n·2, 2·2·modes): pairs from the low and high modes of a complex FFT."""
    angle = _angles(axis, _both_signs(axis.modes))[:, : axis.n].T
    cos, sin = angle.cos() / axis.extended, angle.sin() / axis.extended
    pairs = torch.stack((torch.cat((cos, -sin), 1), torch.cat((sin, cos), 1)), 1)
    return pairs.flatten(0, 1).to(axis.device, axis.dtype)


@constant
def _synthesise_real(axis: _Axis) -> Float[Tensor, "n parts"]:
    """(n, 2·modes): a real field from the low modes of its real FFT; each k stands for ±k."""
    k = torch.arange(axis.modes)
    single = (k == 0) | (2 * k == axis.extended)
    weight = torch.where(single, 1.0, 2.0).double() / axis.extended
    angle = _angles(axis, k)[:, : axis.n].T
    # sin(πj) of the Nyquist mode is exactly zero: its imaginary part must not leak.
    sin = torch.where(2 * k == axis.extended, 0.0, angle.sin())
    return torch.cat((angle.cos() * weight, -sin * weight), 1).to(axis.device, axis.dtype)


def _both_signs(modes: int) -> Tensor:
    return torch.cat((torch.arange(modes), torch.arange(-modes, 0)))


def _angles(axis: _Axis, k: Tensor) -> Float[Tensor, "k n"]:
    """Float64 angles 2πjk/n over the extended axis, reduced to one turn before rounding."""
    points = axis.extended * axis.stride
    turns = (k[:, None] * torch.arange(points)) % points
    return turns.double() * (2 * math.pi / points)


def _continued(waves: Float[Tensor, "k extended"], axis: _Axis) -> Float[Tensor, "k n"]:
    """The rows as functionals of the n given points.

    The continuation at t ∈ (0, 1) is (1 − s) · last + s · first with s = 3t² − 2t³.
    """
    if axis.periodic:
        return waves
    given, added = waves.tensor_split([axis.n], 1)
    extra = axis.extended - axis.n
    t = torch.arange(1, extra + 1, dtype=torch.float64) / (extra + 1)
    s = t * t * (3 - 2 * t)
    first, last = (added @ s)[:, None], (added @ (1 - s))[:, None]
    return given + F.pad(first, (0, axis.n - 1)) + F.pad(last, (axis.n - 1, 0))


def _check_modes(shape: tuple[int, ...], modes: int) -> None:
    needed = (2 * modes,) * len(shape[:-1]) + (2 * modes - 2,)
    if any(n < m for n, m in zip(shape, needed, strict=True)):
        raise ValueError(
            f"{modes} modes need a grid of at least {'×'.join(map(str, needed))} points; "
            f"got {'×'.join(map(str, shape))}. Use fewer modes or a finer grid"
        )
