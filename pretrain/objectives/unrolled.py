"""What objectives that predict along a window share: noise, a growing horizon, weighted lead times.

The horizon at an optimizer step is the same for all micro-batches and processes.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...datasets.base.annotations import AtLeastOne, NotNegative
from ...datasets.fields.normalization import Normalizer
from ...datasets.fields.window import Window
from ...datasets.sampling.windows import Windows
from ...datasets.stores.store import Store
from ...operators.core.operator import Operator
from .base import Objective, ObjectiveConfig
from .conservation import ConservationConfig, drift, require_conserved
from .curriculum import CurriculumConfig
from .jacobian import JacobianConfig, JacobianPenalty, row_norms
from .leads import LeadsConfig, LeadWeights
from .losses import loss_of
from .noise import noisy
from .residual import ResidualConfig, ResidualPenalty
from .thinning import drawn, require_thinnable, thinned

if TYPE_CHECKING:
    from ..recipe import DataConfig


@dataclass(frozen=True)
class UnrolledConfig(ObjectiveConfig):
    """Settings of every objective that predicts along a window.

    Attributes:
        noise: standard deviation of noise on the history, over the field's scale in the normaliser.
        curriculum: how the horizon grows along training; null: it is the same at every step.
        leads: how lead times are weighted; null: all the same.
        jacobian: a penalty on the Jacobian of the one-step map; null: none.
        conservation: a penalty on means over the domain that move; null: none.
        residual: a penalty on what predictions leave of the equation; null: none.
        thin: each micro-batch is seen on every k-th point of the grid only, k one of these drawn
            anew, as in [1, 2]; empty: all points.
    """

    noise: NotNegative = 0.0
    curriculum: CurriculumConfig | None = None
    leads: LeadsConfig | None = None
    jacobian: JacobianConfig | None = None
    conservation: ConservationConfig | None = None
    residual: ResidualConfig | None = None
    thin: tuple[AtLeastOne, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        start = 1 if self.curriculum is None else self.curriculum.start
        if start > self.horizon:
            raise ValueError(
                f"objective.curriculum.start ({start}) must not exceed objective.horizon "
                f"({self.horizon}), to which the horizon grows"
            )


ConfigT = TypeVar("ConfigT", bound=UnrolledConfig)


def refuse_steady(kind: str, store: Store) -> None:
    """Refuse a steady problem, whose solution leads nowhere.

    Raises:
        ValueError: it is one.
    """
    if store.steady:
        raise ValueError(
            f"objective.kind {kind} feeds predictions back, and {store.name} is a steady problem; "
            "use objective.kind: rollout"
        )


class Unrolled(Objective[ConfigT]):
    """The loss of a prediction along a window; subclasses say how it is made.

    Args:
        config: of its type.
    """

    def __init__(self, config: ConfigT) -> None:
        super().__init__(config)
        self.horizon = config.horizon
        self._leads = None
        if config.leads is not None:
            self._leads = LeadWeights(config.leads, config.horizon)
            if self._leads.scales is not None:
                self.learners["leads"] = self._leads.scales
        self._jacobian: JacobianPenalty | None = None
        self.whole = config.jacobian is not None
        self._residual = None if config.residual is None else ResidualPenalty(config.residual)

    def meet(self, operator: Operator) -> None:
        """Get ready for its fields.

        Raises:
            ValueError: a field whose mean should stay the same is not among them.
        """
        if self.config.conservation is not None:
            self.config.conservation.require(operator.description.fields)
        if self.config.jacobian is None:
            return
        fields = len(operator.description.fields)
        self._jacobian = JacobianPenalty(self.config.jacobian, fields)
        if self._jacobian.rows is not None:
            self.learners["jacobian"] = self._jacobian.rows

    def windows(self, store: Store, data: DataConfig, operator: Operator) -> Windows:
        """As `Objective.windows`.

        Raises:
            ValueError: a trajectory is too short, or the equation of the dataset is needed and not
                known.
        """
        if self._residual is not None:
            self._residual.know(store, operator.description.fields)
        return super().windows(store, data, operator)

    def try_out(self, operator: Operator, window: Window, normalizer: Normalizer) -> None:
        """One forward-mode pass, where the penalty on the Jacobian needs it.

        Raises:
            ValueError: the operator has no forward mode, what should be conserved is not, stored
                frames miss the equation, or the operator cannot predict on a thinned grid.
        """
        require_thinnable(operator, window, self.config.thin)
        if self._residual is not None:
            for every in self.config.thin or (1,):
                self._residual.try_out(thinned(window, every))
        if self.config.conservation is not None:
            require_conserved(window, self.config.conservation.fields, normalizer)
        if self.config.jacobian is not None:
            row_norms(operator, window, normalizer, 0, 1)

    def begin(self, step: int, seed: int) -> None:
        """Choose the horizon of the step."""
        curriculum, horizon = self.config.curriculum, self.config.horizon
        self.horizon = horizon if curriculum is None else curriculum.horizon(step, horizon)

    @abstractmethod
    def unroll(self, model: nn.Module, window: Window) -> tuple[Tensor, Window]:
        """The prediction of `self.horizon` frames, and the window whose target they should be."""

    def starts(
        self, prediction: Float[Tensor, "B T C *S"], window: Window
    ) -> Float[Tensor, "B T C *S"]:
        """The frame from which each one of what `unroll` gave was predicted."""
        return torch.cat((window.history[:, -1:], prediction[:, :-1]), 1)

    def loss(
        self, model: nn.Module, window: Window, normalizer: Normalizer, seed: int
    ) -> Float[Tensor, ""]:
        """The loss of the prediction, lead times weighted, and the penalties."""
        window = drawn(window, self.config.thin, seed)
        window = replace(window, history=noisy(window, self.config.noise, normalizer, seed))
        prediction, truth = self.unroll(model, window)
        loss = self._weighted(prediction, truth, normalizer)
        conserved = self.config.conservation
        if conserved is not None:
            moved = drift(prediction, window, conserved.fields, normalizer)
            loss = loss + conserved.weight * moved.square().mean()
        if self._residual is not None:
            starts = self.starts(prediction, truth)
            left = self._residual(starts, prediction, truth, normalizer)
            loss = loss + self._residual.config.weight * left
        if self._jacobian is not None:
            penalty = self._jacobian(model, window, normalizer, seed)
            loss = loss + self._jacobian.config.weight * penalty
        return loss

    def _weighted(
        self, prediction: Float[Tensor, "B T C *S"], truth: Window, normalizer: Normalizer
    ) -> Float[Tensor, ""]:
        if self._leads is None:
            return loss_of(self.config.loss, prediction, truth, normalizer)
        losses = []
        for k in range(prediction.shape[1]):
            at = slice(k, k + 1)
            leads, target = truth.lead_times[:, at], truth.target[:, at]
            one = replace(truth, target=target, lead_times=leads)
            losses.append(loss_of(self.config.loss, prediction[:, at], one, normalizer))
        return self._leads.mean(torch.stack(losses))
