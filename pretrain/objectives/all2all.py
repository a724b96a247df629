"""all2all: every ordered pair of frames, one direct prediction each (arXiv 2405.19101)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from jaxtyping import Float
from torch import Tensor, nn

from ...datasets.fields.normalization import Normalizer
from ...datasets.fields.window import Window
from ...datasets.sampling.pairs import Pairs
from ...datasets.sampling.windows import Selection
from ...datasets.stores.store import Store
from ...operators.core.operator import Operator
from .base import Objective, ObjectiveConfig
from .losses import loss_of

if TYPE_CHECKING:
    from ..recipe import DataConfig


@dataclass(frozen=True)
class All2AllConfig(ObjectiveConfig):
    """Pairs of frames, for operators that are continuous in time and see one frame.

    Attributes:
        kind: "all2all".
        horizon: the longest lead time of a pair, in strides: pairs are of the first `horizon` + 1
            frames.
        loss: "vrmse", "relative_l1", "relative_l2", "relative_mse" or "grouped_relative_l1"; see
            `losses`.
        identity: whether pairs of a frame with itself (lead time 0) belong to it.
    """

    kind: Literal["all2all"] = "all2all"
    identity: bool = True


class All2All(Objective[All2AllConfig]):
    """The loss of one frame, predicted directly from another one at any lead time."""

    Config = All2AllConfig

    def loss(
        self, model: nn.Module, window: Window, normalizer: Normalizer, seed: int
    ) -> Float[Tensor, ""]:
        """The loss of the later frames of the pairs."""
        return loss_of(self.config.loss, model(window), window, normalizer)

    def windows(self, store: Store, data: DataConfig, operator: Operator) -> Pairs:
        """All pairs of one dataset.

        Raises:
            ValueError: the operator needs more than one frame or a fixed lead time, or a
                trajectory is too short.
        """
        if data.every != 1:
            raise ValueError("data.every has no meaning for all2all pairs; leave it out")
        if not operator.direct:
            raise ValueError(
                f"all2all needs an operator that predicts any lead time from one frame; "
                f"{operator.name} does not. Use objective.kind: rollout"
            )
        return Pairs(
            store,
            steps=self.config.horizon,
            stride=data.stride,
            identity=self.config.identity,
            selection=Selection(
                fields=operator.description.fields,
                fill=operator.description.channel_fill,
                constant=operator.description.normalizer.constants(store.name),
            ),
        )

    def lead_times(self, step: float, direct: bool) -> tuple[float, ...]:
        """Those of all pairs but a frame with itself."""
        return super().lead_times(step, direct=True)
