"""Linear maps and convolutions of tokens, whose weights are drawn by `reset` alone.

Tokens are (B, T, D), row-major over a grid of known shape: channels last everywhere, so that every
projection is one matrix product. n is the number of space axes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Tokens = Float[Tensor, "B T D"]
_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}
EPS = 1e-5  # of norms outside of blocks


class Linear(nn.Linear):
    """A linear layer whose weights are drawn by `reset` alone."""

    def reset_parameters(self) -> None:
        """Nothing: construction draws no random numbers."""

    def reset(self, generator: torch.Generator) -> None:
        """Weight N(0, 0.02²), bias 0."""
        reset_normal(self, generator)


class Kernel(nn.Module):
    """Weight (outputs, inputs, k, …) and bias of a convolution; the caller convolves."""

    def __init__(
        self, ndim: int, inputs: int, outputs: int, size: int, biased: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, *(size,) * ndim))
        self.bias = nn.Parameter(torch.empty(outputs)) if biased else None

    def reset(self, generator: torch.Generator) -> None:
        """Weight N(0, 0.02²), bias 0."""
        reset_normal(self, generator)


def gelu(x: Tensor) -> Tensor:
    """The exact GELU; without gradients in place, for `x` is always an intermediate result."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return F.gelu(x)
    return torch.ops.aten.gelu_(x)


def reset_normal(module: Linear | Kernel, generator: torch.Generator) -> None:
    """Weight N(0, 0.02²), bias 0: the published initialisation."""
    nn.init.normal_(module.weight, 0, 0.02, generator=generator)
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def convolve(
    x: Float[Tensor, "B C *S"], kernel: Kernel, periodic: tuple[bool, ...], groups: int = 1
) -> Float[Tensor, "B D *S"]:
    """ "Same" convolution: periodic axes wrap around, the others see zeros outside."""
    reach = kernel.weight.shape[-1] // 2
    for axis, wraps in enumerate(periodic, start=2):
        if wraps:
            size = x.shape[axis]
            index = torch.arange(-reach, size + reach, device=x.device) % size
            x = x.index_select(axis, index)
    padding = [0 if wraps else reach for wraps in periodic]
    ndim = x.ndim - 2
    weight = as_it_lies(kernel.weight)
    if groups > 1 and ndim in _CHANNELS_LAST:
        x = x.contiguous(memory_format=_CHANNELS_LAST[ndim])
    return _CONV[ndim](x, weight, kernel.bias, padding=padding, groups=groups)


def as_it_lies(weight: Tensor) -> Tensor:
    """The weight itself, with a gradient that lies in memory as it does.

    Distributed training compares strides also along axes of length one, where they mean nothing.
    """
    return weight.flatten(1).unflatten(1, weight.shape[1:])


def to_image(x: Tokens, shape: tuple[int, ...]) -> Float[Tensor, "B D *S"]:
    """Tokens as a channels-first view."""
    return x.unflatten(1, shape).movedim(-1, 1)


def to_tokens(image: Float[Tensor, "B D *S"]) -> Tokens:
    """A channels-first image as tokens; a view if it lies channels-last in memory."""
    return image.movedim(1, -1).flatten(1, -2)
