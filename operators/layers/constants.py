"""Tensors that depend on shapes alone, made once."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec

import torch
from torch import Tensor

Arguments = ParamSpec("Arguments")


def constant(function: Callable[Arguments, Tensor]) -> Callable[Arguments, Tensor]:
    """Decorator: compute once per (hashable) arguments.

    The tensor is an ordinary one, fit for training, even if it is first made under inference mode.
    Compiled code computes it itself, where it is shared between all uses; so does code under a
    transform of `torch.func`, whose tensors do not outlive it.
    """
    cached = lru_cache(maxsize=64)(torch.inference_mode(False)(function))

    @wraps(function)
    def get(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Tensor:
        if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
            return function(*args, **kwargs)
        return cached(*args, **kwargs)

    return get
