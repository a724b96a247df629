"""Dataclasses from YAML, JSON and dotted command-line overrides, and back, with errors that help.

Values are matched against the type hints: every error is one line that names the dotted key, what
it must be and, for an unknown key, the nearest valid one. Only mappings, lists and scalars go in
and only the dataclasses of the hints come out, so nothing in a file or in an override can name code
to run.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

T = TypeVar("T")

_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
_ACCEPTED = {int: (int,), float: (int, float), str: (str,), bool: (bool,), Path: (str, Path)}


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


def arguments(cls: type, values: Any, prefix: str = "") -> dict[str, Any]:
    """The fields of the dataclass `cls` in `values`, as its constructor takes them.

    Raises:
        ValueError: a key is unknown or missing, or a value has the wrong type or is not finite.
    """
    return _arguments(values, cls, prefix, prefix)


def read(cls: type[T], path: Path, overrides: Sequence[str] = ()) -> T:
    """An instance of `cls` from a YAML file and overrides such as `--optimizer.lr 1e-3`.

    Raises:
        ValueError: the file is missing or is not a YAML mapping, or as in `build`.
    """
    values = _read_mapping(path)
    try:
        for key, text in _split(overrides):
            values = _override(values, cls, key.split("."), 0, text)
        return build(cls, values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


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


class _Loader(yaml.SafeLoader):
    """YAML in which `1e-3` is a number, as in YAML 1.2."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def _load(text: str) -> Any:
    return yaml.load(text, _Loader)


def _read_mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"no such recipe file: {path}")
    try:
        values = _load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text file; a recipe is a YAML mapping of keys") from None
    except (yaml.YAMLError, ValueError) as error:  # the latter for a date such as 2026-99-99
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if values is None:
        raise ValueError(f"{path} is empty; a recipe is a YAML mapping of keys")
    if not isinstance(values, dict):
        kind = "a list" if isinstance(values, list) else _short(values)
        raise ValueError(f"{path} must hold a YAML mapping of keys; got {kind}")
    return values


def _split(overrides: Sequence[str]) -> list[tuple[str, str]]:
    """Keys and values of `--key value` and `--key=value`."""
    pairs, rest = [], list(overrides)
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


def _override(values: Any, hint: Any, parts: Sequence[str], index: int, text: str) -> dict:
    """`values` of type `hint` with the dotted key `parts[index:]` set from `text`."""
    default, inner = _descend(hint, parts, index)
    if not isinstance(values, Mapping):
        raise _no_mapping(".".join(parts[:index]), values, ".".join(parts))
    part = parts[index]
    if index == len(parts) - 1:
        return {**values, part: _parse(text, inner)}
    below = default if values.get(part) is None else values[part]
    return {**values, part: _override(below, inner, parts, index + 1, text)}


def _descend(hint: Any, parts: Sequence[str], index: int) -> tuple[Any, Any]:
    """Default and hint of `parts[index]` inside a value of type `hint`."""
    part, where = parts[index], ".".join(parts[:index])
    hint = next(iter(_alternatives(hint)), Any)
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        if part not in hints:
            raise _unknown(part, hint, where, "")
        return _default(hint, part), hints[part]
    origin = typing.get_origin(hint) or hint
    if origin in (tuple, list):
        raise _no_mapping(where, [], ".".join(parts))
    if origin is dict:
        return {}, (*typing.get_args(hint), Any, Any)[1]
    if origin is not Any:
        raise ValueError(f"unknown key {'.'.join(parts)!r}: {where} is {_describe(hint)}")
    return {}, Any


def _default(cls: Any, name: str) -> Any:
    """The default of a field as plain data; an empty mapping where there is none."""
    field = next(f for f in dataclasses.fields(cls) if f.name == name)
    if field.default_factory is not dataclasses.MISSING:
        return plain(field.default_factory())
    return {} if field.default in (None, dataclasses.MISSING) else plain(field.default)


def _no_mapping(where: str, value: Any, key: str) -> ValueError:
    if isinstance(value, (list, tuple)):
        example = "{path: …}" if where == "data" else "…"
        return ValueError(
            f"{where} is a list; override it whole, as in --{where} '[{example}]' (got --{key})"
        )
    return ValueError(f"{where} must be a mapping of keys to set {key}; got {_short(value)}")


def _parse(text: str, hint: Any) -> Any:
    try:
        value = _load(text)
    except (yaml.YAMLError, ValueError):
        value = text
    scalar = value is not None and not isinstance(value, (list, dict, str))
    takes_text = all(kind in (str, Path) for kind in _alternatives(hint))
    return text if scalar and takes_text else value


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """The types that a hint allows besides None."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(kind for kind in typing.get_args(hint) if kind is not type(None))
    return (hint,)


def _convert(value: Any, hint: Any, key: str, prefix: str) -> Any:
    """`value` as the type `hint`."""
    kinds = _alternatives(hint)
    if value is None:
        if hint is Any or type(None) in (hint, *typing.get_args(hint)):
            return None
        raise ValueError(f"{key} must not be null")
    _check_finite(value, key)
    if len(kinds) > 1:
        return _convert_union(value, kinds, key, prefix)
    kind = next(iter(kinds))
    origin = typing.get_origin(kind) or kind
    if dataclasses.is_dataclass(kind):
        made = isinstance(value, typing.cast(type, kind))
        return value if made else typing.cast(Any, kind)(**_arguments(value, kind, key, prefix))
    if origin in (tuple, list):
        return origin(_convert_list(value, kind, key, prefix))
    if origin is dict:
        return _convert_mapping(value, kind, key, prefix)
    return _convert_scalar(value, kind, key)


def _convert_union(value: Any, kinds: Sequence[Any], key: str, prefix: str) -> Any:
    for kind in kinds:
        try:
            return _convert(value, kind, key, prefix)
        except ValueError:
            continue
    raise _wrong(key, " or ".join(dict.fromkeys(_describe(kind) for kind in kinds)), value)


def _convert_scalar(value: Any, kind: Any, key: str) -> Any:
    if typing.get_origin(kind) is Literal:
        fits = value in [v for v in typing.get_args(kind) if type(v) is type(value)]
    elif kind in _ACCEPTED:
        fits = isinstance(value, _ACCEPTED[kind]) and isinstance(value, bool) <= (kind is bool)
    else:
        return value
    if not fits:
        raise _wrong(key, _describe(kind), value)
    return kind(value) if kind in (float, Path) else value


def _arguments(value: Any, cls: Any, key: str, prefix: str) -> dict[str, Any]:
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    if not isinstance(value, Mapping) or ({"class_path", "init_args"} & set(value)) - set(fields):
        such = f" such as {next(iter(fields))}" if fields else ""
        raise _wrong(key or "the whole", f"a mapping of keys{such}", value)
    hints = typing.get_type_hints(cls)
    for name in value:
        if name not in fields:
            raise _unknown(str(name), cls, key, prefix)
    missing = [
        _join(_relative(key, prefix), name)
        for name, field in fields.items()
        if field.default is field.default_factory is dataclasses.MISSING and name not in value
    ]
    if missing:
        raise ValueError(_join(prefix, f"missing but required: {', '.join(missing)}", ": "))
    return {
        name: _convert(item, hints[name], _join(key, name), prefix) for name, item in value.items()
    }


def _convert_list(value: Any, kind: Any, key: str, prefix: str) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        entry = next(iter(typing.get_args(kind)), Any)
        single = entry in _ACCEPTED and isinstance(value, (str, int, float))
        raise _wrong(key, f"a list, as in [{value}]" if single else "a list", value)
    hints = typing.get_args(kind) or (Any, ...)
    if typing.get_origin(kind) is list or hints[1:] == (...,):
        hints = hints[:1] * len(value)
    if len(hints) != len(value):
        raise _wrong(key, f"a list of {len(hints)} entries", value)
    return [
        _convert(item, hint, f"{key}[{index}]", prefix)
        for index, (item, hint) in enumerate(zip(value, hints, strict=True))
    ]


def _convert_mapping(value: Any, kind: Any, key: str, prefix: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(key, "a mapping of keys", value)
    for name in value:
        if not isinstance(name, str):
            raise ValueError(f"keys of {key} must be text; got {_short(name)}")
    inner = (*typing.get_args(kind), Any, Any)[1]
    return {name: _convert(item, inner, _join(key, name), prefix) for name, item in value.items()}


def _check_finite(value: Any, key: str) -> None:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"{key} must fit 64 bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{key} must be finite; got {value}")
    if isinstance(value, Mapping):
        for name, item in value.items():
            _check_finite(item, _join(key, str(name)))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_finite(item, f"{key}[{index}]")


def _unknown(name: str, cls: Any, where: str, prefix: str) -> ValueError:
    """An unknown key, with the nearest key beside it, or else of that name elsewhere."""
    where = _relative(where, prefix)
    beside = [f.name for f in dataclasses.fields(cls)]
    close = difflib.get_close_matches(name, beside, n=1)
    below = [
        _join(f, inner)
        for f, hint in typing.get_type_hints(cls).items()
        if dataclasses.is_dataclass(hint)
        for inner in typing.get_type_hints(hint)
    ]
    found = close or [key for key in below if key.endswith(f".{name}")]
    if found:
        hint = f"; did you mean {_join(where, found[0])!r}?"
    else:
        hint = f"; valid names: {', '.join(sorted(_join(where, key) for key in beside))}"
    return ValueError(_join(prefix, f"unknown key {_join(where, name)!r}{hint}", ": "))


def _relative(key: str, prefix: str) -> str:
    return key.removeprefix(prefix).lstrip(".")


def _describe(kind: Any) -> str:
    """A type in words."""
    if typing.get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, typing.get_args(kind)))}"
    if dataclasses.is_dataclass(kind) or (typing.get_origin(kind) or kind) is dict:
        return "a mapping of keys"
    if (typing.get_origin(kind) or kind) in (tuple, list):
        return "a list"
    return _WORDS.get(kind, "a path" if kind is Path else "another value")


def _wrong(key: str, expected: str, value: Any) -> ValueError:
    return ValueError(f"{key} must be {expected}; got {_short(value)}")


def _short(value: Any) -> str:
    text = " ".join(repr(plain(value)).split())
    return text if len(text) <= 60 else f"{text[:57]}…"


def _join(left: str, right: str, between: str = ".") -> str:
    return f"{left}{between}{right}" if left else right
