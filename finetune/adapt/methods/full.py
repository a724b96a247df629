"""Train every weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ....operators.core.operator import Operator
from .base import Method


@dataclass(frozen=True)
class FullConfig:
    """Every weight is trained.

    Attributes:
        name: "full".
    """

    name: Literal["full"] = "full"


class Full(Method[FullConfig]):
    """Every weight is trained."""

    Config = FullConfig
    from_scratch = True

    def prepare(self, operator: Operator, seed: int) -> tuple[str, ...]:
        """Nothing is changed."""
        return ()
