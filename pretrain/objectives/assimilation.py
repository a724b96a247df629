"""Training to assimilate: what is measured along a window, and what is minimised.

Each window has its own sensors (a share of the grid points, the same at every step), noise level,
and share α of steps that are measured after a warm-up in which all are; α = 0 is pure prediction.
It starts from its own history or, without knowing it, from the mean of the training data. All of
this is a pure function of the seed of the micro-batch and the window's place in it, so that it does
not depend on the number of processes, and a resumed run draws the same.

    loss = loss of the state + innovation · mean over measured values of ((y − C û^f) / scale)²

The forecast is learned first, from predictions without measurements, and the gain after that with
the forecast as it is: trained together, the gain spoils the forecast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...datasets.base.annotations import (
    AtLeastOne,
    BelowOne,
    Count,
    Fraction,
    NotNegative,
    Positive,
    PositiveFraction,
)
from ...datasets.base.config import Checked
from ...datasets.fields.normalization import Normalizer, Scaling, WindowScaling
from ...datasets.fields.window import Window
from ...datasets.sampling.windows import Windows
from ...datasets.stores.store import Store
from ...operators.assimilation.operator import Feed
from ...operators.core.observation import Observation
from ...operators.core.operator import Operator
from .base import Objective, ObjectiveConfig, Phase
from .losses import loss_of

if TYPE_CHECKING:
    from ..recipe import DataConfig


# Gradients through forecasts take twice the time, and the gain is no better for it on the whole.
_TRUNCATE = 1


@dataclass(frozen=True)
class AssimilationConfig(Checked):
    """What is drawn for every window.

    Attributes:
        warm_up: first steps, all of them measured.
        observed: smallest and largest share α of the later steps that are measured.
        sensors: smallest and largest share of the grid points, drawn in the logarithm.
        noise: smallest and largest standard deviation of the noise, relative to the field's scale
            in the normaliser, drawn in the logarithm.
        exact_start: share of the windows that start from their history. The others start from the
            mean of the training data (from a noisy history with the "window" normaliser, which
            knows no mean, and for operators that need several frames).
        tell_noise: share of the batches in which the operator is told the noise level.
        innovation: weight of the innovation in the loss.
        truncate: steps after which gradients stop; 0: never. Null: 1, so that none go through a
            forecast; or as in the run that is resumed.
        forecast: share of the optimizer steps, the first, that train the forecast alone; the others
            train the gain alone. 0: all train both. Where only one of them is trained at all, there
            is nothing to share.
        forecast_horizon: frames that the first steps predict.
    """

    warm_up: AtLeastOne = 8
    observed: tuple[Fraction, Fraction] = (0.0, 1.0)
    sensors: tuple[PositiveFraction, PositiveFraction] = (0.05, 1.0)
    noise: tuple[Positive, Positive] = (0.01, 0.2)
    exact_start: Fraction = 0.25
    tell_noise: Fraction = 0.9
    innovation: NotNegative = 0.1
    truncate: Count | None = None
    forecast: BelowOne = 0.8
    forecast_horizon: AtLeastOne = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("observed", "sensors", "noise"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"assimilation.{name} needs low ≤ high; got {low:g}, {high:g}")


@dataclass(frozen=True)
class AssimilationObjectiveConfig(ObjectiveConfig):
    """A loss of the analyses along a window, for operators that assimilate.

    Attributes:
        kind: "assimilation".
        horizon: frames along which the operator is given measurements, in strides.
        loss: "vrmse", "relative_l1", "relative_l2", "relative_mse" or "grouped_relative_l1"; see
            `losses`.
        assimilation: what is measured along the windows.
    """

    kind: Literal["assimilation"] = "assimilation"
    assimilation: AssimilationConfig = field(default_factory=AssimilationConfig)

    def as_begun(self, stored: ObjectiveConfig) -> AssimilationObjectiveConfig:
        """Gradients that are truncated as in the run, where nothing else is asked for."""
        if not isinstance(stored, AssimilationObjectiveConfig):
            return self
        asked, known = self.assimilation.truncate, stored.assimilation.truncate
        if asked is not None and (asked, known) != (1, None):  # null means 1
            return self
        return replace(self, assimilation=replace(self.assimilation, truncate=known))


class Assimilation(Objective[AssimilationObjectiveConfig]):
    """First the loss of forecasts without measurements, then that of analyses."""

    Config = AssimilationObjectiveConfig

    def windows(self, store: Store, data: DataConfig, operator: Operator) -> Windows:
        """A history and `horizon` frames, of which some will be measured.

        Raises:
            ValueError: the operator cannot assimilate, or a trajectory is too short.
        """
        if not operator.assimilates:
            raise ValueError(
                f"{operator.name} predicts but cannot assimilate; use operator.name: observer, or "
                f"wrap it: operator: {{name: assimilated, predictor: {{name: {operator.name}, …}}}}"
            )
        return super().windows(store, data, operator)

    def phases(self, operator: nn.Module, steps: int) -> tuple[Phase, ...]:
        """The forecast alone, then the gain alone; or both, all the time."""
        first = forecast_steps(operator, self.config.assimilation, steps)
        if first == 0:
            return super().phases(operator, steps)
        says = "the forecast is learned; from here on the gain is trained"
        return (
            Phase(range(first), self.forecast_loss, _is_forecast),
            Phase(range(first, steps), self.loss, is_gain, says),
        )

    def forecast_loss(
        self, model: nn.Module, window: Window, normalizer: Normalizer, seed: int
    ) -> Float[Tensor, ""]:
        """The loss of the predictions of the first `forecast_horizon` frames."""
        first = slice(self.config.assimilation.forecast_horizon)
        lead_times = window.lead_times[:, first]
        window = replace(window, target=window.target[:, first], lead_times=lead_times)
        return loss_of(self.config.loss, model(window), window, normalizer)

    def loss(
        self, model: nn.Module, window: Window, normalizer: Normalizer, seed: int
    ) -> Float[Tensor, ""]:
        """The loss of the analyses, and of the innovations; see the module's docstring."""
        config = self.config.assimilation
        started, feed = draw_feed(window, config, normalizer, seed)
        run = model(started, feed)
        state = loss_of(self.config.loss, run.analysis, window, normalizer)
        if config.innovation == 0:
            return state
        scaling = normalizer.scaling(window.history, window.fields, window.dataset)
        total, count = state.new_zeros(()), state.new_zeros(())
        for observation, expected in zip(feed.observations, run.expected.unbind(1), strict=True):
            if isinstance(observation, Observation):
                gap = (observation.values - expected) / scaling.scale
                total = total + torch.where(observation.mask, gap, 0).square().sum()
                count = count + observation.mask.sum()
        return state + config.innovation * total / count.clamp_min(1)

    def predict(
        self, model: nn.Module, window: Window, normalizer: Normalizer, seed: int, first: int = 0
    ) -> Float[Tensor, "B T C *S"]:
        """The analyses along a batch of windows."""
        config = self.config.assimilation
        return model(*draw_feed(window, config, normalizer, seed, first)).analysis


def is_gain(name: str) -> bool:
    """Whether a parameter of this name belongs to the gain of an operator that assimilates."""
    return name.startswith("correction.")


def _is_forecast(name: str) -> bool:
    return not is_gain(name)


def forecast_steps(operator: nn.Module, config: AssimilationConfig, steps: int) -> int:
    """How many of the optimizer steps, the first, train the forecast alone."""
    gains = [is_gain(name) for name, p in operator.named_parameters() if p.requires_grad]
    if all(gains) or not any(gains):
        return 0
    return min(round(config.forecast * steps), steps - 1)


def draw_feed(
    window: Window,
    config: AssimilationConfig,
    normalizer: Normalizer,
    seed: int,
    first: int | None = None,
) -> tuple[Window, Feed]:
    """A batch of windows as the operator may see it, and what is measured along it.

    Args:
        window: with the truth as its history and target.
        config: what is drawn.
        normalizer: the operator's; its scale is the unit of noise.
        seed: of the batch,
        first: or of a dataset, of which this is the batch's first window.
    """
    scaling = normalizer.scaling(window.history, window.fields, window.dataset)
    count = len(window.history)
    draws = [_draw(window, config, seed, (first or 0) + i) for i in range(count)]
    device, ones = window.target.device, (1,) * (window.grid.ndim + 1)
    noise = torch.tensor([draw.noise for draw in draws]).reshape(-1, *ones).to(device)
    noise = noise * scaling.scale
    sensors = torch.stack([draw.sensors for draw in draws]).to(device)
    error = torch.stack([draw.error for draw in draws]).to(device)
    of_all = count if first is None else 0  # batches of a dataset are told alike
    tells = float(np.random.default_rng((seed, of_all)).random()) < config.tell_noise
    observations: list[Observation | None] = []
    for t, truth in enumerate(window.target.unbind(1)):
        steps = torch.tensor([draw.steps[t] for draw in draws])
        if not steps.any():
            observations.append(None)
            continue
        mask = sensors & steps.to(device).reshape(-1, *ones)
        told = noise.expand_as(truth) if tells else None
        observations.append(Observation(truth + noise * error[:, t], mask, window.fields, told))
    history, variance = _first_guess(window, draws, scaling, normalizer)
    truncate = _TRUNCATE if config.truncate is None else config.truncate
    return replace(window, history=history), Feed(observations, variance, truncate)


@dataclass(frozen=True)
class _Draw:
    """What is drawn for one window.

    Attributes:
        sensors: (C, *S) bool, where there is a sensor.
        steps: per lead time, whether it is measured.
        noise: standard deviation over the field's scale.
        error: (T, C, *S) unit normal numbers.
        exact: whether the history is known.
    """

    sensors: Tensor
    steps: list[bool]
    noise: float
    error: Tensor
    exact: bool


def _draw(window: Window, config: AssimilationConfig, seed: int, index: int) -> _Draw:
    rng = np.random.default_rng((seed, index))
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    horizon, shape = window.target.shape[1], tuple(window.target.shape[2:])
    low, high = config.observed
    alpha = low + (high - low) * rng.random()
    share, noise = (_log_uniform(rng, *limits) for limits in (config.sensors, config.noise))
    sensors = torch.rand(shape, generator=generator) < share
    sensors.flatten()[int(rng.integers(sensors.numel()))] = True  # one at least
    steps = [t < config.warm_up or bool(u < alpha) for t, u in enumerate(rng.random(horizon))]
    error = torch.randn(horizon, *shape, generator=generator)
    return _Draw(sensors, steps, noise, error, bool(rng.random() < config.exact_start))


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return low * (high / low) ** float(rng.random())


def _first_guess(
    window: Window, draws: Sequence[_Draw], scaling: Scaling, normalizer: Normalizer
) -> tuple[Tensor, Tensor]:
    """History and its variance (B,), in units of the scale squared: known, or not."""
    history, space = window.history, (1,) * (window.history.ndim - 1)
    exact = torch.tensor([draw.exact for draw in draws])
    if history.shape[1] == 1 and normalizer.name != WindowScaling.name:
        guess = scaling.shift.unsqueeze(1).expand_as(history)
        variance = torch.ones(len(draws))
    else:
        error = torch.stack([draw.error[:1] for draw in draws]).to(history)
        noise = torch.tensor([draw.noise for draw in draws])
        guess = history + error * noise.to(history).reshape(-1, *space) * scaling.scale.unsqueeze(1)
        variance = noise.square()
    chosen = exact.to(history.device).reshape(-1, *space)
    variance = torch.where(exact, 0.0, variance)
    return torch.where(chosen, history, guess), variance.to(history)
