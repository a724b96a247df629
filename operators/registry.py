"""Operators by name: `create("dymixop", fields=("u",), …)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ..datasets import codec
from .description import Description

if TYPE_CHECKING:
    from .interface import Operator

_OPERATORS: dict[str, type[Operator]] = {}


def register(cls: type[Operator]) -> type[Operator]:
    """Class decorator: makes an operator known under its `name`."""
    assert cls.name not in _OPERATORS, f"operator {cls.name} is registered twice"
    _OPERATORS[cls.name] = cls
    return cls


def names() -> list[str]:
    """Names of all registered operators."""
    return sorted(_OPERATORS)


def get(name: str) -> type[Operator]:
    """The operator class of this name.

    Raises:
        ValueError: no such operator.
    """
    if name not in _OPERATORS:
        raise ValueError(f"unknown operator {name!r}{codec.nearest(name, names())}")
    return _OPERATORS[name]


def create(
    name: str, *, description: Description | None = None, seed: int = 0, **config: Any
) -> Operator:
    """A freshly initialised operator.

    Args:
        name: a registered name, such as "dymixop".
        description: what the operator is about (fields with units, normaliser, time scale, …).
            Without one, `config` must name the `fields`, the normaliser is the identity and the
            time scale is 1.
        seed: seed of the initial weights.
        config: fields of the operator's config dataclass.

    Raises:
        ValueError: unknown name or key, wrong type, or an impossible combination.
    """
    cls = get(name)
    if description is None:
        if "fields" not in config:
            raise ValueError("create() needs the operator's fields, e.g. fields=('u',)")
        fields = config.pop("fields")
        description = Description(fields=(fields,) if isinstance(fields, str) else tuple(fields))
    generator = torch.Generator().manual_seed(seed)
    operator = cls(codec.build(cls.Config, config, prefix=name), description)
    operator.reset(generator)
    return operator
