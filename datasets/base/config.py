"""Dataclasses from YAML, JSON and dotted command-line overrides, and back, with errors that help.

Values are matched against the type hints: every error is one line that names the dotted key, what
it must be and, for an unknown key, the nearest valid one. Only mappings, lists and scalars go in
and only the dataclasses of the hints come out, so nothing in a file or in an override can name code
to run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from .messages import nearest, short
from .overrides import apply
from .plain import plain
from .texts import MOST_YAML, parse_yaml, read_text
from .validation import Checked, arguments

__all__ = ["Checked", "arguments", "build", "nearest", "plain", "read"]

T = TypeVar("T")


def build(cls: type[T], values: Any, prefix: str = "") -> T:
    """An instance of the dataclass `cls` from plain data.

    Args:
        cls: the dataclass.
        values: a mapping of its fields; nested dataclasses are mappings as well.
        prefix: dotted key under which the values stand, for error messages.

    Raises:
        ValueError: a key is unknown or missing, or a value has the wrong type or is impossible.
    """
    return cls(**arguments(cls, values, prefix))


def read(cls: type[T], path: Path, overrides: Sequence[str] = ()) -> T:
    """An instance of `cls` from a YAML file and overrides such as `--optimizer.lr 1e-3`.

    Raises:
        ValueError: the file is missing or is not a YAML mapping, or as in `build`.
    """
    values = _read_mapping(path)
    try:
        return build(cls, apply(values, cls, overrides, parse_yaml))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read_mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"no such recipe file: {path}")
    try:
        text = read_text(path, MOST_YAML)
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text file; a recipe is a YAML mapping of keys") from None
    try:
        values = parse_yaml(text)
    except ValueError as error:  # among them a date such as 2026-99-99
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if values is None:
        raise ValueError(f"{path} is empty; a recipe is a YAML mapping of keys")
    if not isinstance(values, dict):
        kind = "a list" if isinstance(values, list) else short(values)
        raise ValueError(f"{path} must hold a YAML mapping of keys; got {kind}")
    return values
