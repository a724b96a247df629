"""The JSON schema of a config dataclass, by which an editor completes and checks its YAML.

It comes from the same type hints as the validation, and from the docstrings' "Attributes:". It says
nothing of what relates several keys.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from typing import Any

from .annotations import Named, alternatives, bare, hints, named
from .plain import component

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_ENTRY = re.compile(r"^ {4}(\w[\w, ]*): (.*(?:\n {8,}.*)*)", re.MULTILINE)


def schema(cls: type) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of plain data from which `config.build` makes a `cls`.

    A field that names a component becomes a choice between the components that are registered now,
    those of other installed packages among them.

    Raises:
        ValueError: a package that adds a component cannot be imported.
    """
    return {"$schema": DRAFT, "title": cls.__name__, **_mapping(cls)}


def _mapping(cls: Any) -> dict[str, Any]:
    """A dataclass."""
    fields = [field for field in dataclasses.fields(cls) if field.init]
    return {
        "type": "object",
        "description": _summary(cls),
        "properties": _properties(cls),
        "required": [field.name for field in fields if not has_default(field)],
        "additionalProperties": False,
    }


def _properties(cls: Any) -> dict[str, Any]:
    """Schema, description and default of every key."""
    found, texts = {}, descriptions(cls)
    for field in (field for field in dataclasses.fields(cls) if field.init):
        hint, about = hints(cls)[field.name], {}
        if field.name in texts:
            about["description"] = texts[field.name]
        if has_default(field):
            made = field.default_factory
            value = field.default if made is dataclasses.MISSING else made()
            about["default"] = component(value, hint)
        found[field.name] = {**_any_of(hint, about.get("default")), **about}
    return found


def has_default(field: dataclasses.Field[Any]) -> bool:
    """Whether a key may be left out."""
    return not field.default is field.default_factory is dataclasses.MISSING


def _any_of(hint: Any, default: Any = None) -> dict[str, Any]:
    """What a hint allows."""
    options = [_one(kind, default) for kind in alternatives(hint)]
    if type(None) in typing.get_args(hint):
        options.append({"type": "null"})
    return options[0] if len(options) == 1 else {"anyOf": options}


def _one(hint: Any, default: Any) -> dict[str, Any]:
    naming, kind = named(hint), bare(hint)
    if naming is not None:
        return _choice(naming, default) if kind is Any else _suggestions(naming)
    if dataclasses.is_dataclass(kind):
        return _mapping(kind)
    origin, inner = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin in (tuple, list):
        return _list(origin, inner)
    if origin is dict:
        return {"type": "object", "additionalProperties": _any_of((*inner, Any, Any)[1])}
    from pydantic import TypeAdapter

    return TypeAdapter(hint).json_schema()


def _list(origin: Any, inner: tuple[Any, ...]) -> dict[str, Any]:
    if origin is list or inner[1:] in ((), (...,)):
        return {"type": "array", "items": _any_of((*inner, Any)[0])}
    entries, count = [_any_of(entry) for entry in inner], len(inner)
    return {"type": "array", "prefixItems": entries, "minItems": count, "maxItems": count}


def _choice(naming: Named, default: Any) -> dict[str, Any]:
    """One of the components, each with its own keys; the usual one needs no name."""
    usual = default.get(naming.key) if isinstance(default, dict) else None
    options = []
    for name in naming.registry.names():
        option = _mapping(naming.config(name))
        option["properties"] = {**option["properties"], naming.key: {"const": name}}
        option["required"] = [key for key in option["required"] if key != naming.key]
        option["required"] += [] if name == usual else [naming.key]
        options.append(option)
    return {"oneOf": options}


def _suggestions(naming: Named) -> dict[str, Any]:
    """A mapping that may be incomplete, or hold short forms: only its name and keys must fit."""
    names, cases = naming.registry.names(), []
    for name in names:
        keys = {
            key: {word: about[word] for word in ("description", "default") if word in about}
            for key, about in _properties(naming.config(name)).items()
        }
        keys[naming.key] = {"const": name}
        chosen = {"properties": {naming.key: {"const": name}}, "required": [naming.key]}
        cases.append(
            {"if": chosen, "then": {"properties": keys, "propertyNames": {"enum": [*keys]}}}
        )
    return {"type": "object", "properties": {naming.key: {"enum": [*names]}}, "allOf": cases}


def _summary(cls: type) -> str:
    """The first paragraph of a docstring."""
    return " ".join(inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].split())


def descriptions(cls: type) -> dict[str, str]:
    """What the docstrings' "Attributes:" say, those of base classes included."""
    found = {}
    for base in reversed(cls.__mro__):
        entries = inspect.cleandoc(vars(base).get("__doc__") or "").partition("Attributes:\n")[2]
        for keys, text in _ENTRY.findall(entries.split("\n\n")[0]):
            found |= dict.fromkeys(keys.split(", "), " ".join(text.split()))
    return found
