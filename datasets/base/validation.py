"""Plain data against the type hints of dataclasses, by pydantic; a refusal is one line.

Strict: no text for a number, no truth value for one, no unknown key, nothing but finite numbers.
Every dataclass is validated by itself. What is wrong below a key comes up as a `Problem`, to which
every level puts its part of the dotted key, until `arguments` words it.

pydantic is imported when something is validated, not before: `--help` does not wait for it.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired

from .annotations import Named, hints, named
from .messages import join, wrong
from .plain import default
from .problems import Problem, problem_of

if TYPE_CHECKING:
    from pydantic import TypeAdapter


class Checked:
    """Base of config dataclasses: made in Python, values become what their types say as in `build`.

    Subclasses with a `__post_init__` of their own call this one first.

    Raises:
        ValueError: a value has the wrong type or is out of its range.
    """

    def __post_init__(self) -> None:
        values = {f.name: getattr(self, f.name) for f in _parameters(type(self))}
        try:
            valid = fields(type(self), values)
        except Problem as problem:
            raise ValueError(problem.worded("")) from None
        for name, value in valid.items():
            object.__setattr__(self, name, value)  # frozen for others


def arguments(cls: type, values: Any, prefix: str = "") -> dict[str, Any]:
    """The fields of the dataclass `cls` in `values`, as its constructor takes them.

    Args:
        cls: the dataclass.
        values: a mapping of its fields; nested dataclasses are mappings as well.
        prefix: dotted key under which the values stand, for error messages.

    Raises:
        ValueError: a key is unknown or missing, or a value has the wrong type, is out of its range
            or is not finite.
    """
    _check_data(values, prefix)
    try:
        return fields(cls, values)
    except Problem as problem:
        raise ValueError(problem.worded(prefix)) from None


def fields(cls: type, values: Any) -> dict[str, Any]:
    """As `arguments`, with problems below the keys of `cls`."""
    names = [f.name for f in _parameters(cls)]
    if not isinstance(values, Mapping) or ({"class_path", "init_args"} & set(values)) - set(names):
        such = f" such as {names[0]}" if names else ""
        raise Problem("", lambda key: wrong(key, f"a mapping of keys{such}", values))
    from pydantic import ValidationError

    try:
        return adapter(cls).validate_python(dict(values))
    except ValidationError as error:
        raise problem_of(cls, values, error.errors(include_url=False)) from None


@cache
def adapter(cls: type) -> TypeAdapter[dict[str, Any]]:
    """Validates mappings of the fields of a dataclass, those without a default required."""
    from pydantic import ConfigDict, TypeAdapter, with_config
    from typing_extensions import TypedDict

    keys = {}
    for field in _parameters(cls):
        hint = _strict(hints(cls)[field.name], cls, field.name)
        needed = field.default is field.default_factory is dataclasses.MISSING
        keys[field.name] = hint if needed else NotRequired[hint]
    strict = with_config(ConfigDict(extra="forbid", allow_inf_nan=False))
    return TypeAdapter(strict(TypedDict(cls.__name__, keys)))  # pyright: ignore


def _parameters(cls: Any) -> list[dataclasses.Field[Any]]:
    return [field for field in dataclasses.fields(cls) if field.init]


def _strict(hint: Any, cls: type, name: str) -> Any:
    """A hint as pydantic takes it: scalars strict, dataclasses and components by functions."""
    from pydantic import BeforeValidator, Strict

    if dataclasses.is_dataclass(hint):
        return Annotated[Any, Nested(typing.cast(type, hint))]
    if hint in (int, float, str, bool):
        return Annotated[hint, Strict()]
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return Annotated[hint, BeforeValidator(partial(_same_type, inner))]
    if origin is Annotated:
        naming = named(hint)
        if naming is not None and inner[0] is Any:
            usual = default(cls, name)
            given = usual.get(naming.key) if isinstance(usual, dict) else None
            return Annotated[Any, Component(naming, given)]
        return Annotated[_strict(inner[0], cls, name), *inner[1:]]
    inner = tuple(_strict(kind, cls, name) for kind in inner)
    if origin in (typing.Union, types.UnionType):
        return typing.Union[inner]  # noqa: UP007 (of a tuple of types)
    if origin in (tuple, list, dict):
        return types.GenericAlias(origin, inner)
    return hint


def _same_type(literals: tuple[Any, ...], given: Any) -> Any:
    """For pydantic true and 1.0 are 1 among literals."""
    if type(given) not in map(type, literals):
        raise ValueError(given)
    return given


@dataclass(frozen=True)
class _Function:
    """Marks, for pydantic, a value that is validated by the method `value` alone."""

    def value(self, given: Any) -> Any:
        """The valid value."""
        raise NotImplementedError

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core.core_schema import no_info_plain_validator_function

        return no_info_plain_validator_function(self.value)


@dataclass(frozen=True)
class Nested(_Function):
    """An instance of the dataclass `cls`, given as a mapping or made already."""

    cls: type

    def value(self, given: Any) -> Any:
        """See the class."""
        _refuse_null(given)
        return given if isinstance(given, self.cls) else self.cls(**fields(self.cls, given))


@dataclass(frozen=True)
class Component(_Function):
    """The config of a component by name, given as a mapping or made already.

    Attributes:
        naming: the registry, and the key of the name.
        usual: the name where none is given; None: it must be given.
    """

    naming: Named
    usual: str | None

    def value(self, given: Any) -> Any:
        """See the class."""
        _refuse_null(given)
        if dataclasses.is_dataclass(given):
            return given
        key = self.naming.key
        if not isinstance(given, Mapping):
            raise Problem("", lambda at: wrong(at, f"a mapping of keys such as {key}", given))
        if self.naming.upgrade is not None:
            given = self.naming.upgrade(given)
        name = given.get(key, self.usual)
        if name is None:
            example = self.naming.registry.names()[0]
            raise Problem("", lambda at: f"{at} needs a {key}, such as {example}")
        if not isinstance(name, str):
            raise Problem(key, lambda at: wrong(at, "text", name))
        cls = self._config(name)
        rest = {k: v for k, v in given.items() if k != key}
        if any(field.name == key for field in _parameters(cls)):
            rest[key] = name
        return cls(**fields(cls, rest))

    def _config(self, name: str) -> type:
        try:
            return self.naming.config(name)
        except ValueError as error:
            text = str(error)
            raise Problem(self.naming.key, lambda at: f"{at}: {text}") from None


def _refuse_null(given: Any) -> None:
    if given is None:
        raise Problem("", lambda key: f"{key} must not be null")


def _check_data(value: Any, key: str) -> None:
    """Refuse what no type may hold: numbers that are not finite or too wide, and sets."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"{key} must fit 64 bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{key} must be finite; got {value}")
    if isinstance(value, (set, frozenset)):
        raise ValueError(wrong(key, "a list", value))
    if isinstance(value, Mapping):
        for name, item in value.items():
            _check_data(item, join(key, str(name)))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_data(item, f"{key}[{index}]")
