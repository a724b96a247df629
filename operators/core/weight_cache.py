"""What follows from weights alone, computed once for all steps that share the weights."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors

from .transforms import transformed, values_of

Result = TypeVar("Result")
_NOTHING: Any = object()


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
        self._weights: list[Tensor] = []
        self._copy: Tensor | None = None
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
        found = self._kept.get(key, _NOTHING)  # once: another thread may empty it meanwhile
        if found is _NOTHING:
            found = self._kept[key] = compute()
        return found

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

    def changed(self) -> Tensor | None:
        """Whether weights are others than those of which results are kept, on their device.

        None: nothing is kept (any more).
        """
        if self._copy is None:
            return None
        if _versions(self._weights) != self._versions:  # also where shards were given back
            self.forget()
            return None
        now = _together(self._weights)
        if now.shape != self._copy.shape:
            self.forget()
            return None
        return torch.ne(now, self._copy).any()

    def forget(self) -> None:
        """Results are computed anew."""
        self._kept.clear()
        self._weights, self._copy = [], None

    def train(self, mode: bool = True) -> WeightCache:
        """Forget what was kept."""
        self.forget()
        return super().train(mode)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> WeightCache:
        """Another type or device: forget what was kept."""
        self.forget()
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": {}, "_weights": [], "_copy": None, "_sharing": False}

    def _current(self, parts: Sequence[nn.Module | Tensor]) -> bool:
        """Whether results may be kept; drops those of earlier weights."""
        if self.training or torch.is_grad_enabled():
            return False
        weights = _weights(parts)
        if any(weight.is_inference() for weight in weights):  # these do not count their versions
            return False
        if transformed(*weights):  # results have tangents, or are of the transform alone
            return False
        versions = _versions(weights)
        if self._copy is None or versions != self._versions:
            self._kept.clear()
            self._versions, self._weights, self._copy = versions, weights, _together(weights)
        return True


def look_again(module: nn.Module) -> None:
    """At the start of a prediction: everywhere in a module, compare the weights themselves.

    It waits for their device once.
    """
    caches: list[WeightCache] = []
    _find(module, caches)
    found = [(cache, flag) for cache in caches if (flag := cache.changed()) is not None]
    if not found:
        return
    place = found[0][1].device
    changed = values_of(torch.stack([flag.to(place) for _, flag in found]))
    for (cache, _), differs in zip(found, changed, strict=True):
        if differs:
            cache.forget()


def _find(module: nn.Module, caches: list[WeightCache]) -> None:
    if isinstance(module, WeightCache):
        caches.append(module)
    for part in module._modules.values():  # `modules()` takes four times as long
        if part is not None:
            _find(part, caches)


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


def _versions(weights: Sequence[Tensor]) -> tuple[tuple[int, int], ...]:
    return tuple((weight.data_ptr(), weight._version) for weight in weights)


def _together(weights: Sequence[Tensor]) -> Tensor:
    return _flatten_dense_tensors(weights)  # one call: `cat` of views takes five times as long
