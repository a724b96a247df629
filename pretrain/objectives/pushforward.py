"""Pushforward: learn from the states that the operator itself leads to (arXiv 2202.03376).

    r ~ U{0, …, N},   û = F^r(history) without gradient,   loss of F(û) against the frames after it

r is drawn once per optimizer step, as published, from the seed of the data's order and the step. A
step costs r further evaluations without gradient, N/2 in the mean; memory is that of `horizon`
frames, whatever N is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ...datasets.base.annotations import AtLeastOne, Count
from ...datasets.fields.window import Window
from ...datasets.sampling.windows import Windows
from ...datasets.stores.store import Store
from ...operators.core.operator import Operator
from .chain import following, part
from .unrolled import Unrolled, UnrolledConfig, refuse_steady

if TYPE_CHECKING:
    from ..recipe import DataConfig

_CALLS = 0x63616C6C73  # draws of its own


@dataclass(frozen=True)
class PushforwardConfig(UnrolledConfig):
    """Calls without gradient, then a prediction with one.

    Attributes:
        kind: "pushforward".
        horizon: frames to predict with a gradient, in strides; 1 as published.
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
        calls: N, the most frames that are predicted without gradient before.
        rise: optimizer steps after which the most of them grows by one, from 0 up to `calls`; 0: it
            is `calls` from the start.
    """

    kind: Literal["pushforward"] = "pushforward"
    calls: AtLeastOne = 1
    rise: Count = 0

    @property
    def reach(self) -> int:
        """Frames that a window needs after its history."""
        return self.calls + self.horizon


class Pushforward(Unrolled[PushforwardConfig]):
    """The loss of a prediction from frames that the operator has predicted."""

    Config = PushforwardConfig

    def __init__(self, config: PushforwardConfig) -> None:
        super().__init__(config)
        self.calls = 0

    def windows(self, store: Store, data: DataConfig, operator: Operator) -> Windows:
        """A history and the next `calls` + `horizon` frames.

        Raises:
            ValueError: the problem is steady, or a trajectory is too short.
        """
        refuse_steady(self.config.kind, store)
        return super().windows(store, data, operator)

    def begin(self, step: int, seed: int) -> None:
        """Draw r."""
        super().begin(step, seed)
        config = self.config
        most = min(config.calls, step // config.rise) if config.rise else config.calls
        self.calls = int(np.random.default_rng((seed, step, _CALLS)).integers(most + 1))

    def unroll(self, model: nn.Module, window: Window) -> tuple[Tensor, Window]:
        """The frames after the first r, from those r as predicted."""
        history = window.history
        with torch.no_grad():
            for k in range(self.calls):
                history = following(history, model(part(window, history, k, 1)))
        last = part(window, history, self.calls, self.horizon)
        return model(last), last
