"""Train what meets the new fields and times, and leave the backbone as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ....operators.core.operator import Operator
from ....operators.core.parts import members
from .base import Method
from .naming import matching, parts_of


@dataclass(frozen=True)
class HeadConfig:
    """The backbone stays as it is; embedding, recovery and norms are trained.

    Attributes:
        name: "head".
        also: names of modules and parameters of the backbone that are trained, too; patterns such
            as `mixing.*.linear` are names.
    """

    name: Literal["head"] = "head"
    also: tuple[str, ...] = ()


class Head(Method[HeadConfig]):
    """Embedding, recovery and norms are trained (see `Operator.parts`)."""

    Config = HeadConfig
    remedy = "name them in method.also"

    def prepare(self, operator: Operator, seed: int) -> tuple[str, ...]:
        """Stop the gradients of the backbone; see `Method.prepare`."""
        named = dict(operator.named_parameters())
        head = parts_of(operator, self.config.name).head
        trained = {*members(named, head), *matching(named, self.config.also, "method.also")}
        kept = tuple(name for name in named if name not in trained)
        for name in kept:
            named[name].requires_grad_(False)
        return kept
