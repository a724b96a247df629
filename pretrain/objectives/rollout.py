"""Rollout: from every window's history, the next `horizon` frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from ...datasets.fields.normalization import Normalizer
from ...datasets.fields.window import Window
from .base import Objective, ObjectiveConfig
from .losses import loss_of


@dataclass(frozen=True)
class RolloutConfig(ObjectiveConfig):
    """A loss of the unrolled prediction, through which gradients flow.

    Attributes:
        kind: "rollout".
        horizon: frames to predict, in strides.
        loss: "vrmse", "relative_l1", "relative_l2", "relative_mse" or "grouped_relative_l1"; see
            `losses`.
    """

    kind: Literal["rollout"] = "rollout"


class Rollout(Objective[RolloutConfig]):
    """The loss of the operator's prediction at all lead times of a window."""

    Config = RolloutConfig

    def loss(
        self, model: nn.Module, window: Window, normalizer: Normalizer, seed: int
    ) -> Float[Tensor, ""]:
        """The loss of the prediction of all frames."""
        return loss_of(self.config.loss, model(window), window, normalizer)
