"""Plain data as YAML that explains itself: every key of its dataclass, with what it means.

Keys that the data hold are set. All others are there as comments, `#key: default`: without the `#`
they are set.
"""

from __future__ import annotations

import dataclasses
import re
import textwrap
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import yaml

from .annotations import Must, Named, alternatives, bare, hints, marks, named
from .plain import component
from .schema import descriptions, has_default

_WIDTH = 96
_TOP = ""


def commented(cls: type, values: Mapping[str, Any]) -> str:
    """The YAML of `values`, from which `config.read` makes a `cls`."""
    return "\n".join(_mapping(cls, values, _TOP)).strip() + "\n"


def _mapping(cls: Any, values: Mapping[str, Any], indent: str, dead: str = "") -> Iterator[str]:
    """Lines of a dataclass; `dead`: what stands before keys, as nothing is set."""
    texts = descriptions(cls)
    for field in (field for field in dataclasses.fields(cls) if field.init):
        hint, name = hints(cls)[field.name], field.name
        usual = component(_default(field), hint)
        if indent == _TOP:
            yield ""
        value = values.get(name, usual)
        yield from _comment(texts.get(name, ""), _remarks(hint, name in values, usual, field), indent)
        yield from _entry(name, value, hint, indent, dead if name in values else "#")


def _entry(name: str, value: Any, hint: Any, indent: str, dead: str) -> Iterator[str]:
    """Lines of a key and its value."""
    kind, naming = bare(hint), named(hint)
    inner = bare(next(iter(typing.get_args(kind)), Any))
    if naming is not None and isinstance(value, Mapping) and naming.key in value:
        yield f"{indent}{dead}{name}:"
        yield from _component(naming, value, f"{indent}  ", dead)
    elif dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        yield f"{indent}{dead}{name}:"
        yield from _mapping(kind, value, f"{indent}  ", dead)
    elif dataclasses.is_dataclass(inner) and isinstance(value, (list, tuple)) and value:
        yield f"{indent}{dead}{name}:"
        for number, item in enumerate(value):
            yield from _item(inner, item, f"{indent}  ", explained=number == 0)
    elif dataclasses.is_dataclass(kind):
        yield f"{indent}#{name}: {_flow(_example(kind))}"
    elif value is not dataclasses.MISSING:
        yield f"{indent}{dead}{name}: {_flow(value)}"


def _item(cls: Any, item: Mapping[str, Any], indent: str, explained: bool) -> Iterator[str]:
    """An entry of a list: the first one with all its keys."""
    first, *others = item
    yield f"{indent}- {first}: {_flow(item[first])}"
    rest = {name: item[name] for name in others}
    if not explained:
        yield from (f"{indent}  {name}: {_flow(value)}" for name, value in rest.items())
        return
    shown = list(_mapping(cls, rest, f"{indent}  "))
    own = re.compile(rf"\s*#{first}: ")
    yield from (line for line in shown if not own.match(line))


def _component(naming: Named, value: Mapping[str, Any], indent: str, dead: str) -> Iterator[str]:
    """A component by its name, and its own keys."""
    name = value[naming.key]
    yield f"{indent}{dead}{naming.key}: {name}"
    rest = {key: item for key, item in value.items() if key != naming.key}
    shown = _mapping(naming.config(name), rest, indent, dead)
    own = re.compile(rf"\s*#{naming.key}: ")
    yield from (line for line in shown if not own.match(line))


def _comment(text: str, remarks: str, indent: str) -> list[str]:
    words = f"{text[:1].upper()}{text[1:]} {remarks}".strip()
    width = _WIDTH - len(indent) - 2
    return [f"{indent}# {line}" for line in textwrap.wrap(words, width, break_long_words=False)]


def _remarks(hint: Any, given: bool, usual: Any, field: dataclasses.Field[Any]) -> str:
    """Choices, range, and the default of a key that is set to something else."""
    said = []
    kind, naming = bare(hint), named(hint)
    if naming is not None:
        said.append(f"One of {', '.join(naming.registry.names())}.")
    literals = [typing.get_args(each) for each in map(bare, alternatives(hint)) if _literal(each)]
    if literals:
        said.append(f"One of {', '.join(str(each) for group in literals for each in group)}.")
    ranges = [mark.words for mark in marks(hint) if isinstance(mark, Must)]
    said += [f"It must {words}." for words in ranges]
    if given and has_default(field) and not dataclasses.is_dataclass(kind) and naming is None:
        said.append(f"Default: {_flow(usual)}.")
    return " ".join(said)


def _literal(kind: Any) -> bool:
    return typing.get_origin(kind) is Literal


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _example(cls: Any) -> dict[str, Any]:
    """Keys and defaults of a dataclass that is not used by default; "…" for what must be said."""
    usual = {f.name: component(_default(f), hints(cls)[f.name]) for f in dataclasses.fields(cls)}
    return {name: "…" if v is dataclasses.MISSING else v for name, v in usual.items()}


def _flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, tuple):
        value = list(value)
    text = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6
    )
    return text.removesuffix("\n").removesuffix("\n...")
