"""YAML and JSON that others wrote: strict, and of bounded cost.

Strict: no key stands twice, and `1:1:1` and `010` are texts, where YAML 1.1 has numbers of base 60
and 8. Bounded: in bytes, in depth, and in values once aliases (`*name`) are written out, all before
anything is done with them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.scanner import ScannerError

MOST_YAML = 256 * 1024  # bytes: PyYAML takes about a second for them
MOST_JSON = 64 * 2**20  # bytes
MOST_VALUES = 1_000_000
DEEPEST = 64  # levels of nesting
MOST_MERGED = 10_000  # keys of a mapping
_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """YAML in which `1e-3` is a number, as in YAML 1.2."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own way)
        first: [
            (tag, pattern)
            for tag, pattern in resolvers
            if tag not in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:
        if self.flow_level >= DEEPEST:
            raise ScannerError(None, None, _too_deep(), self.get_mark())
        super().fetch_flow_collection_start(TokenClass)

    def add_indent(self, column: int) -> bool:
        if len(self.indents) >= DEEPEST:
            raise ScannerError(None, None, _too_deep(), self.get_mark())
        return super().add_indent(column)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        _refuse_twice(node)  # before `<<` is resolved, which may bring keys that are overridden
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        merged = [value for key, value in node.value if key.tag == _MERGE]
        many = max((len(value.value) for value in merged if value.id == "sequence"), default=0)
        if many <= DEEPEST:
            super().flatten_mapping(node)
        if max(many / DEEPEST, len(node.value) / MOST_MERGED) > 1:
            told = f"a mapping takes more than {DEEPEST} others, or {MOST_MERGED} keys, by `<<`"
            raise ConstructorError(None, None, told, node.start_mark)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|0b[01_]+)$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"[-+]?(?:(?:\d[\d_]*\.[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+"
        r"|\.(?:inf|Inf|INF))$|\.(?:nan|NaN|NAN)$"
    ),
    list("-+.0123456789"),
)


def parse_yaml(text: str) -> Any:
    """The plain data of a YAML text.

    Raises:
        ValueError: it is no YAML, a key stands twice, or it is too long, too deep or too large.
    """
    if len(text) > MOST_YAML:
        raise ValueError(f"it has {len(text):,} characters, and may have {MOST_YAML:,}")
    try:
        value = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(error) from None
    except RecursionError:
        raise ValueError(_too_deep()) from None
    _require_bounded(value)
    return value


def parse_json(text: str | bytes) -> Any:
    """The plain data of a JSON text.

    Raises:
        ValueError: it is no JSON, a key stands twice, or it is too long, too deep or too large.
    """
    if len(text) > MOST_JSON:
        raise ValueError(f"it has {len(text):,} characters, and may have {MOST_JSON:,}")
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError(_too_deep()) from None
    _require_bounded(value)
    return value


def read_text(path: Path, most: int) -> str:
    """The text of a file of at most so many bytes.

    Raises:
        ValueError: it is larger (UnicodeDecodeError: it is no UTF-8 text).
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        found = file.read(most + 1)
    if len(found) > most:
        raise ValueError(f"{path} is larger than the {most:,} bytes that it may have")
    return found.decode("utf-8")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:60]!r} stands twice; keep one")
        found[key] = value
    return found


def _refuse_twice(node: yaml.MappingNode) -> None:
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
            continue
        name, line = (key.tag, key.value), key.start_mark.line + 1
        if name in lines:
            told = f"the key {key.value[:60]!r} stands twice (lines {lines[name]} and {line}); keep"
            raise ConstructorError(None, None, f"{told} one", key.start_mark)
        lines[name] = line


def _require_bounded(value: Any) -> None:
    """Refuse data that go deep, hold themselves, or are many once aliases are written out."""
    _measure(value, 0, {})


def _measure(value: Any, depth: int, known: dict[int, int]) -> int:
    """How many values there are; what aliases share is looked at once."""
    if not isinstance(value, (Mapping, list, tuple)):
        return 1
    if depth >= DEEPEST:
        raise ValueError(_too_deep())
    if id(value) in known:
        if not known[id(value)]:
            raise ValueError("a part of it holds itself by an alias; write it out")
        return known[id(value)]
    known[id(value)] = 0
    inner = value.values() if isinstance(value, Mapping) else value
    count = 1 + sum(_measure(item, depth + 1, known) for item in inner)
    if count > MOST_VALUES:
        raise ValueError(
            f"it holds {count:,} values, aliases (*name) written out, and may hold {MOST_VALUES:,}"
        )
    known[id(value)] = count
    return count


def _too_deep() -> str:
    return f"it is nested more than {DEEPEST} levels deep"
