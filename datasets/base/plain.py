"""Dataclasses as plain dicts, lists and scalars, ready for JSON and YAML."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .annotations import hints, named


def plain(value: Any) -> Any:
    """Plain dicts, lists and scalars from a dataclass or a value.

    The config of a component by name (see `annotations.Named`) is written with its name.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _field(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


def default(cls: Any, name: str) -> Any:
    """The default of a field as plain data; an empty mapping where there is none."""
    field = next(f for f in dataclasses.fields(cls) if f.name == name)
    made = field.default
    if field.default_factory is not dataclasses.MISSING:
        made = field.default_factory()
    return {} if made in (None, dataclasses.MISSING) else component(made, hints(cls)[name])


def component(value: Any, hint: Any) -> Any:
    """A value of a field as plain data, with its name where the hint says that it has one."""
    naming = named(hint)
    if naming is None or not dataclasses.is_dataclass(value):
        return plain(value)
    return {naming.key: getattr(value, naming.key), **plain(value)}


def _field(value: Any, name: str) -> Any:
    return component(getattr(value, name), hints(type(value))[name])
