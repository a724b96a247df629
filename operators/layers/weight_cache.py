"""What follows from weights alone, computed once for all steps that share the weights."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn

Result = TypeVar("Result")


class WeightCache(nn.Module):
    """Results that depend on the weights of a module, kept while these stay as they are.

    In evaluation mode without gradients they are kept until a weight changes (its version counter
    tells). Otherwise only within `shared`, since a backward pass uses them up. It belongs to a
    module as a child, and so hears of `train`, `eval` and `to`, which empty it; it has no state,
    and a copy starts empty.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[Hashable, Any] = {}
        self._weights: tuple[tuple[int, int], ...] = ()
        self._sharing = False

    def get(self, owner: nn.Module, key: Hashable, compute: Callable[[], Result]) -> Result:
        """`compute()`, or what it gave before under this key and the weights of `owner`."""
        if torch.compiler.is_compiling() or not (self._sharing or self._current(owner)):
            return compute()
        if key not in self._kept:
            self._kept[key] = compute()
        return self._kept[key]

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Keep results until the block ends, also with gradients; in it no weight may change."""
        if torch.compiler.is_compiling() or not (self.training or torch.is_grad_enabled()):
            yield
            return
        self._kept.clear()
        self._sharing = True
        try:
            yield
        finally:
            self._sharing = False
            self._kept.clear()

    def train(self, mode: bool = True) -> WeightCache:
        """Forget what was kept."""
        self._kept.clear()
        return super().train(mode)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> WeightCache:
        """Another type or device: forget what was kept."""
        self._kept.clear()
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}, "_sharing": False}

    def _current(self, owner: nn.Module) -> bool:
        """Whether results may be kept; drops those of earlier weights."""
        if self.training or torch.is_grad_enabled():
            return False
        weights = [w for m in owner.modules() for w in m._parameters.values() if w is not None]
        if any(weight.is_inference() for weight in weights):  # these do not count their versions
            return False
        version = tuple((weight.data_ptr(), weight._version) for weight in weights)
        if version != self._weights:
            self._kept.clear()
            self._weights = version
        return True
