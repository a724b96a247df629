"""What a fine-tuning recipe says: a training recipe that may start from a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...datasets.base.annotations import Positive
from ...pretrain.recipe import TrainRecipe


@dataclass(frozen=True)
class FinetuneRecipe(TrainRecipe):
    """Training on (usually) one dataset, from a checkpoint or, for comparison, from scratch.

    With `init_from`, `operator` needs a name only: the architecture is the checkpoint's, and keys
    given here override it. Fields keep their weights by name; new ones start afresh.

    Attributes:
        init_from: a checkpoint or run directory; null: from scratch.
        freeze: names of modules and parameters that are not trained.
        learning_rates: peak learning rates by name of a module or parameter, where they differ.
    """

    init_from: str | None = None
    freeze: tuple[str, ...] = ()
    learning_rates: dict[str, Positive] = field(default_factory=dict)
