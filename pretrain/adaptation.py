"""What training needs to know of fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from ..datasets.sampling.mixture import Mixture
from ..operators.core.operator import Operator
from .objectives.base import Objective


@runtime_checkable
class Adaptation(Protocol):
    """Changes an operator for as long as it is trained; see `finetune/adapt`."""

    def prepare(self, operator: Operator, seed: int) -> tuple[str, ...]:
        """Change a plain operator in place into what is trained; names what keeps its values."""
        ...

    def rates(self, operator: Operator) -> Mapping[str, float]:
        """Peak learning rates by name of a module or parameter, where they differ."""
        ...

    def look(
        self, operator: Operator, mixture: Mixture, objective: Objective[Any]
    ) -> Sequence[str]:
        """What is said before the first step, a line each, of what training starts from.

        Raises:
            ValueError: it cannot start from that.
        """
        ...

    def finish(self, operator: Operator) -> None:
        """Back to plain weights that hold what was learned."""
        ...
