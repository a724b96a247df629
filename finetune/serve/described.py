"""The OpenAPI description as a page that needs no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2


@dataclass(frozen=True)
class Key:
    """A key of a request.

    Attributes:
        name: dotted, below the request.
        kind: what it may be.
        about: what it is, and its default.
    """

    name: str
    kind: str
    about: str


def page_of(openapi: Mapping[str, Any]) -> str:
    """HTML with every address, what it takes, and how to call it."""
    text = files("pelagos.finetune.serve").joinpath("api.html").read_text("utf-8")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    entries = [
        {
            "method": method.upper(),
            "path": path,
            "summary": about.get("summary", ""),
            "query": [*_query(about)],
            "body": [*_body(about)],
        }
        for path, methods in openapi["paths"].items()
        for method, about in methods.items()
    ]
    return template.from_string(text).render(info=openapi["info"], entries=entries)


def _query(about: Mapping[str, Any]) -> Iterator[Key]:
    for parameter in about.get("parameters", ()):
        told = parameter["schema"]
        needed = "required" if parameter.get("required") else _default(told)
        text = "; ".join(part for part in (parameter.get("description", ""), needed) if part)
        yield Key(parameter["name"], _kind(told), text)


def _body(about: Mapping[str, Any]) -> Iterator[Key]:
    for kind, content in about.get("requestBody", {}).get("content", {}).items():
        told = content["schema"]
        if "properties" in told:
            yield from _keys(told, "")
        else:
            yield Key(kind, "a file", about["requestBody"].get("description", ""))


def _keys(told: Mapping[str, Any], prefix: str) -> Iterator[Key]:
    for name, inner in told["properties"].items():
        choices = inner.get("anyOf", [inner])
        nested = next((c for c in choices if "properties" in c), None)
        needed = "required" if name in told.get("required", ()) else _default(inner)
        about = inner.get("description", "").removesuffix(".")
        text = "; ".join(part for part in (about, needed) if part)
        yield Key(prefix + name, "object" if nested else _kind(inner), text)
        if nested:
            yield from _keys(nested, f"{prefix}{name}.")


def _kind(told: Mapping[str, Any]) -> str:
    if "anyOf" in told:
        return " or ".join(dict.fromkeys(_kind(choice) for choice in told["anyOf"]))
    if "enum" in told:
        return " or ".join(map(str, told["enum"]))
    if "const" in told:
        return str(told["const"])
    kind = str(told.get("type", "anything"))
    return f"list of {_kind(told['items'])}" if kind == "array" and told.get("items") else kind


def _default(told: Mapping[str, Any]) -> str:
    value = told.get("default")
    return "" if value in (None, "", {}, []) or isinstance(value, dict) else f"default: {value}"
