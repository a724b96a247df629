"""The help page of a command: plain text, from its function's signature and docstring."""

from __future__ import annotations

import inspect
import shutil
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

from cyclopts.argument import Argument, ArgumentCollection

from .parsing import OVERRIDES

_INDENT = 24  # of explanations
_METAVARS: dict[Any, str] = {str: "TEXT", str | None: "TEXT"}


def page(name: str, function: Callable[..., None], arguments: ArgumentCollection) -> str:
    """The help page of the command `name`, as wide as the terminal, at most 100 columns."""
    about, sections = _sections(function)
    positions = [a for a in arguments if a.show and a.index is not None]
    options = [a for a in arguments if a.show and a.index is None]
    width = min(100, shutil.get_terminal_size().columns)
    usage = [f"usage: pelagos {name}", *map(_position, positions), "[OPTIONS]"]
    if OVERRIDES in inspect.signature(function).parameters:
        usage.append("[--KEY VALUE …]")
    lines = [" ".join(usage)]
    for paragraph in about.split("\n\n"):
        lines += ["", *textwrap.wrap(" ".join(paragraph.split()), width)]
    for title, listed in (("arguments", positions), ("options", options)):
        if listed:
            lines += ["", f"{title}:", *(line for a in listed for line in _entry(a, width))]
    if "Examples" in sections:
        lines += ["", "examples:", *(f"  {line}" for line in sections["Examples"])]
    return "\n".join(lines)


def _sections(function: Callable[..., None]) -> tuple[str, dict[str, list[str]]]:
    """A docstring's text, and the lines of its sections by title."""
    text: list[str] = []
    sections: dict[str, list[str]] = {}
    current = text
    for line in (inspect.getdoc(function) or "").splitlines():
        title = line.removesuffix(":")
        if line.endswith(":") and title in ("Args", "Examples", "Raises"):
            current = sections.setdefault(title, [])
        elif line or current is text:
            current.append(line if current is text else line.removeprefix("    "))
    return "\n".join(text).strip(), sections


def _position(argument: Argument) -> str:
    many = " …" if argument.token_count()[1] else ""
    return f"{argument.name}{many}" if argument.required else f"[{argument.name}{many}]"


def _entry(argument: Argument, width: int) -> Iterable[str]:
    """An argument with its explanation, side by side where there is room."""
    name = argument.name if argument.index is not None else _option(argument)
    told = " ".join((argument.parameter.help or "").split())
    default = _default(argument)
    if default and "(default" not in told:
        told = f"{told.removesuffix('.')} (default: {default})"
    wrapped = textwrap.wrap(told.removesuffix("."), width - _INDENT)
    if wrapped and len(name) + 4 <= _INDENT:
        yield f"  {name:{_INDENT - 2}}{wrapped.pop(0)}"
    else:
        yield f"  {name}"
    yield from (" " * _INDENT + line for line in wrapped)


def _option(argument: Argument) -> str:
    choices = argument.get_choices()
    if choices:
        return f"{argument.name} {{{','.join(choices)}}}"
    if argument.token_count()[0] == 0:  # a flag
        return argument.name
    return f"{argument.name} {argument.parameter.metavar or _METAVARS.get(argument.hint, 'VALUE')}"


def _default(argument: Argument) -> str:
    value = argument.field_info.default
    if argument.required or value is None or value is False or value in ((), {}):
        return ""
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
