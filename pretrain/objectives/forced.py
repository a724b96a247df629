"""Generalised teacher forcing: states of the operator, drawn towards the data (arXiv 2306.04406).

    z_{k+1} = F(z̃_k),    z̃_k = (1 − α) z_k + α z̄_k,    z̄ the stored frames, loss of z against z̄

α = 1 is teacher forcing, α = 0 the free rollout. The gradient goes back through the chain with a
factor 1 − α per step, which keeps it bounded where the dynamics are chaotic if 1 − α ≤ 1/σ, with σ
how much an error can grow in a step. So α follows α* = max(0, 1 − 1/σ): it starts at 1, and every
`every` steps becomes α* where that is larger, else γ α + (1 − γ) α*.

σ is the geometric mean along the window of the largest singular value of the Jacobian of a step
(from all frames that the operator sees, in units of the normaliser's scale), by power iteration
with products J v and Jᵀ v at the stored frames; the largest of all windows of the step counts. α
is kept in training states.

Cost: `horizon` evaluations one by one, and memory that grows with it; an estimate costs about
4 · iterations evaluations per frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from ...datasets.base.annotations import AtLeastOne, Fraction
from ...datasets.fields.normalization import Normalizer
from ...datasets.fields.window import Window
from ...datasets.sampling.windows import Windows
from ...datasets.stores.store import Store
from ...operators.core.operator import Operator
from .chain import following, part
from .learning import Learner
from .noise import normal
from .tangents import pulled, pushed
from .unrolled import Unrolled, UnrolledConfig, refuse_steady

if TYPE_CHECKING:
    from ..recipe import DataConfig

_DIRECTION = 0x646972  # draws of its own


@dataclass(frozen=True)
class ForcedConfig(UnrolledConfig):
    """A rollout whose states are drawn towards the data.

    Attributes:
        kind: "forced".
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
        alpha: share of the data in every state; null: it follows how fast errors grow.
        every: optimizer steps between two estimates of that growth.
        gamma: share of the old value, where the estimate is a smaller one.
        iterations: of the power iteration.
    """

    kind: Literal["forced"] = "forced"
    alpha: Fraction | None = None
    every: AtLeastOne = 5
    gamma: Fraction = 0.999
    iterations: AtLeastOne = 3


class Share(Learner):
    """α; a row of notes is the growth in a micro-batch, or nan where none was estimated."""

    def __init__(self, gamma: float) -> None:
        super().__init__(1, torch.ones(1, dtype=torch.float64))
        self.gamma = gamma

    def learned(
        self, state: Float64[Tensor, " N"], rows: Float64[Tensor, "M W"]
    ) -> Float64[Tensor, " N"]:
        """The share after estimates of growth."""
        finite = rows.isfinite()
        growth = torch.where(finite, rows, 1.0).amax(0)
        best = (1 - 1 / growth).clamp_min(0.0)
        annealed = torch.where(best > state, best, self.gamma * state + (1 - self.gamma) * best)
        return torch.where(finite.any(), annealed, state)


class Forced(Unrolled[ForcedConfig]):
    """The loss of predictions from states that are drawn towards the data."""

    Config = ForcedConfig

    def __init__(self, config: ForcedConfig) -> None:
        super().__init__(config)
        self._estimates = False
        self._share = Share(config.gamma)
        if config.alpha is None:
            self.whole = True
            self.learners["forced"] = self._share
        else:
            self._share.state.fill_(config.alpha)

    def windows(self, store: Store, data: DataConfig, operator: Operator) -> Windows:
        """A history and the next `horizon` frames.

        Raises:
            ValueError: the problem is steady, or a trajectory is too short.
        """
        refuse_steady(self.config.kind, store)
        return super().windows(store, data, operator)

    def lead_times(self, step: float, direct: bool) -> tuple[float, ...]:
        """One time step, also of an operator that could predict further."""
        return (step,)

    def try_out(self, operator: Operator, window: Window, normalizer: Normalizer) -> None:
        """One forward-mode pass, where α follows the growth of errors.

        Raises:
            ValueError: the operator has no forward mode.
        """
        super().try_out(operator, window, normalizer)
        if self.config.alpha is None:
            growth(operator, part(window, window.history, 0, 1), normalizer, 0, 1)

    def begin(self, step: int, seed: int) -> None:
        """Whether growth is estimated at this step."""
        super().begin(step, seed)
        self._estimates = self.config.alpha is None and step % self.config.every == 0

    def loss(
        self, model: nn.Module, window: Window, normalizer: Normalizer, seed: int
    ) -> Float[Tensor, ""]:
        """The loss of the unforced predictions; notes the growth of errors where it is due."""
        if self._estimates:
            ahead = part(window, window.history, 0, self.horizon)
            found = growth(model, ahead, normalizer, seed, self.config.iterations).amax()
        else:
            found = torch.full((), torch.nan, device=window.history.device)
        if self.config.alpha is None:
            self._share.note(found.reshape(1))
        return super().loss(model, window, normalizer, seed)

    def unroll(self, model: nn.Module, window: Window) -> tuple[Tensor, Window]:
        """Step by step, each from a state drawn towards the data."""
        alpha, history, steps = self._share.state.to(window.history), window.history, []
        for k in range(self.horizon):
            steps.append(model(part(window, history, k, 1)))
            mixed = torch.lerp(steps[-1], window.target[:, k : k + 1], alpha)
            history = following(history, mixed)
        return torch.cat(steps, 1), part(window, window.history, 0, self.horizon)

    def starts(self, prediction: Tensor, window: Window) -> Tensor:
        """The states, drawn towards the data."""
        alpha = self._share.state.to(prediction)
        mixed = torch.lerp(prediction[:, :-1], window.target[:, : prediction.shape[1] - 1], alpha)
        return torch.cat((window.history[:, -1:], mixed), 1)


def growth(
    model: nn.Module, window: Window, normalizer: Normalizer, seed: int, iterations: int
) -> Float[Tensor, " B"]:
    """How much an error can grow in a step, in the geometric mean along the windows of a batch."""
    context, history, logs = window.context, window.history, []
    scaling = normalizer.scaling(history, context.fields, context.dataset)
    scale, start = scaling.scale.unsqueeze(1), normal(history, seed, _DIRECTION)
    for k in range(window.target.shape[1]):
        one, v = part(window, history, k, 1), start
        for _ in range(iterations - 1):
            v = pulled(model, one, _pushed(model, one, v, scale) / scale) * scale
        logs.append(_pushed(model, one, v, scale).flatten(1).norm(dim=1).log())
        history = following(history, window.target[:, k : k + 1])
    return torch.stack(logs).mean(0).exp()


@torch.no_grad()
def _pushed(
    model: nn.Module, window: Window, v: Float[Tensor, "B T C *S"], scale: Tensor
) -> Float[Tensor, "B K C *S"]:
    """J of the scaled map times v / ‖v‖."""
    size = v.flatten(1).norm(dim=1).clamp_min(torch.finfo(v.dtype).tiny)
    return pushed(model, window, v * scale / size.reshape(-1, *(1,) * (v.ndim - 1))) / scale
