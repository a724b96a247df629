"""A fine-tuning recipe as training sees it: what changes the operator, how fast, what is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...datasets.sampling.mixture import Mixture
from ...operators.core.operator import Operator
from ...pretrain.objectives import Objective
from .look import first_look
from .rates import rates_of
from .recipe import FinetuneRecipe


class Tuning:
    """What `pretrain.adaptation.Adaptation` asks for.

    Args:
        recipe: of the fine-tuning.
    """

    def __init__(self, recipe: FinetuneRecipe) -> None:
        self.recipe, self.method = recipe, recipe.adaptation

    def prepare(self, operator: Operator, seed: int) -> tuple[str, ...]:
        """As the method."""
        return self.method.prepare(operator, seed)

    def rates(self, operator: Operator) -> Mapping[str, float]:
        """By name, by part, by depth."""
        return rates_of(self.recipe, operator)

    def look(
        self, operator: Operator, mixture: Mixture, objective: Objective[Any]
    ) -> Sequence[str]:
        """Scale of predictions, loss and gradients; nothing where training starts from scratch."""
        if self.recipe.init_from is None:
            return ()
        return first_look(operator, self.recipe, mixture, objective)

    def finish(self, operator: Operator) -> None:
        """As the method."""
        self.method.finish(operator)
