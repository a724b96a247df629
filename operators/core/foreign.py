"""Reading foreign checkpoint files, with errors that name what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...datasets.base.texts import MOST_JSON, parse_json, read_text
from . import tensors


def read_json(path: Path) -> dict[str, Any]:
    """The contents of a JSON file.

    Raises:
        ValueError: missing, or not a JSON object.
    """
    if not path.is_file():
        raise ValueError(f"{path.parent} is no published checkpoint: it has no {path.name}")
    try:
        values = parse_json(read_text(path, MOST_JSON))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a JSON object; got {type(values).__name__}")
    return values


def read_tensors(path: Path, inside: str = "") -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a torch file without running code from it.

    Args:
        path: the file.
        inside: entry of a torch file that holds the tensors, where it holds other things too.

    Raises:
        ValueError: missing or damaged, or something other than tensors by name.
    """
    if not path.is_file():
        raise ValueError(f"{path.parent} is no published checkpoint: it has no {path.name}")
    if path.suffix == ".safetensors":
        return tensors.read_tensors(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged torch file can raise anything
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} is damaged, or holds more than tensors: {reason}") from None
    if isinstance(state, dict):
        state = state.get(inside, state)
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path} must hold tensors by name and nothing else")
    return state


def required(config: dict[str, Any], key: str, directory: Path) -> Any:
    """A key of the published config.

    Raises:
        ValueError: it is missing.
    """
    if key not in config:
        raise ValueError(f"{directory / 'config.json'} lacks the key {key!r}")
    return config[key]
