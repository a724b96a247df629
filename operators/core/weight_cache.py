"""What follows from weights alone, computed once for all steps that share the weights."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors

Result = TypeVar("Result")


class WeightCache(nn.Module):
    """Results that depend on some weights, kept while these stay as they are.

    In evaluation mode without gradients they are kept until a weight changes. Most edits are told
    by its version counter, at every step. Those that it does not count (through `weight.data`, a
    NumPy view, another process) are found by comparing the weights with a copy at the start of
    every prediction (`look_again`); within one they are not looked for.

    Otherwise results are kept only within `shared`, since a backward pass uses them up. The cache
    belongs to a module as a child, and so hears of `train`, `eval` and `to`, which empty it; it has
    no state, and a copy starts empty.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[Hashable, Any] = {}
        self._versions: tuple[tuple[int, int], ...] = ()
        self._copy: Tensor | None = None
        self._doubted = False
        self._sharing = False

    def get(
        self,
        weights: Sequence[nn.Module | Tensor],
        key: Hashable,
        compute: Callable[[], Result],
    ) -> Result:
        """`compute()`, or what it gave before under this key and these weights.

        Args:
            weights: all that it depends on: tensors, and modules with all that is in them.
            key: whatever else it depends on.
            compute: gives the result.
        """
        if torch.compiler.is_compiling() or not (self._sharing or self._current(weights)):
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

    def look_again(self) -> None:
        """Compare the weights themselves before a result is used again."""
        self._doubted = True

    def train(self, mode: bool = True) -> WeightCache:
        """Forget what was kept."""
        self._forget()
        return super().train(mode)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> WeightCache:
        """Another type or device: forget what was kept."""
        self._forget()
        return super()._apply(fn, recurse)

    def _forget(self) -> None:
        self._kept.clear()
        self._copy = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}, "_copy": None, "_sharing": False}

    def _current(self, parts: Sequence[nn.Module | Tensor]) -> bool:
        """Whether results may be kept; drops those of earlier weights."""
        if self.training or torch.is_grad_enabled():
            return False
        weights = _weights(parts)
        if any(weight.is_inference() for weight in weights):  # these do not count their versions
            return False
        versions = tuple((weight.data_ptr(), weight._version) for weight in weights)
        if self._copy is None or versions != self._versions:
            self._kept.clear()
            self._versions, self._copy = versions, _together(weights)
        elif self._doubted:
            now = _together(weights)
            if not torch.equal(now, self._copy):  # waits for the device
                self._kept.clear()
                self._copy = now
        self._doubted = False
        return True


def look_again(module: nn.Module) -> None:
    """At the start of a prediction: everywhere in the module, compare the weights themselves."""
    if isinstance(module, WeightCache):
        module.look_again()
    for part in module._modules.values():  # `modules()` takes four times as long
        if part is not None:
            look_again(part)


def _weights(parts: Sequence[nn.Module | Tensor]) -> list[Tensor]:
    found: list[Tensor] = []
    for part in parts:
        if isinstance(part, Tensor):
            found.append(part)
        else:
            _collect(part, found)
    return found


def _collect(module: nn.Module, found: list[Tensor]) -> None:
    found += [weight for weight in module._parameters.values() if weight is not None]
    for part in module._modules.values():
        if part is not None:
            _collect(part, found)


def _together(weights: Sequence[Tensor]) -> Tensor:
    return _flatten_dense_tensors(weights)  # one call: `cat` of views takes five times as long
