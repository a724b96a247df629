"""What the types of Pelagos' functions are checked with: all of its calls, in one pass each.

pytest's option `--jaxtyping-packages` puts a decorator of jaxtyping's at every function and class.
That one binds the signature and checks the arguments twice at every call, of functions without a
shape too, which was two fifths of the time of all tests. Where this module is imported first, the
decorator is beartype alone, and where annotations have shapes within jaxtyping's context, in which
axes of one name have one length. Functions inside of functions would be decorated at every call of
the outer one; they are not checked.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import beartype

_shapes = functools.partial(jaxtyping.jaxtyped, "context")


def checked(*, typechecker: object) -> Callable[[Any], Any]:
    """Takes the place of `jaxtyping.jaxtyped`, whose argument is what the option names."""
    return _checked


def _checked(thing: Any) -> Any:
    if not isinstance(thing, type):
        return _function(thing)
    if dataclasses.is_dataclass(thing) and "__init__" in vars(thing):
        thing.__init__ = _function(thing.__init__)
    return thing


def _function(function: types.FunctionType) -> Callable[..., Any]:
    if not function.__annotations__ or "<locals>" in function.__qualname__:
        return function
    typed: Callable[..., Any] | None = None

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal typed
        if jaxtyping.config.jaxtyping_disable:
            return function(*arguments, **named)
        if typed is None:  # at the first call: many are never called, and now all names are known
            typed = _typed(function)
        return typed(*arguments, **named)

    return call


def _typed(function: types.FunctionType) -> Callable[..., Any]:
    resolved = _resolved(function)
    if inspect.isgeneratorfunction(function):  # checked when it is called, not when it begins
        accept = _without_body(resolved)

        def begin(*arguments: Any, **named: Any) -> Any:
            with _shapes():
                accept(*arguments, **named)
            return function(*arguments, **named)

        return begin
    typed = beartype(resolved)
    if not any(map(_has_shape, resolved.__annotations__.values())):
        return typed

    def within(*arguments: Any, **named: Any) -> Any:
        with _shapes():
            return typed(*arguments, **named)

    return within


def _without_body(function: types.FunctionType) -> Callable[..., Any]:
    """A function that takes, and checks, the same arguments and does nothing."""
    bare = [
        each.replace(
            annotation=each.empty, default=each.empty if each.default is each.empty else None
        )
        for each in inspect.signature(function).parameters.values()
    ]
    made: dict[str, Any] = {}
    exec(f"def stub{inspect.Signature(bare)}: ...", {"__name__": function.__module__}, made)
    stub = made["stub"]
    stub.__name__, stub.__qualname__ = function.__name__, function.__qualname__
    stub.__annotations__ = {k: v for k, v in function.__annotations__.items() if k != "return"}
    return beartype(stub)


def _resolved(function: types.FunctionType) -> types.FunctionType:
    """The function with annotations instead of their text; what is never imported is Any."""
    made = types.FunctionType(
        function.__code__,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    made.__kwdefaults__ = function.__kwdefaults__
    made.__module__, made.__qualname__ = function.__module__, function.__qualname__
    made.__annotations__ = {
        name: _known(value, function.__globals__)
        for name, value in function.__annotations__.items()
    }
    return made


def _known(annotation: Any, names: dict[str, Any]) -> Any:
    def holder() -> None: ...

    holder.__annotations__ = {"it": annotation}
    try:
        return typing.get_type_hints(holder, names, include_extras=True)["it"]
    except Exception:  # a name that is imported for type checkers alone
        return Any


def _has_shape(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, jaxtyping.AbstractArray):
        return True
    return any(map(_has_shape, typing.get_args(annotation)))


jaxtyping.jaxtyped = checked
