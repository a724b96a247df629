"""Types of the arguments and options of commands: what is typed, checked and understood.

A function of a command annotates its parameters with them; see `cli.call`.
"""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter


def _read(function: Callable[[str], Any], metavar: str) -> Parameter:
    """One word, of several the last, understood by `function`."""
    return Parameter(
        converter=lambda _, tokens: function(tokens[-1].value), n_tokens=1, metavar=metavar
    )


def _read_pairs(function: Callable[[str], tuple[str, Any]], metavar: str) -> Parameter:
    """An option that may be repeated, for values by name."""
    return Parameter(
        converter=lambda _, tokens: dict(function(token.value) for token in tokens),
        n_tokens=-1,  # a word each time that it is repeated
        metavar=metavar,
        accepts_keys=False,
    )


def expanded(text: str) -> str:
    """A path or address with `~` and the variables of the environment replaced.

    Raises:
        ValueError: a variable is not set, and there is no file that is called so.
    """
    found = os.path.expanduser(os.path.expandvars(text))  # noqa: PTH111  an address is no Path
    unset = re.search(r"\$(\w+|\{[^}]*\})", found)
    if unset and not Path(text).exists():
        raise ValueError(f"{unset[0]} is not set in the environment; got {text!r}")
    return text if unset else found


def whole(text: str, smallest: int) -> int:
    """A whole number of at least `smallest`."""
    if not re.fullmatch(r"\d+", text) or int(text) < smallest:
        raise ValueError(f"needs a whole number of at least {smallest}; got {text!r}")
    return int(text)


def number(text: str) -> float:
    """A finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"needs a finite number; got {text!r}")
    return value


def positive(text: str) -> float:
    """A positive finite number."""
    value = number(text)
    if not value > 0:
        raise ValueError(f"needs a positive number; got {text!r}")
    return value


def increasing(text: str) -> tuple[float, ...]:
    """Positive increasing numbers separated by commas."""
    values = tuple(positive(part) for part in text.split(","))
    if any(a >= b for a, b in itertools.pairwise(values)):
        raise ValueError(f"needs increasing numbers; got {text!r}")
    return values


def per_axis(text: str, one: Callable[[str], Any]) -> Any:
    """One value for all axes, or values separated by commas, one per axis."""
    values = tuple(one(part) for part in text.split(","))
    return values[0] if len(values) == 1 else values


def names(text: str) -> tuple[str, ...]:
    """Names separated by commas."""
    found = tuple(name.strip() for name in text.split(","))
    if not all(found):
        raise ValueError(f"needs names separated by commas; got {text!r}")
    return found


def parameter(text: str) -> tuple[str, float | tuple[float, float]]:
    """`name=value`, or `name=low:high` for a value drawn per trajectory."""
    name, equals, value = text.partition("=")
    low, colon, high = value.partition(":")
    if not (name and equals and value):
        raise ValueError(f"needs name=value or name=low:high; got {text!r}")
    if not colon:
        return name, number(low)
    interval = number(low), number(high)
    if interval[0] > interval[1]:
        raise ValueError(f"needs low ≤ high; got {text!r}")
    return name, interval


def value(text: str) -> tuple[str, float]:
    """`name=value`."""
    name, equals, found = text.partition("=")
    if not (name and equals and found):
        raise ValueError(f"needs name=value, as in viscosity=0.01; got {text!r}")
    return name, number(found)


def unit(text: str) -> tuple[str, str]:
    """`name=unit`."""
    name, equals, found = text.partition("=")
    if not (name and equals and found):
        raise ValueError(f"needs name=unit, as in u=m/s; got {text!r}")
    return name, found


def named_device(name: str) -> str:
    """The name of a torch device; `auto` is the first GPU where there is one.

    Raises:
        ValueError: this machine has none of that name.
    """
    import torch  # slow to import, and help needs none of it

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError):
        available = "cpu, cuda" if torch.cuda.is_available() else "cpu"
        raise ValueError(
            f"--device: no device {name!r} on this machine; available: {available}"
        ) from None
    return name


Device = Annotated[str, Parameter(metavar="DEVICE")]  # understood by `named_device`
Layout = Annotated[str, _read(expanded, "LAYOUT")]  # of a dataset: a name, or a path
File = Annotated[Path, _read(lambda text: Path(expanded(text)), "PATH")]
Source = Annotated[str, _read(expanded, "PATH")]  # a path, or the address of something remote
Count = Annotated[int, _read(lambda text: whole(text, 1), "N")]
Index = Annotated[int, _read(lambda text: whole(text, 0), "N")]
Number = Annotated[float, _read(number, "X")]
Positive = Annotated[float, _read(positive, "X")]
Increasing = Annotated[tuple[float, ...], _read(increasing, "X,…")]
Counts = Annotated[
    int | tuple[int, ...], _read(lambda text: per_axis(text, lambda t: whole(t, 1)), "N[,N…]")
]
Lengths = Annotated[
    float | tuple[float, ...], _read(lambda text: per_axis(text, positive), "X[,X…]")
]
Names = Annotated[tuple[str, ...], _read(names, "NAME,…")]
Parameters = Annotated[dict[str, float | tuple[float, float]], _read_pairs(parameter, "NAME=VALUE")]
Values = Annotated[dict[str, float], _read_pairs(value, "NAME=VALUE")]
Units = Annotated[dict[str, str], _read_pairs(unit, "NAME=UNIT")]
Overrides = Annotated[tuple[str, ...], Parameter(parse=False)]  # see `parsing.parse`
