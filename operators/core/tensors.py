"""Tensors by name: read from a file, compared with those expected, and copied into a module."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ...datasets.base.paths import require_text

_LONGEST_HEADER = 100_000_000  # bytes, as safetensors has it


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name.

    Raises:
        ValueError: the file is missing or damaged, or a name stands twice in it; or its path is not
            UTF-8.
    """
    require_text(path, "give it from inside that folder, or rename it")
    try:
        names = tensor_names(path)
        tensors = load_file(path)
    except (SafetensorError, OSError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is damaged or truncated: {reason}") from None
    if len(names) > len(tensors):
        twice = [name for name, count in Counter(names).items() if count > 1]
        raise ValueError(f"{path} is damaged: it holds {_first(twice, ', ')} twice")
    return tensors


def tensor_names(path: Path) -> list[str]:
    """The names in the header of a safetensors file, each as often as it stands there.

    Raises:
        SafetensorError, OSError: the file is missing or damaged.
    """
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if not 0 < size <= min(_LONGEST_HEADER, path.stat().st_size - 8):
            raise SafetensorError(f"its header cannot have {size} bytes")
        header = file.read(size)
    try:
        pairs = json.loads(header, object_pairs_hook=_Pairs)
    except ValueError as error:
        raise SafetensorError(f"its header is no JSON: {error}") from None
    if not isinstance(pairs, _Pairs):
        raise SafetensorError("its header is no JSON object")
    return [name for name, _ in pairs if name != "__metadata__"]


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with all its keys."""


def load_state(module: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Copy `state` into a module; every tensor must fit and be finite.

    Raises:
        ValueError: a tensor is missing, unexpected, of another shape or not finite (named).
    """
    own = module.state_dict()
    require_fit(state, own, source)
    state = {name: state[name].to(value.dtype) for name, value in own.items()}
    broken = [name for name, value in state.items() if not value.isfinite().all()]
    if broken:
        raise ValueError(f"{source} holds numbers that are not finite: {_first(broken, ', ')}")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(state[name])


def require_fit(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str) -> None:
    """Refuse a state unless its names and shapes are the expected ones.

    Args:
        state: tensors by name.
        expected: tensors by name, of which only shape and kind (real or complex) matter.
        source: where the state comes from, for the error message.

    Raises:
        ValueError: tensors are missing, unexpected, of another shape or complex instead of real.
    """
    problems = [f"missing {name}" for name in expected if name not in state]
    problems += [f"unexpected {name}" for name in state if name not in expected]
    shared = [name for name in expected if name in state]
    problems += [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in shared
        if state[name].shape != expected[name].shape
    ]
    problems += [
        f"{name} is {_kind(state[name])}, expected {_kind(expected[name])}"
        for name in shared
        if state[name].is_complex() != expected[name].is_complex()
    ]
    if problems:
        raise ValueError(f"{source} does not fit its config: {_first(problems, '; ')}")


def require_dtypes(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: str
) -> None:
    """Refuse a state whose numbers are of other types than expected; names are those expected.

    Raises:
        ValueError: a tensor is of another type (named).
    """
    wrong = [
        f"{name} is {_type(state[name])}, expected {_type(value)}"
        for name, value in expected.items()
        if state[name].dtype != value.dtype
    ]
    if wrong:
        raise ValueError(f"{source} does not fit its config: {_first(wrong, '; ')}")


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _kind(tensor: Tensor) -> str:
    return "complex" if tensor.is_complex() else "real"


def _first(items: Sequence[str], separator: str, count: int = 5) -> str:
    more = f" and {len(items) - count} more" if len(items) > count else ""
    return separator.join(items[:count]) + more
