"""Dotted overrides of the command line, such as `--optimizer.lr 1e-3`, applied to plain data."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .annotations import alternatives, bare, hints, named
from .messages import describe, join, short, unknown
from .paths import require_text
from .plain import default


def apply(
    values: Any, cls: type, words: Sequence[str], load: Callable[[str], Any]
) -> dict[str, Any]:
    """`values` of the dataclass `cls` as the words of a command line change them.

    Names of components come first, whatever their order. Of the old one's keys, those stay that
    the new one has too.

    Args:
        values: plain data.
        cls: the dataclass whose hints say what there is to override.
        words: `--key value` or `--key=value`.
        load: reads a value from text.

    Raises:
        ValueError: a key is unknown or has nothing below it, or a value is missing.
    """
    for key, text in sorted(split(words), key=lambda pair: not _names_component(cls, pair[0])):
        values = _Override(tuple(key.split(".")), text, load).of(values, cls, 0)
    return values


def split(words: Sequence[str]) -> list[tuple[str, str]]:
    """Keys and values of `--key value` and `--key=value`."""
    pairs, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or word == "--":
            raise ValueError(f"unexpected argument {word!r}; an override is --KEY VALUE")
        key, equals, text = word[2:].partition("=")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise ValueError(f"--{key} needs a value, as in --{key} VALUE")
            text = rest.pop(0)
        pairs.append((key, text))
    return pairs


def _names_component(cls: type, key: str) -> bool:
    field, _, inner = key.partition(".")
    naming = named(hints(cls).get(field))
    return naming is not None and naming.key == inner


@dataclasses.dataclass(frozen=True)
class _Override:
    """One override: the parts of its key, and the text of its value."""

    parts: tuple[str, ...]
    text: str
    load: Callable[[str], Any]

    def of(self, values: Any, hint: Any, index: int) -> dict[str, Any]:
        """`values` of type `hint` with the key `parts[index:]` below them set."""
        part = self.parts[index]
        usual, inner = self._below(hint, values, index)
        if not isinstance(values, Mapping):
            raise _no_mapping(self._key(index), values, self._key())
        if index == len(self.parts) - 1:
            new = self._parse(inner)
            naming = named(hint)
            if naming is not None and part == naming.key and new in naming.registry.names():
                known = {field.name for field in dataclasses.fields(naming.config(new))}
                values = {key: value for key, value in values.items() if key in known}
            return {**values, part: new}
        below = usual if values.get(part) is None else values[part]
        return {**values, part: self.of(below, inner, index + 1)}

    def _key(self, stop: int | None = None) -> str:
        return ".".join(self.parts[:stop])

    def _below(self, hint: Any, values: Any, index: int) -> tuple[Any, Any]:
        """Default and hint of `parts[index]` inside `values` of type `hint`."""
        part, where = self.parts[index], self._key(index)
        naming, kind = named(hint), bare(hint)
        if naming is not None and kind is Any and part != naming.key:
            kind = _component(naming.config, values, naming.key, where)
        if dataclasses.is_dataclass(kind):
            cls = typing.cast(type, kind)
            if part not in hints(cls):
                raise ValueError(unknown(part, cls, where))
            return default(cls, part), hints(cls)[part]
        origin = typing.get_origin(kind) or kind
        if origin in (tuple, list):
            raise _no_mapping(where, [], self._key())
        if origin is dict:
            return {}, (*typing.get_args(kind), Any, Any)[1]
        if origin is not Any:
            raise ValueError(f"unknown key {self._key()!r}: {where} is {describe(kind)}")
        return {}, Any

    def _parse(self, hint: Any) -> Any:
        require_text(self.text, f"{self._key()} must be text")
        try:
            value = self.load(self.text)
        except ValueError:
            value = self.text
        if not all(bare(kind) in (str, Path) for kind in alternatives(hint)):
            return value
        scalar = value is not None and not isinstance(value, (list, dict, str))
        return self.text if scalar or "\n" in self.text else value  # YAML would fold lines


def _component(config: Callable[[str], type], values: Any, key: str, where: str) -> Any:
    """The dataclass below a field that names a component."""
    name = values.get(key) if isinstance(values, Mapping) else None
    if not isinstance(name, str):
        return Any
    try:
        return config(name)
    except ValueError as error:
        raise ValueError(f"{join(where, key)}: {error}") from None


def _no_mapping(where: str, value: Any, key: str) -> ValueError:
    if isinstance(value, (list, tuple)):
        example = "{path: …}" if where == "data" else "…"
        return ValueError(
            f"{where} is a list; override it whole, as in --{where} '[{example}]' (got --{key})"
        )
    return ValueError(f"{where} must be a mapping of keys to set {key}; got {short(value)}")
