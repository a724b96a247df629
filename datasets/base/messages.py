"""Words of the one-line errors: keys, types, values, nearest names."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from .annotations import alternatives, bare

_COMPARED = 100  # characters of a name: comparing takes time with their square
_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    Path: "a path",
}


def nearest(name: str, valid: Sequence[str]) -> str:
    """`; did you mean 'x'?` for the closest valid name, else the list of valid names."""
    close = difflib.get_close_matches(name[:_COMPARED], valid, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; valid names: {', '.join(sorted(valid))}"


def join(left: str, right: str, between: str = ".") -> str:
    """Two parts of a dotted key."""
    return f"{left}{between}{right}" if left and right else left or right


def short(value: Any) -> str:
    """A value on one line, cut off where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}…"


def wrong(key: str, expected: str, value: Any) -> str:
    """A value of the wrong type."""
    return f"{key or 'the whole'} must be {expected}; got {short(value)}"


def describe(hint: Any) -> str:
    """What a hint allows, in words."""
    return " or ".join(dict.fromkeys(_describe(bare(kind)) for kind in alternatives(hint)))


def a_list(hint: Any, value: Any) -> str:
    """The list that a hint wants, in words that help where `value` is a single entry of it."""
    entry = bare(next(iter(typing.get_args(bare(hint))), Any))
    single = entry in _WORDS and isinstance(value, (str, int, float))
    return f"a list, as in [{value}]" if single else "a list"


def unknown(name: str, cls: Any, where: str) -> str:
    """An unknown key, with the nearest key beside it, or else of that name below."""
    beside = [f.name for f in dataclasses.fields(cls)]
    close = difflib.get_close_matches(name[:_COMPARED], beside, n=1)
    below = [
        join(f, inner)
        for f, hint in typing.get_type_hints(cls).items()
        if dataclasses.is_dataclass(hint)
        for inner in typing.get_type_hints(hint)
    ]
    found = close or [key for key in below if key.endswith(f".{name}")]
    if found:
        hint = f"; did you mean {join(where, found[0])!r}?"
    else:
        hint = f"; valid names: {', '.join(sorted(join(where, key) for key in beside))}"
    return f"unknown key {short(join(where, name))}{hint}"


def _describe(kind: Any) -> str:
    origin = typing.get_origin(kind) or kind
    if origin is Literal:
        words = [str(word) for word in typing.get_args(kind)]
        return words[0] if len(words) == 1 else f"one of {', '.join(words)}"
    if dataclasses.is_dataclass(kind) or origin is dict:
        return "a mapping of keys"
    if origin in (tuple, list):
        return "a list"
    return _WORDS.get(kind, "another value")
