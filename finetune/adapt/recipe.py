"""What a fine-tuning recipe says: a training recipe that may start from a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from ...datasets.base.annotations import Named, Positive, PositiveFraction
from ...operators.core.operator import Operator
from ...operators.core.registry import OPERATORS
from ...pretrain.objectives import Objective, Phase
from ...pretrain.recipe import TrainRecipe
from .methods.base import Method
from .methods.freeze import FreezeConfig
from .methods.full import FullConfig
from .methods.registry import METHODS, method_of


@dataclass(frozen=True)
class FinetuneRecipe(TrainRecipe):
    """Training on (usually) one dataset, from a checkpoint or, for comparison, from scratch.

    With `init_from`, `operator` may be left out: the architecture is the checkpoint's, and keys
    given here override it. Fields keep their weights by name; new ones start afresh.

    Attributes:
        init_from: a checkpoint or run directory, `pelagos:NAME`, `hf:owner/model`; null: from
            scratch.
        method: `name` ("full", "freeze", "head", "unfreeze", "lora" or "bands") and its settings;
            see `adapt/methods`. Null: full, or freeze where `freeze` says what.
        freeze: names of modules and parameters that are not trained.
        learning_rates: peak learning rates, where they differ, by name of a module, of a
            parameter, or of a part of the operator: "embedding", "blocks", "recovery", "norms".
        layer_decay: what `learning_rates` does not name learns by this factor more slowly with
            every block between it and the output; null: it does not.
    """

    operator: Annotated[dict[str, Any], Named(OPERATORS, "name")] = field(default_factory=dict)
    init_from: str | None = None
    method: Annotated[Any, Named(METHODS, "name")] | None = None
    freeze: tuple[str, ...] = ()
    learning_rates: dict[str, Positive] = field(default_factory=dict)
    layer_decay: PositiveFraction | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method is not None and self.freeze:
            raise ValueError(
                "freeze has no meaning beside method; name its parts in the method, as in "
                "method: {name: freeze, parts: [lift]}"
            )

    @property
    def adaptation(self) -> Method[Any]:
        """The method of fine-tuning."""
        short = FreezeConfig(parts=self.freeze) if self.freeze else FullConfig()
        return method_of(self.method or short)

    def phases(
        self, operator: Operator, objective: Objective[Any] | None = None
    ) -> tuple[Phase, ...]:
        """The objective's phases, as the method cuts them."""
        return self.adaptation.phases(operator, super().phases(operator, objective))
