"""Change of resolution in Fourier space, on grids of any shape.

The modes that both grids have are kept, the others are cut or zero: with m = min(n, N) points
along an axis, these are −⌊m/2⌋ … ⌈m/2⌉ − 1. The field is treated as periodic.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def fourier_resample(x: Float[Tensor, "B C *S"], shape: tuple[int, ...]) -> Float[Tensor, "B C *N"]:
    """The field on `shape` points per axis: real part of the inverse of the kept modes.

    Computed in at least single precision whatever autocast says. The mode −m/2 of an even m stays
    one-sided, as in the published multiscale transformer.
    """
    if tuple(x.shape[2:]) == shape:
        return x
    axes = tuple(range(2, x.ndim))
    with torch.autocast(x.device.type, enabled=False):
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        spectrum = torch.fft.fftn(values, dim=axes, norm="forward")
        for axis, points in zip(axes, shape, strict=True):
            spectrum = _resize(spectrum, axis, points)
        return torch.fft.ifftn(spectrum, dim=axes, norm="forward").real.to(x.dtype)


def _resize(spectrum: Tensor, axis: int, points: int) -> Tensor:
    """Cut or zero-pad one axis of an unshifted spectrum to `points` modes."""
    size = spectrum.shape[axis]
    kept = min(size, points)
    if size == points:
        return spectrum
    low = spectrum.narrow(axis, 0, (kept + 1) // 2)
    high = spectrum.narrow(axis, size - kept // 2, kept // 2)
    shape = list(spectrum.shape)
    shape[axis] = points - kept
    return torch.cat((low, spectrum.new_zeros(shape), high), axis)
