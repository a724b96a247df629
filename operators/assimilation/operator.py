"""Operators that assimilate: a forecast, and where something was measured, a correction.

    û^f = forecast(û, dt),        û = û^f + K(û^f, mask, noise)[y − C û^f]

Without a measurement the step is the forecast, to the bit. The state carries the variance of its
own error, from which the gain takes its size (see `correction`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ...datasets.fields.window import Context, Window
from ..core.description import Description
from ..core.observation import Observation, Sensors
from ..core.operator import Operator
from ..core.recognition import recognised_cold
from ..core.state import State
from .correction import LARGEST, Correction
from .ensemble import EnsembleGain, default_radius, ensemble_analysis


@dataclass(frozen=True)
class Feed:
    """What an operator is told while it runs along a window.

    Attributes:
        observations: one per lead time, None where nothing was measured.
        variance: (B,) variance of the error of the history, in units of the fields' scale squared;
            None: the history is exact.
        truncate: steps between detachments of the state from its gradient; 0: none.
    """

    observations: Sequence[Observation | Sensors | None]
    variance: Tensor | None = None
    truncate: int = 0

    def to(self, device: torch.device | str) -> Feed:
        """The same feed on `device`."""
        moved = [None if o is None else o.to(device) for o in self.observations]
        variance = None if self.variance is None else self.variance.to(device)
        return replace(self, observations=moved, variance=variance)


class Analyses(NamedTuple):
    """The states along a window, in physical units.

    Attributes:
        analysis: (B, T, C, *S) after the correction.
        expected: (B, T, C, *S) what the observation operator sampled before it.
    """

    analysis: Tensor
    expected: Tensor


class AssimilatingOperator(Operator):
    """An operator with a `correction`; subclasses say how to forecast."""

    assimilates = True
    correction: Correction

    @abstractmethod
    def forecast(
        self, state: State, dt: Float[Tensor, " B"]
    ) -> tuple[State, Float[Tensor, "B C *S"]]:
        """The state `dt` later as predicted, and its fields.

        Raises:
            ValueError: the operator cannot take this time step.
        """

    def fit_to(
        self, frames: Callable[[], Float[Tensor, "N C *S"]], dataset: str = "", *, fresh: bool
    ) -> None:
        """Fresh: the gain starts with the spectrum of these data; else ranges are widened."""
        (self.fit if fresh else self.widen)(frames(), dataset)

    def fit(self, frames: Float[Tensor, "N C *S"], dataset: str = "") -> None:
        """Take from training data where training starts: errors have the spectrum of the fields.

        Args:
            frames: some of the data, in physical units.
            dataset: their name, where the normaliser scales datasets apart.
        """
        scaled = self._scaled(frames, dataset)
        mean = scaled.mean((0, *range(2, scaled.ndim)), keepdim=True)
        self.correction.fit(scaled - mean)
        self.widen(frames, dataset)

    def widen(self, frames: Float[Tensor, "N C *S"], dataset: str = "") -> None:
        """Learn the range of further data, where the operator minds it; arguments as for `fit`."""

    def _scaled(self, frames: Float[Tensor, "N C *S"], dataset: str) -> Float[Tensor, "N C *S"]:
        normalizer, fields = self.description.normalizer, self.description.fields
        scaling = normalizer.scaling(frames.unsqueeze(1), fields, dataset)
        return (frames - scaling.shift) / scaling.scale

    def step(
        self,
        state: State,
        dt: Float[Tensor, " B"],
        observation: Observation | Sensors | None = None,
    ) -> tuple[State, Float[Tensor, "B C *S"]]:
        """The forecast, corrected by what was measured at its end.

        Raises:
            ValueError: as `forecast`, or the observation does not fit fields, grid or domain.
        """
        return self.correct(*self.ahead(state, dt), observation)

    def step_ensemble(
        self,
        state: State,
        dt: Float[Tensor, " N"],
        observation: Observation | Sensors | None,
        members: int,
        gain: EnsembleGain,
        generator: torch.Generator,
    ) -> tuple[State, Float[Tensor, "N C *S"]]:
        """Forecasts of all members, corrected with their own covariance; see `ensemble`.

        Args:
            state: of N = B · members, the members of a trajectory next to each other.
            dt: physical time.
            observation: with a batch axis of B; None: a forecast.
            members: M, at least 2.
            gain: settings.
            generator: of errors of the model, on the CPU.

        Raises:
            ValueError: as `step`.
        """
        state, fields = self.ahead(state, dt)
        if observation is None:
            return state, fields
        return correct_ensemble(self, state, fields, observation, members, gain, generator)

    # Distributed training wraps `forward`, so it is what a feed goes through too.
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, window: Window, feed: Feed | None = None
    ) -> Tensor | Analyses:
        """Prediction at the window's lead times; with a feed, the analyses along them.

        Raises:
            ValueError: the feed does not have one entry per lead time.
        """
        if feed is None:
            prediction = super().forward(window)
            return prediction + self._anchor() if self.training else prediction
        return _along(self, window, feed)

    def start(
        self,
        history: Float[Tensor, "B T C *S"],
        context: Context | None = None,
        *,
        variance: Tensor | float | None = None,
    ) -> State:
        """As `init`, for a history that is not exact.

        Args:
            history: the first guess.
            context: as for `init`.
            variance: of the error of its last frame, (B,) or one number, in units of the fields'
                scale squared: 0 exact, 1 no better than the mean of the training data.
        """
        state = self.init(history, context)
        if variance is None:
            return state
        values = torch.as_tensor(variance, dtype=history.dtype, device=history.device)
        shape = (history.shape[0], history.shape[2], *(1,) * self.ndim)
        values = values.reshape(-1, *(1,) * (self.ndim + 1)).clamp(0.0, LARGEST)
        return replace(state, variance=values.expand(shape))

    def cold_start(self, context: Context, batch: int = 1) -> State:
        """The state that knows nothing: the mean of the training data, with variance 1.

        Raises:
            ValueError: the normaliser has no mean (it needs "statistics" or "identity").
        """
        context = recognised_cold(context, self.description)
        weight = next(self.parameters())
        shape = (batch, self.history, len(context.fields), *context.grid.shape)
        history = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
        normalizer = self.description.normalizer
        if not normalizer.knows_means:
            raise ValueError(
                f"a cold start needs the mean of the training data, which the {normalizer.name!r} "
                "normaliser does not know; train with the 'statistics' normaliser, or give a "
                "history"
            )
        shift = normalizer.scaling(history, context.fields, context.dataset).shift
        return self.start(history + shift.unsqueeze(1), context, variance=1.0)

    def draw_error(self, state: State, generator: torch.Generator) -> Float[Tensor, "B C *S"]:
        """An error of the state's latest frame, in physical units: smooth, as the gain takes it."""
        scale = self.scaling(state).scale
        assert state.variance is not None
        frame = state.history[:, -1]
        smooth = self.correction.draw(tuple(frame.shape), generator).to(frame)
        return scale * state.variance.sqrt() * smooth

    def deviation(self, state: State) -> Float[Tensor, "B C *S"]:
        """Standard deviation of the error of the latest frame that the gain assumes, physical."""
        frame = state.history[:, -1]
        if state.variance is None:
            return torch.zeros_like(frame)
        return (self.scaling(state).scale * state.variance.sqrt()).expand_as(frame)

    def ahead(self, state: State, dt: Float[Tensor, " B"]) -> tuple[State, Float[Tensor, "B C *S"]]:
        """The forecast, the first half of a step, with its variance.

        Raises:
            ValueError: as `forecast`.
        """
        later, fields = self.forecast(state, dt)
        variance = state.variance
        if variance is None:
            variance = fields.new_zeros(*fields.shape[:2], *(1,) * self.ndim)
        time_scale = self.description.time_scale_of(state.context.dataset)
        variance = self.correction.grow(variance, dt, time_scale)
        return replace(later, variance=variance), fields

    def correct(
        self,
        state: State,
        fields: Float[Tensor, "B C *S"],
        observation: Observation | Sensors | None,
    ) -> tuple[State, Float[Tensor, "B C *S"]]:
        """The second half of a step: what was measured at the end of the forecast, if anything.

        Raises:
            ValueError: the observation does not fit fields, grid or domain.
        """
        if observation is None:
            return state, fields
        scaling, variance = self.scaling(state), state.variance
        if variance is None:  # a start that is exact
            variance = fields.new_zeros(*fields.shape[:2], *(1,) * self.ndim)
        analysis, variance = self.correction(
            fields, observation, state.context, scaling.shift, scaling.scale, variance
        )
        return replace(state.corrected(analysis), variance=variance), analysis

    def _anchor(self) -> Tensor:
        """Zero, with a gradient (of zero) for the parameters that a run without measurements does
        not use: distributed training waits for all of them."""
        sums = [p.sum() for p in self.correction.parameters() if p.requires_grad]
        return 0.0 * torch.stack(sums).sum() if sums else torch.zeros(())


def correct_ensemble(
    operator: AssimilatingOperator,
    state: State,
    fields: Float[Tensor, "N C *S"],
    observation: Observation | Sensors,
    members: int,
    gain: EnsembleGain,
    generator: torch.Generator,
) -> tuple[State, Float[Tensor, "N C *S"]]:
    """The second half of `AssimilatingOperator.step_ensemble`, after the forecast."""
    context, scaling, correction = state.context, operator.scaling(state), operator.correction
    # A scaling that differs between samples is that of the first member.
    shift, scale = (x if len(x) == 1 else x[::members] for x in (scaling.shift, scaling.scale))
    each = fields.unflatten(0, (-1, members))
    measured = correction.measure(each.mean(1), observation, context, shift, scale)
    if gain.radius is None:
        length = correction.correlation_length(context.grid.lengths)
        gain = replace(gain, radius=default_radius(length, members, operator.ndim))
    errors = correction.draw(tuple(fields.shape), generator).to(fields).view_as(each)
    fields = ensemble_analysis(each, measured, scale, context.grid, gain, errors).flatten(0, 1)
    return state.corrected(fields), fields


def require_time(name: str, description: Description) -> None:
    """Refuse a steady problem: it has no state to correct.

    Raises:
        ValueError: the description is that of a steady problem.
    """
    if description.inputs:
        raise ValueError(
            f"{name} assimilates along time and takes no steady problem "
            f"({', '.join(description.inputs)} → {', '.join(description.fields)})"
        )


def _along(operator: AssimilatingOperator, window: Window, feed: Feed) -> Analyses:
    """The analyses along a window, whose last frame of the history is where they start."""
    steps = window.lead_times.diff(dim=1, prepend=torch.zeros_like(window.lead_times[:, :1]))
    if len(feed.observations) != steps.shape[1]:
        raise ValueError(
            f"a feed needs one entry per lead time, {steps.shape[1]}; got {len(feed.observations)}"
        )
    state = operator.start(window.history, window.context, variance=feed.variance)
    analyses, expected = [], []
    for i, (dt, observation) in enumerate(zip(steps.unbind(1), feed.observations, strict=True)):
        if feed.truncate and i and i % feed.truncate == 0:
            state = _detached(state)
        state, forecast = operator.ahead(state, dt)
        scaling = operator.scaling(state)
        expected.append(operator.correction.expect(forecast, scaling.shift, scaling.scale))
        state, analysis = operator.correct(state, forecast, observation)
        if window.context.mask is not None:  # as in a rollout: what is not predicted stays
            analysis = torch.where(window.context.mask, analysis, window.history[:, -1])
            state = state.corrected(analysis)
        analyses.append(analysis)
    analyses[0] = analyses[0] + operator._anchor()
    return Analyses(torch.stack(analyses, 1), torch.stack(expected, 1))


def _detached(state: State) -> State:
    assert state.variance is not None
    return replace(state, history=state.history.detach(), variance=state.variance.detach())
