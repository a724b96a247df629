"""Operators by name: `create("dymixop", fields=("u",), …)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ...datasets.base.config import build
from ...datasets.base.registry import Registry
from .description import Description
from .sizes import MOST_TENSORS, at_most

if TYPE_CHECKING:
    from .operator import Operator

OPERATORS: Registry[type[Operator]] = Registry(
    "pelagos.operators",
    "operator",
    {
        "dymixop": "pelagos.operators.dymixop.operator:DyMixOp",
        "multiscale": "pelagos.operators.multiscale.operator:MultiscaleTransformer",
        "observer": "pelagos.operators.assimilation.observer:Observer",
        "assimilated": "pelagos.operators.assimilation.wrapped:AssimilatedOperator",
    },
)


def names() -> tuple[str, ...]:
    """Names of all operators, those of other installed packages among them."""
    return OPERATORS.names()


def get(name: str) -> type[Operator]:
    """The operator class of this name.

    Raises:
        ValueError: no such operator.
    """
    return OPERATORS.get(name)


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
    with at_most(MOST_TENSORS):
        operator = cls(build(cls.Config, config, prefix=name), description)
    operator.reset(generator)
    return operator
