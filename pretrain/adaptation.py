"""What training needs to know of a fine-tuning method."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from ..operators.core.operator import Operator


@runtime_checkable
class Adaptation(Protocol):
    """Changes an operator for as long as it is trained; see `finetune/adapt/methods`."""

    def prepare(self, operator: Operator, seed: int) -> tuple[str, ...]:
        """Change a plain operator in place into what is trained; names what keeps its values."""
        ...

    def finish(self, operator: Operator) -> None:
        """Back to plain weights that hold what was learned."""
        ...
