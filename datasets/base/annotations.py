"""What a field of a config says beyond its type: a range, or which component it configures.

Ranges hold however the dataclass is made: from a recipe (`config.build`), and in Python where it
derives from `validation.Checked`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Gt, Interval, Predicate

if TYPE_CHECKING:
    from .registry import Registry


@dataclass(frozen=True)
class Must:
    """Words for a range: its refusal says `KEY must WORDS`."""

    words: str


def _odd(value: int) -> bool:
    return value % 2 == 1


Positive = Annotated[float, Gt(0), Must("be positive")]
NotNegative = Annotated[float, Ge(0), Must("not be negative")]
Fraction = Annotated[float, Interval(ge=0, le=1), Must("lie in [0, 1]")]
PositiveFraction = Annotated[float, Interval(gt=0, le=1), Must("lie in (0, 1]")]
BelowOne = Annotated[float, Interval(ge=0, lt=1), Must("lie in [0, 1)")]
OneOrMore = Annotated[float, Ge(1), Must("be at least 1")]
AtLeastOne = Annotated[int, Ge(1), Must("be at least 1")]
Count = Annotated[int, Ge(0), Must("not be negative")]
Odd = Annotated[int, Ge(1), Predicate(_odd), Must("be odd and positive")]
Axes = Annotated[int, Interval(ge=1, le=3), Must("be 1, 2 or 3")]
Seed = Annotated[int, Ge(0), Must("be in [0, 2⁶³)")]  # wider numbers are refused everywhere


@dataclass(frozen=True)
class Named:
    """Marks a field of a config that says by name which component it configures.

    A field `objective: Annotated[Any, Named(OBJECTIVES, "kind")]` takes a mapping: its key `kind`
    names a component, and the other keys are fields of that component's `Config` (of the component
    itself where it is a dataclass). The value is an instance of it, with its name as `kind`; where
    the mapping does not say a name, it is the one of the field's default.

    A field `operator: Annotated[dict[str, Any], Named(OPERATORS, "name")]` stays a mapping, which
    may be incomplete: whoever completes it builds it.

    Attributes:
        registry: of the components.
        key: the key that holds the name.
        upgrade: makes today's keys of those of earlier versions.
    """

    registry: Registry[Any]
    key: str
    upgrade: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None

    def config(self, name: str) -> type:
        """The dataclass that configures the component of this name.

        Raises:
            ValueError: there is no such component.
        """
        component = self.registry.get(name)
        config = component if dataclasses.is_dataclass(component) else component.Config
        return typing.cast(type, config)


@cache
def hints(cls: type) -> dict[str, Any]:
    """The annotations of a dataclass, resolved, with what they say beyond the type."""
    return typing.get_type_hints(cls, include_extras=True)


def alternatives(hint: Any) -> tuple[Any, ...]:
    """The types that a hint allows besides None, with their annotations."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(kind for kind in typing.get_args(hint) if kind is not type(None))
    return (hint,)


def bare(hint: Any) -> Any:
    """The first type that a hint allows, without annotations."""
    kind = next(iter(alternatives(hint)), Any)
    return typing.get_args(kind)[0] if typing.get_origin(kind) is Annotated else kind


def marks(hint: Any) -> tuple[Any, ...]:
    """What a hint says beyond its type."""
    kind = next(iter(alternatives(hint)), Any)
    return typing.get_args(kind)[1:] if typing.get_origin(kind) is Annotated else ()


def named(hint: Any) -> Named | None:
    """How a hint names a component, where it does."""
    return next((mark for mark in marks(hint) if isinstance(mark, Named)), None)
