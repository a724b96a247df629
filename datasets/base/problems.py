"""pydantic's errors in our words: one line with the dotted key, what it must be, what was got."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal

from .annotations import Must, alternatives, bare, hints, marks
from .messages import a_list, describe, join, short, unknown, wrong

_RANGES = (
    *("greater_than", "greater_than_equal", "less_than", "less_than_equal"),
    *("predicate_failed", "finite_number"),
)
_LENGTHS = ("too_long", "missing")


class Problem(ValueError):
    """What is wrong at or below a key.

    Args:
        key: the dotted key, as far as it is known.
        say: the message, given the whole key.
        about_keys: whether it is about the keys there, and not about the value.
    """

    def __init__(self, key: str, say: Callable[[str], str], about_keys: bool = False) -> None:
        super().__init__(say(key))
        self.key, self.say, self.about_keys = key, say, about_keys

    def below(self, key: str) -> Problem:
        """The same, seen from above `key`."""
        return Problem(join(key, self.key), self.say, self.about_keys)

    def worded(self, prefix: str) -> str:
        """The message; `prefix` is the key of the whole."""
        if self.about_keys:
            return join(prefix, self.say(self.key), ": ")
        return self.say(join(prefix, self.key))


def problem_of(cls: type, values: Mapping[str, Any], errors: list[Any]) -> Exception:
    """The first of pydantic's errors that says most."""
    odd = [str(e["loc"][0]) for e in errors if e["type"] in ("extra_forbidden", "invalid_key")]
    if odd:
        return Problem("", lambda key: unknown(odd[0], cls, key), about_keys=True)
    missing = [e["loc"][0] for e in errors if e["type"] == "missing" and len(e["loc"]) == 1]
    if missing:
        return Problem(
            "",
            lambda key: f"missing but required: {', '.join(join(key, name) for name in missing)}",
            about_keys=True,
        )
    return _value_problem(errors[0], cls, values)


def _value_problem(error: Any, cls: type, values: Mapping[str, Any]) -> Exception:
    """What is wrong with a value: found by following the place of the error through the hint."""
    name, *places = error["loc"]
    key, hint, value = str(name), hints(cls)[name], values[name]
    given = error["input"]
    of_key = places[-1:] == ["[key]"] and not isinstance(given, str)
    for place in places[:-2] if of_key else places:
        if len(alternatives(hint)) > 1:
            break  # the place is one of them, and none fits
        inner = typing.get_args(bare(hint)) or (Any, Any)
        if isinstance(value, Mapping):
            key, hint = join(key, place), inner[1]
        elif place < len(value):
            key, hint = f"{key}[{place}]", inner[0 if inner[1:] in ((), (...,)) else place]
        else:
            break  # an entry that the list lacks
        value = value[place]
    if of_key:
        return Problem(key, lambda at: f"keys of {at} must be text; got {short(given)}")
    return _worded(error, key, hint, value)


def _worded(error: Any, key: str, hint: Any, value: Any) -> Exception:
    if value is None:
        return Problem(key, lambda at: f"{at} must not be null")
    range_ = next((mark.words for mark in marks(hint) if isinstance(mark, Must)), "")
    others = [describe(kind) for kind in alternatives(hint)[1:]]
    if others and error["type"] in _RANGES and range_:
        told = " or ".join(f"be {other}" for other in others)
        return Problem(key, lambda at: f"{at} must {range_}, or {told}; got {short(value)}")
    if others:
        return Problem(key, lambda at: wrong(at, describe(hint), value))
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, Problem):
        return cause.below(key)
    if isinstance(cause, Exception) and typing.get_origin(bare(hint)) is not Literal:
        return cause  # of a config's own check, in words of its own
    expected = f"be {describe(hint)}"
    if error["type"] in _RANGES and range_:
        expected = f"{range_} or be null" if type(None) in typing.get_args(hint) else range_
    elif error["type"] == "finite_number":
        expected = "be finite"
    elif error["type"] in _LENGTHS:
        expected = f"be a list of {len(typing.get_args(bare(hint)))} entries"
    elif expected == "be a list":
        expected = f"be {a_list(hint, value)}"
    return Problem(key, lambda at: f"{at} must {expected}; got {short(value)}")
