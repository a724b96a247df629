"""What a fine-tuning recipe says: a training recipe that may start from a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from ...datasets.base.annotations import Named, Positive
from ...pretrain.recipe import TrainRecipe
from .methods.base import Method
from .methods.freeze import FreezeConfig
from .methods.full import FullConfig
from .methods.registry import METHODS, method_of


@dataclass(frozen=True)
class FinetuneRecipe(TrainRecipe):
    """Training on (usually) one dataset, from a checkpoint or, for comparison, from scratch.

    With `init_from`, `operator` needs a name only: the architecture is the checkpoint's, and keys
    given here override it. Fields keep their weights by name; new ones start afresh.

    Attributes:
        init_from: a checkpoint or run directory; null: from scratch.
        method: `name` ("full", "freeze" or "lora") and its settings; see `adapt/methods`. Null:
            full, or freeze where `freeze` says what.
        freeze: names of modules and parameters that are not trained.
        learning_rates: peak learning rates by name of a module or parameter, where they differ.
    """

    init_from: str | None = None
    method: Annotated[Any, Named(METHODS, "name")] | None = None
    freeze: tuple[str, ...] = ()
    learning_rates: dict[str, Positive] = field(default_factory=dict)

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
