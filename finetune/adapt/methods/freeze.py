"""Train all weights but some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ....operators.core.operator import Operator
from ....pretrain.optimizer import freeze
from .base import Method


@dataclass(frozen=True)
class FreezeConfig:
    """Some weights stay as they are.

    Attributes:
        name: "freeze".
        parts: names of modules and parameters that are not trained.
    """

    name: Literal["freeze"] = "freeze"
    parts: tuple[str, ...] = ()


class Freeze(Method[FreezeConfig]):
    """Some modules or parameters, given by name, stay as they are."""

    Config = FreezeConfig
    remedy = "do not freeze them"

    def prepare(self, operator: Operator, seed: int) -> tuple[str, ...]:
        """Stop the gradients of the parts; see `Method.prepare`."""
        return freeze(operator, self.config.parts)
