"""Rollout: from every window's history, the next `horizon` frames.

The gradient goes back through all of them, and memory grows with the horizon; or, with `truncate`,
through so many frames at a time: the prediction goes on from detached frames, memory still grows
with the horizon (every part is kept until the backward pass), but errors do not explode backwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from ...datasets.base.annotations import Count
from ...datasets.fields.window import Window
from ...datasets.sampling.windows import Windows
from ...datasets.stores.store import Store
from ...operators.core.operator import Operator
from .chain import following, part
from .unrolled import Unrolled, UnrolledConfig

if TYPE_CHECKING:
    from ..recipe import DataConfig


@dataclass(frozen=True)
class RolloutConfig(UnrolledConfig):
    """A loss of the unrolled prediction, through which gradients flow.

    Attributes:
        kind: "rollout".
        horizon: frames to predict, in strides.
        loss: "vrmse", "relative_l1", "relative_l2", "relative_mse" or "grouped_relative_l1"; see
            `losses`.
        noise: standard deviation of noise on the history, over the field's scale in the normaliser.
        curriculum: how the horizon grows along training; null: it is the same at every step.
        leads: how lead times are weighted; null: all the same.
        jacobian: a penalty on the Jacobian of the one-step map; null: none.
        conservation: a penalty on means over the domain that move; null: none.
        residual: a penalty on what predictions leave of the equation; null: none.
        thin: each micro-batch is seen on every k-th point of the grid only, k one of these drawn
            anew, as in [1, 2]; empty: all points.
        truncate: frames after which the gradient is cut; 0: never.
    """

    kind: Literal["rollout"] = "rollout"
    truncate: Count = 0


class Rollout(Unrolled[RolloutConfig]):
    """The loss of the operator's prediction at all lead times of a window."""

    Config = RolloutConfig

    def windows(self, store: Store, data: DataConfig, operator: Operator) -> Windows:
        """A history and the next `horizon` frames.

        Raises:
            ValueError: the gradient is to be cut in a prediction that is not fed back, or a
                trajectory is too short.
        """
        if self.config.truncate and operator.direct:
            raise ValueError(
                f"objective.truncate has no meaning for {operator.name}, which predicts every lead "
                "time directly; leave it out, or use objective.kind: pushforward"
            )
        return super().windows(store, data, operator)

    def unroll(self, model: nn.Module, window: Window) -> tuple[Tensor, Window]:
        """The prediction of all frames, its gradient cut where it should be."""
        window = part(window, window.history, 0, self.horizon)
        length = self.config.truncate or self.horizon
        if length >= self.horizon:
            return model(window), window
        history, pieces = window.history, []
        for first in range(0, self.horizon, length):
            pieces.append(model(part(window, history, first, length)))
            history = following(history, pieces[-1].detach())
        return torch.cat(pieces, 1), window
