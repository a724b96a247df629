"""Whether PyTorch differentiates forwards, or by a transform of `torch.func`.

Hand-written gradients are for one backward pass; under such a transform the plain operations stand
for them, and nothing may be kept that was made inside of it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad


def transformed(*tensors: Tensor) -> bool:
    """Whether a transform of `torch.func` is at work, or one of the tensors carries a tangent."""
    if torch.compiler.is_compiling():  # compiled code has plain operations alone
        return False
    # What `autograd.Function` itself asks before it refuses to be transformed.
    if torch._C._are_functorch_transforms_active():
        return True
    return any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors)


def values_of(tensor: Tensor) -> list[Any]:
    """All numbers of a tensor, in order, also where a transform is at work."""
    flat = tensor.flatten()
    # In torch 2.8 `tolist` needs memory of its own, which transformed tensors have not.
    return [each.item() for each in flat] if transformed() else flat.tolist()
