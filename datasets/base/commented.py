"""Plain data as YAML that explains itself: every key of its dataclass, with what it means.

Keys that the data hold are set. All others are there as comments, `#key: default`: without the `#`
they are set.
"""

from __future__ import annotations

import dataclasses
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


def _mapping(
    cls: Any, values: Mapping[str, Any], indent: str, dead: str = "", without: str = ""
) -> Iterator[str]:
    """Lines of a dataclass.

    Args:
        cls: the dataclass.
        values: those of its fields that are set.
        indent: before every line.
        dead: "#" where nothing is set.
        without: a field that is left out.
    """
    texts = descriptions(cls)
    for field in (field for field in dataclasses.fields(cls) if field.init):
        hint, name, given = hints(cls)[field.name], field.name, field.name in values
        if name == without or not (given or has_default(field)):
            continue  # what has no default follows from something else
        if indent == _TOP:
            yield ""
        usual = component(_default(field), hint)
        remarks = _remarks(field, hint, given and not dead, usual)
        yield from _comment(texts.get(name, ""), remarks, indent)
        yield from _entry(name, values.get(name, usual), hint, indent, dead if given else "#")


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
    else:
        yield f"{indent}{dead}{name}: {_flow(value)}"


def _item(cls: Any, item: Mapping[str, Any], indent: str, explained: bool) -> Iterator[str]:
    """An entry of a list: the first one with all its keys."""
    first, *others = item
    yield f"{indent}- {first}: {_flow(item[first])}"
    rest = {name: item[name] for name in others}
    if explained:
        yield from _mapping(cls, rest, f"{indent}  ", without=first)
    else:
        yield from (f"{indent}  {name}: {_flow(value)}" for name, value in rest.items())


def _component(naming: Named, value: Mapping[str, Any], indent: str, dead: str) -> Iterator[str]:
    """A component by its name, and its own keys."""
    name = value[naming.key]
    yield f"{indent}{dead}{naming.key}: {name}"
    rest = {key: item for key, item in value.items() if key != naming.key}
    yield from _mapping(naming.config(name), rest, indent, dead, without=naming.key)


def _comment(text: str, remarks: str, indent: str) -> list[str]:
    start = text[:1].upper() if text[:1].isascii() else text[:1]  # a formula keeps its letter
    width = _WIDTH - len(indent) - 2
    lines = textwrap.wrap(f"{start}{text[1:]} {remarks}".strip(), width, break_long_words=False)
    return [f"{indent}# {line}" for line in lines]


def _remarks(field: dataclasses.Field[Any], hint: Any, given: bool, usual: Any) -> str:
    """Choices, range, and the default of a key that is set to something else."""
    said, naming, kinds = [], named(hint), [*map(bare, alternatives(hint))]
    if naming is not None:
        said.append(f"One of {', '.join(naming.registry.names())}.")
    elif all(map(_literal, kinds)):
        said.append(f"One of {', '.join(map(str, typing.get_args(kinds[0])))}.")
    said += [f"It must {mark.words}." for mark in marks(hint) if isinstance(mark, Must)]
    nested = naming is not None or dataclasses.is_dataclass(kinds[0])
    if given and has_default(field) and not nested:
        said.append(f"Default: {_flow(usual)}.")
    return " ".join(said)


def _literal(kind: Any) -> bool:
    return typing.get_origin(kind) is Literal


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _example(cls: Any) -> dict[str, Any]:
    """A dataclass that is not used by default: what must be said ("…"), else every key."""
    every = [field for field in dataclasses.fields(cls) if field.init]
    needed = {field.name: "…" for field in every if not has_default(field)}
    return needed or {f.name: component(_default(f), hints(cls)[f.name]) for f in every}


def _flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, tuple):
        value = list(value)
    text = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6
    )
    return text.removesuffix("\n").removesuffix("\n...")
