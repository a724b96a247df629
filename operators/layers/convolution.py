"""Building blocks on grids in 1D, 2D and 3D: convolutions that respect the boundary, composed.

Fields are channels-last, (B, *S, C): a pointwise convolution is then one matrix product, and wider
ones run on the library's fastest layout. The modules also take channels-first fields (B, C, *S).

Convolutions are linear maps that commute, so a chain or a sum of them is one convolution; `compose`
and `embed` build its kernel, and gradients flow to the factors. Beyond an end of an axis that is
not periodic a convolution sees the value at that end; a chain that was composed into one
convolution extends its input once, not before every link. One whose taps are d points apart sees
there the last of every d-th point: what it gives at these follows from them alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from .constants import constant
from .precision import single

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class Convolution(nn.Module):
    """Weights of a convolution with "same" output, stride 1: `y = w ∗ x + b`.

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
        """The circular convolution of x, channels first."""
        y = convolution(x.movedim(1, -1), self.weight, self.bias)
        return y.movedim(-1, 1)


class FiniteDifference(nn.Module):
    """A learned 3-wide stencil that annihilates constants, over the grid width.

    The centre tap of the kernel is lowered by the sum of all taps; the result is divided by the
    grid width, so that one set of weights means the same derivative at another resolution.
    `sum_of` makes the kernel.
    """

    def __init__(self, ndim: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, *(3,) * ndim))

    def reset(self, generator: torch.Generator) -> None:
        """Uniform in ±1/√fan_in."""
        bound = 1 / math.sqrt(self.weight[0].numel())
        nn.init.uniform_(self.weight, -bound, bound, generator=generator)


def convolution(
    x: Float[Tensor, "B *S C"],
    weight: Tensor,
    bias: Tensor | None = None,
    periodic: Sequence[bool] | None = None,
    dilation: Sequence[int] = (),
) -> Float[Tensor, "B *S D"]:
    """`w ∗ x + b`, channels last (cross-correlation, as in all of deep learning).

    Args:
        x: channels last.
        weight: (D, C, *K) of odd widths.
        bias: (D,).
        periodic: which axes are; None: all.
        dilation: points between neighbouring taps per axis; 1 by default.

    Raises:
        ValueError: the kernel reaches further than the grid is wide.
    """
    x = x.to(weight.dtype)  # sharded training may keep half-precision weights
    if weight[0, 0].numel() == 1:
        return F.linear(x, weight.flatten(1), bias)
    shape = tuple(x.shape[1:-1])
    dilation = tuple(dilation) or (1,) * len(shape)
    reach = [d * (size // 2) for size, d in zip(weight.shape[2:], dilation, strict=True)]
    if any(r > n for r, n in zip(reach, shape, strict=True)):
        raise ValueError(
            f"a kernel of {'×'.join(map(str, weight.shape[2:]))} does not fit a grid of "
            f"{'×'.join(map(str, shape))} points; use a smaller kernel or a finer grid"
        )
    for axis, (r, d) in enumerate(zip(reach, dilation, strict=True)):
        x = _extend(x, axis + 1, r, None if periodic is None or periodic[axis] else d)
    if len(shape) > 1:
        y = _CONV[len(shape)](x.movedim(-1, 1), weight, bias, dilation=dilation)
        return y.movedim(1, -1)
    # In 2D the library has a channels-last layout, in 1D it has none.
    along = (1, *dilation)
    y = F.conv2d(x.unsqueeze(1).movedim(-1, 1), weight.unsqueeze(2), bias, dilation=along)
    return y.movedim(1, -1).squeeze(1)


def _extend(x: Tensor, axis: int, reach: int, apart: int | None) -> Tensor:
    """Add `reach` points at both ends: from the other end, or copies of those so far `apart`."""
    if reach == 0:
        return x
    if apart is None:
        before, after = x.narrow(axis, x.shape[axis] - reach, reach), x.narrow(axis, 0, reach)
        return torch.cat((before, x, after), axis)
    ends = x.narrow(axis, 0, apart), x.narrow(axis, x.shape[axis] - apart, apart)
    copies = [1] * x.ndim
    copies[axis] = reach // apart
    before, after = (end.repeat(copies) for end in ends)
    return torch.cat((before, x, after), axis)


def compose(outer: Convolution, inner: Convolution) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution that equals `outer(inner(x))` on periodic axes.

    Kernel widths add: k₁ + k₂ − 1. The bias of `inner` passes through the sum of `outer`'s taps.
    The products are made in full precision whatever autocast says, also of half-precision weights
    (of a sharded block): they stand for weights.
    """
    assert inner.bias is not None
    assert outer.bias is not None
    factors = [single(w) for w in (outer.weight, outer.bias, inner.weight, inner.bias)]
    with torch.autocast(outer.weight.device.type, enabled=False):
        return _compose(*factors)


def _compose(
    weight: Tensor, bias: Tensor, inner: Tensor, inner_bias: Tensor
) -> tuple[Tensor, Tensor]:
    ndim = weight.ndim - 2
    if inner[0, 0].numel() == weight[0, 0].numel() == 1:
        matrix = weight.flatten(1)
        product = (matrix @ inner.flatten(1))[(..., *(None,) * ndim)]
        return product, torch.addmv(bias, matrix, inner_bias)
    axes = tuple(range(2, 2 + ndim))
    reach = [size - 1 for size in weight.shape[2:]]
    full = _CONV[ndim](inner.transpose(0, 1), weight.flip(axes), padding=reach)
    return full.transpose(0, 1), bias + weight.flatten(2).sum(2) @ inner_bias


def side_by_side(branches: Sequence[Convolution]) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution that gives the channels of all `branches` in turn."""
    weights: list[Tensor] = [branch.weight for branch in branches]
    biases: list[Tensor] = [branch.bias for branch in branches if branch.bias is not None]
    assert len(biases) == len(weights)
    if len(branches) == 1:
        return weights[0], biases[0]
    return torch.cat(weights), torch.cat(biases)


def sum_of(
    branches: Sequence[Convolution | FiniteDifference], width: float
) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution that equals the sum of `branches`.

    Every tap of the sum is a combination of the branches' taps: one small matrix product gathers
    them, makes the finite differences sum to zero and divides them by the grid width.
    """
    weights = [single(branch.weight) for branch in branches]
    ndim = weights[0].ndim - 2
    sizes = tuple(weight.shape[-1] for weight in weights)
    zero_sum = tuple(isinstance(branch, FiniteDifference) for branch in branches)
    dtype, device = weights[0].dtype, weights[0].device
    with torch.autocast(device.type, enabled=False):
        taps = torch.cat([weight.flatten(2) for weight in weights], 2)
        kernel = taps @ _gathering(sizes, zero_sum, width, ndim, dtype, device)
        own = [b.bias for b in branches if isinstance(b, Convolution) and b.bias is not None]
        biases = [single(bias) for bias in own]
        bias = sum(biases[1:], start=biases[0])
    return kernel.unflatten(2, (max(sizes),) * ndim), bias


@constant
def _gathering(
    sizes: tuple[int, ...],
    zero_sum: tuple[bool, ...],
    width: float,
    ndim: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Float[Tensor, "taps gathered"]:
    """From the taps of all branches to those of their sum."""
    largest, rows = max(sizes), []
    for size, difference in zip(sizes, zero_sum, strict=True):
        own = torch.eye(size**ndim, dtype=torch.float64)
        if difference:
            own[:, size**ndim // 2] -= 1
            own /= width
        pads = [(largest - size) // 2] * (2 * ndim)
        rows.append(F.pad(own.unflatten(1, (size,) * ndim), pads).flatten(1))
    return torch.cat(rows).to(device, dtype)
