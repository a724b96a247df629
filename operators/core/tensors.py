"""Tensors by name: read from a file, compared with those expected, and copied into a module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name.

    Raises:
        ValueError: the file is missing or damaged.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is damaged or truncated: {reason}") from None


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


def _kind(tensor: Tensor) -> str:
    return "complex" if tensor.is_complex() else "real"


def _first(items: Sequence[str], separator: str, count: int = 5) -> str:
    more = f" and {len(items) - count} more" if len(items) > count else ""
    return separator.join(items[:count]) + more
