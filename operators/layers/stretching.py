"""Convolutions that reach as far in space on every grid as on the one that their weights know.

On a grid of r times as many points the tap at offset j belongs at r·j. Where r is a whole number
that is a point, and the kernel is dilated; elsewhere the tap is shared out to the three points that
are nearest, by the parabola through them. Sums and the first two moments of a kernel stay as they
are: derivatives up to the second keep their meaning, and smooth fields give the same numbers.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from .constants import constant
from .precision import single

# Per axis the points of a grid, and of the grid on which weights got their meaning.
Stretch = tuple[tuple[int, int], ...]


class Scale(NamedTuple):
    """How weights act on a grid.

    Attributes:
        width: what finite differences are divided by.
        stretch: how kernels are stretched; (): not at all.
    """

    width: float = 1.0
    stretch: Stretch = ()

    @property
    def dilation(self) -> tuple[int, ...]:
        """Points between neighbouring taps per axis of a kernel that was `stretched`."""
        return tuple(1 if n % known else n // known for n, known in self.stretch)


def stretched(weight: Tensor, stretch: Stretch) -> Tensor:
    """The weight (D, C, *K) of a convolution on another grid, to be used with its dilation.

    Args:
        weight: on the grid that it knows.
        stretch: see `Scale`.
    """
    if weight[0, 0].numel() == 1 or all(n % known == 0 for n, known in stretch):
        return weight
    sizes = tuple(weight.shape[2:])
    values = single(weight)
    with torch.autocast(weight.device.type, enabled=False):
        taps = values.flatten(2) @ _shares(sizes, stretch, values.dtype, values.device)
    found = [len(_axis(*axis).T) for axis in zip(sizes, stretch, strict=True)]
    return taps.unflatten(2, found)


@constant
def _shares(
    sizes: tuple[int, ...], stretch: Stretch, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """From all taps of a kernel to all of the stretched one."""
    axes = [_axis(*axis) for axis in zip(sizes, stretch, strict=True)]
    return reduce(torch.kron, axes).contiguous().to(device, dtype)


def _axis(size: int, stretch: tuple[int, int]) -> Tensor:
    """The same along one axis, (taps, points) in double precision."""
    points, known = stretch
    if points % known == 0 or size == 1:
        return torch.eye(size, dtype=torch.float64)
    half = size // 2
    places = [j * points / known for j in range(-half, half + 1)]
    # Half way between two points the one nearer to the centre counts, so that nothing is one-sided.
    nearest = [int(math.copysign(math.ceil(abs(x) - 0.5), x)) for x in places]
    reach = max(nearest) + 1
    shares = torch.zeros(size, 2 * reach + 1, dtype=torch.float64)
    for row, (x, middle) in enumerate(zip(places, nearest, strict=True)):
        t = x - middle
        parabola = torch.tensor([t * (t - 1) / 2, 1 - t * t, t * (t + 1) / 2]).double()
        shares[row, middle + reach - 1 : middle + reach + 2] = parabola
    return shares
