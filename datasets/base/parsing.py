"""What was typed after a command, by the signature of its function; mistakes in one line."""

from __future__ import annotations

import difflib
import inspect
import os
import sys
from collections.abc import Callable, Collection, Sequence

from cyclopts import (
    App,
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    Parameter,
    UnusedCliTokensError,
)
from cyclopts.argument import ArgumentCollection
from cyclopts.exceptions import UnknownOptionError

from .config import nearest

OVERRIDES = "overrides"  # the parameter that takes all options which a function does not name
_SURE = 0.85  # likeness from which on an unknown option is taken for a misspelt one of ours


def parse(function: Callable[..., None], argv: Sequence[str], name: str) -> inspect.BoundArguments:
    """What the function of a command is called with; see `cli.call`.

    A parameter `overrides` takes all options that are not the command's, as words for
    `config.read`: keys of a recipe, in which dashes stand for underscores.

    Raises:
        ValueError: an option is unknown, missing or malformed.
    """
    app = app_of(function, name)
    own = _names(app.assemble_argument_collection())
    words, overrides = _respelled(argv), []
    try:
        if OVERRIDES in inspect.signature(function).parameters:
            words, overrides = _without_overrides(words, own)
        _refuse_unknown(words, own)
        _, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise ValueError(f"{_told(error)} (see pelagos {name} --help)") from None
    except _UnknownOption as error:
        raise ValueError(f"{error} (see pelagos {name} --help)") from None
    if overrides:
        bound.arguments[OVERRIDES] = tuple(overrides)
    return bound


def app_of(function: Callable[..., None], name: str) -> App:
    """The parser of a command, made from the signature of its function."""
    app = App(
        name=name,
        help_flags=[],
        version_flags=[],
        default_parameter=Parameter(negative=(), allow_repeating=True),
    )
    app.default(function)
    return app


class _UnknownOption(Exception):
    """What is said of it."""


def before_dashes(words: Sequence[str]) -> Sequence[str]:
    """The words that may be options."""
    return words[: words.index("--")] if "--" in words else words


def _respelled(argv: Sequence[str]) -> list[str]:
    """Options with dashes; those with underscores, as they were once spelled, are noted."""
    words, old, new = list(argv), [], []
    for index, word in enumerate(before_dashes(argv)):
        option, equals, value = word.partition("=")
        if option.startswith("--") and "_" in option:
            old.append(option)
            new.append(option.replace("_", "-"))
            words[index] = f"{new[-1]}{equals}{value}"
    if old and os.environ.get("RANK", "0") == "0":
        verb = "is" if len(old) == 1 else "are"
        note = f"pelagos: note: {', '.join(old)} {verb} spelled {', '.join(new)} now"
        print(note, file=sys.stderr)
    return words


def _names(arguments: ArgumentCollection) -> set[str]:
    return {name for argument in arguments for name in argument.names if name.startswith("--")}


def _refuse_unknown(words: Sequence[str], own: Collection[str]) -> None:
    """Checked first: the parser would rather name a missing option than the misspelt one."""
    for word in before_dashes(words):
        option = word.partition("=")[0]
        if option.startswith("--") and option not in own:
            raise _UnknownOption(f"unknown option {option}{nearest(option, [*own])}")


def _without_overrides(words: Sequence[str], own: Collection[str]) -> tuple[list[str], list[str]]:
    """The command's own words, and the overrides `--KEY VALUE` and `--KEY=VALUE` among them."""
    left = list(words)
    kept: list[str] = []
    overrides: list[str] = []
    while left and left[0] != "--":
        word = left.pop(0)
        option, equals, value = word.partition("=")
        if not option.startswith("--") or option in own:
            kept.append(word)
            continue
        close = difflib.get_close_matches(option, own, n=1, cutoff=_SURE)
        if close:
            raise _UnknownOption(f"unknown option {option}; did you mean {close[0]!r}?")
        overrides.append(f"--{option[2:].replace('-', '_')}{equals}{value}")
        if not equals and left and not left[0].startswith("--"):
            overrides.append(left.pop(0))
    return kept + left, overrides


def _told(error: CycloptsError) -> str:
    """A mistake of the command line in our words."""
    where = error.argument.name if error.argument else ""
    if isinstance(error, MissingArgumentError):
        keyword = error.keyword
        return f"{keyword} needs a value" if keyword else f"missing but required: {where}"
    if isinstance(error, CoercionError) and error.argument:
        token, choices = error.token, error.argument.get_choices()
        if choices and token:
            return f"{where} cannot be {token.value!r}{nearest(token.value, choices)}"
        return f"{where}: {error.msg}"
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return f"unexpected argument {error.unused_tokens[0]!r}"
    if isinstance(error, UnknownOptionError):
        return f"unknown option {error.token.keyword or error.token.value}"
    error.verbose = False
    return " ".join(str(error).split())
