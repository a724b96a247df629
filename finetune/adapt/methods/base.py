"""What a fine-tuning method is: what it trains, what it changes meanwhile, what it undoes.

A method is one class with a config dataclass beside it. It is registered by name (`registry`), and
a recipe chooses it by the key `method.name`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

from ....operators.core.operator import Operator
from ....pretrain.objectives import Phase

ConfigT = TypeVar("ConfigT")


class Method(ABC, Generic[ConfigT]):
    """How an operator that starts from a checkpoint is trained. Subclass it, and register it.

    Attributes:
        Config: dataclass of its settings; the default of its field `name` is the method's name.
        from_scratch: whether it trains weights that start afresh, and so needs no checkpoint.
        remedy: what to do where weights that start afresh would not be trained.

    Args:
        config: of the type `Config`.
    """

    Config: ClassVar[type[Any]]
    from_scratch: ClassVar[bool] = False
    remedy: ClassVar[str] = ""

    def __init__(self, config: ConfigT) -> None:
        self.config = config

    @abstractmethod
    def prepare(self, operator: Operator, seed: int) -> tuple[str, ...]:
        """Change an operator in place into what is trained; what it computes stays the same.

        Whatever the change adds to the operator's tensors belongs to the training state: a run
        goes on by preparing a fresh operator and reading that state.

        Args:
            operator: with plain weights.
            seed: of whatever is drawn.

        Returns:
            Names of the parameters, as they were before, that keep their values.

        Raises:
            ValueError: the settings do not fit the operator.
        """

    def phases(self, operator: Operator, phases: Sequence[Phase]) -> tuple[Phase, ...]:
        """What is trained when: the objective's phases, as they are unless a method cuts them.

        Args:
            operator: prepared.
            phases: of the objective, which cover all steps.
        """
        return tuple(phases)

    def finish(self, operator: Operator) -> None:
        """Undo the change and keep what was learned: plain weights, as a checkpoint holds them."""
        return
