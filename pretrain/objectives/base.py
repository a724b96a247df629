"""What an objective is: its windows, its loss, and what is trained when.

An objective is one class with a config dataclass beside it. It is registered by name (`registry`),
and a recipe chooses it by the key `objective.kind`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...datasets.base.annotations import AtLeastOne
from ...datasets.base.config import Checked, nearest
from ...datasets.fields.normalization import Normalizer
from ...datasets.fields.window import Window
from ...datasets.sampling.windows import Selection, Windows
from ...datasets.stores.store import Store
from ...operators.core.operator import Operator
from .learning import Learner
from .losses import LOSSES

if TYPE_CHECKING:
    from ..recipe import DataConfig

Loss = Callable[[nn.Module, Window, Normalizer, int], Tensor]


@dataclass(frozen=True)
class ObjectiveConfig(Checked):
    """What every objective has.

    Attributes:
        kind: the objective's name.
        horizon: frames to predict, in strides.
        loss: "vrmse", "relative_l1", "relative_l2", "relative_mse" or "grouped_relative_l1"; see
            `losses`.
    """

    kind: str
    horizon: AtLeastOne = 1
    loss: str = "vrmse"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss not in LOSSES:
            raise ValueError(f"unknown objective.loss {self.loss!r}{nearest(self.loss, [*LOSSES])}")

    @property
    def reach(self) -> int:
        """Frames, in strides, that a window needs after its history."""
        return self.horizon

    def as_begun(self, stored: ObjectiveConfig) -> ObjectiveConfig:
        """The same, with what it leaves to the run that is resumed, of which `stored` is."""
        return self


def _everything(parameter: str) -> bool:
    return True


@dataclass(frozen=True)
class Phase:
    """Optimizer steps in which one loss trains the same parameters, on a schedule of its own.

    Attributes:
        steps: counted from 0.
        loss: of a micro-batch, as `Objective.loss`.
        trains: whether a parameter is trained, by its name; the others are at rest.
        begins: what people are told when it begins after another one.
    """

    steps: range
    loss: Loss
    trains: Callable[[str], bool] = _everything
    begins: str = ""


ConfigT = TypeVar("ConfigT", bound=ObjectiveConfig)


class Objective(ABC, Generic[ConfigT]):
    """What training minimises. Subclass it, say the loss, and register it.

    By default its windows are a history and the next `horizon` frames, all parameters are trained
    all the time, and validation scores the operator's own prediction.

    Attributes:
        Config: dataclass of its settings; the default of its field `kind` is the name.
        learners: what it learns itself, beside the operator, by name; kept in training states.
        whole: whether it needs parameters that are not sharded.

    Args:
        config: of that type.
    """

    Config: ClassVar[type[ObjectiveConfig]]

    def __init__(self, config: ConfigT) -> None:
        self.config = config
        self.learners: dict[str, Learner] = {}
        self.whole = False

    def meet(self, operator: Operator) -> None:
        """Called once, before windows are made: get ready to train this operator.

        Raises:
            ValueError: it cannot be trained in this way.
        """

    @abstractmethod
    def loss(
        self, model: nn.Module, window: Window, normalizer: Normalizer, seed: int
    ) -> Float[Tensor, ""]:
        """The loss of a micro-batch.

        Args:
            model: the operator, possibly wrapped for distributed training: only call it.
            window: batched, in physical units.
            normalizer: the operator's.
            seed: of whatever is drawn; it depends on the number of the micro-batch alone.
        """

    def windows(self, store: Store, data: DataConfig, operator: Operator) -> Windows:
        """The training windows of one dataset.

        Raises:
            ValueError: the operator cannot learn this, or a trajectory is too short.
        """
        about = operator.description
        return Windows(
            store,
            history=operator.history,
            horizon=self.reach(store),
            stride=data.stride,
            every=data.every,
            selection=Selection(
                fields=about.fields,
                inputs=about.inputs,
                fill=about.channel_fill,
                constant=about.normalizer.constants(store.name),
            ),
        )

    def reach(self, store: Store) -> int:
        """Frames that a window of a store needs after its history."""
        return self.config.reach

    def lead_times(self, step: float, direct: bool) -> tuple[float, ...]:
        """Physical times between two frames of which the operator learns one from the other.

        Args:
            step: physical time between frames.
            direct: whether the operator predicts every lead time directly from the history.
        """
        # Whatever the objective, `forward` of such an operator predicts every lead time directly.
        reach = self.config.horizon if direct else 1
        return tuple(k * step for k in range(1, reach + 1))

    def phases(self, operator: nn.Module, steps: int) -> tuple[Phase, ...]:
        """What is trained when: consecutive phases that cover all `steps`."""
        return (Phase(range(steps), self.loss),)

    def predict(
        self, model: nn.Module, window: Window, normalizer: Normalizer, seed: int, first: int = 0
    ) -> Float[Tensor, "B T C *S"]:
        """The prediction of a batch of windows that validation scores.

        Args:
            model, window, normalizer: as for `loss`.
            seed: of whatever is drawn, the same for all windows of a dataset.
            first: the number of the batch's first window among them. How many are in a batch
                depends on the number of processes; what is drawn for window i must not.
        """
        return model(window)

    def try_out(self, operator: Operator, window: Window, normalizer: Normalizer) -> None:
        """Fail before any work is done where the loss of such a window could not be had.

        Args:
            operator: in evaluation mode.
            window: the first one of a dataset, as a batch.
            normalizer: the operator's.

        Raises:
            ValueError: it could not.
        """

    def begin(self, step: int, seed: int) -> None:
        """Called before every optimizer step, on every process.

        Args:
            step: counted from 0.
            seed: of the order of the data. With the step, of what all micro-batches share: whatever
                decides how often the model is called must be the same on all processes.
        """

    def notes(self) -> Float[Tensor, "M N"] | None:
        """What was noted of this process's micro-batches since the last call, a row each.

        None: there is nothing to learn.
        """
        rows = [learner.take() for learner in self.learners.values()]
        return torch.cat(rows, 1) if rows else None

    def learn(self, notes: Float[Tensor, "M N"]) -> None:
        """Learn from the notes of all micro-batches of a step, in their order."""
        widths = [learner.width for learner in self.learners.values()]
        for learner, rows in zip(self.learners.values(), notes.split(widths, 1), strict=True):
            learner.learn(rows)

    def memory(self) -> dict[str, tuple[float, ...]]:
        """What was learned, for a training state."""
        return {name: tuple(each.state.tolist()) for name, each in self.learners.items()}

    def recall(self, memory: Mapping[str, Sequence[float]]) -> None:
        """Put back what `memory` gave.

        Raises:
            ValueError: it is of another objective.
        """
        sizes = {name: each.state.numel() for name, each in self.learners.items()}
        found = {name: len(values) for name, values in memory.items()}
        if found != sizes:
            raise ValueError(
                f"the training state keeps {found or 'nothing'} for the objective, which learns "
                f"{sizes or 'nothing'}; start the run over"
            )
        for name, values in memory.items():
            self.learners[name].state = torch.tensor(values, dtype=torch.float64)
