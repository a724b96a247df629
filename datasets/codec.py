"""Dataclasses from YAML, JSON and dotted command-line overrides, and back, with errors that help.

Parsing and type checks are jsonargparse's; this module adds one thing: every error is a
one-line `ValueError` that names the key and, for an unknown key, the nearest valid one.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from jsonargparse import ArgumentError, ArgumentParser

T = TypeVar("T")


def build(cls: type[T], values: Mapping[str, Any]) -> T:
    """An instance of the dataclass `cls` from plain data.

    Raises:
        ValueError: a key is unknown or missing, or a value has the wrong type or is impossible.
    """
    parser = _parser(cls)
    try:
        return cls(**parser.instantiate(parser.parse_object(dict(values))).as_dict())
    except (ArgumentError, TypeError) as error:
        raise ValueError(_explain(str(error), cls)) from None


def read(cls: type[T], path: Path, overrides: Sequence[str] = ()) -> T:
    """An instance of `cls` from a YAML file and overrides such as `--optimizer.lr 1e-3`.

    Raises:
        ValueError: the file is missing or is not a YAML mapping, or as in `build`.
    """
    if not path.is_file():
        raise ValueError(f"no such recipe file: {path}")
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a YAML mapping of keys; got {type(values).__name__}")
    parser = _parser(cls)
    try:
        defaults = parser.parse_object(values)
        parsed = parser.parse_args(list(overrides), namespace=defaults)
        return cls(**parser.instantiate(parsed).as_dict())
    except (ArgumentError, TypeError) as error:
        raise ValueError(f"{path}: {_explain(str(error), cls)}") from None


def plain(value: Any) -> Any:
    """Plain dicts, lists and scalars (ready for JSON and YAML) from a dataclass or a value."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


def nearest(name: str, valid: Sequence[str]) -> str:
    """`; did you mean 'x'?` for the closest valid name, else the list of valid names."""
    close = difflib.get_close_matches(name, valid, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; valid names: {', '.join(sorted(valid))}"


def _parser(cls: type) -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(cls)
    return parser


def _names(kind: Any) -> set[str]:
    """Every field name reachable from a dataclass type, plain and dotted (for suggestions)."""
    if not dataclasses.is_dataclass(kind):
        return set().union(*(_names(inner) for inner in typing.get_args(kind)))
    names = set()
    for name, hint in typing.get_type_hints(kind).items():
        inner = _names(hint)
        names |= {name} | inner | {f"{name}.{key}" for key in inner}
    return names


def _explain(message: str, cls: type) -> str:
    """One line for a parser's message, with the nearest valid name for an unknown key."""
    line = " ".join(message.split())
    unknown = re.search(r"(?:option|Option|arguments:|keyword argument) '?(?:--)?([\w.]+)", line)
    if not unknown:
        return line
    return f"unknown key {unknown[1]!r}{nearest(unknown[1], sorted(_names(cls)))}"
