"""Checkpoints whose large tensors are stored in half precision, and read into single precision."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

STORED = "stored"  # key of config.json; its value is:
HALF = "float16"
_LARGE = 1024  # elements; smaller tensors are not worth the rounding


def halved(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Large tensors of single precision in half precision, where their values have room there."""
    most = torch.finfo(torch.float16).max
    return {
        name: value.half()
        if value.dtype is torch.float32 and value.numel() >= _LARGE and value.abs().max() < most
        else value
        for name, value in state.items()
    }


def widened(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What was halved, in single precision."""
    return {
        name: value.float() if value.dtype is torch.float16 else value
        for name, value in state.items()
    }
