"""A live estimate: one measurement after another, constant memory.

assimilator = Assimilator(operator, context, members=20)
estimate = assimilator.step(time, sensors)      # analysis at the time of the measurement
estimate = assimilator.step(later)              # forecast
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ...datasets.fields.window import Context
from ...operators.assimilation.comparing import innovations_of
from ...operators.assimilation.ensemble import EnsembleGain
from ...operators.assimilation.measurement import Innovations
from ...operators.assimilation.operator import correct_ensemble
from ...operators.core.observation import Observation, Sensors
from ...operators.core.operator import Operator
from ...operators.core.state import State
from ...operators.core.time_steps import SAME_STEP
from .start import require_assimilating

MOST_STEPS = 10_000  # of the operator from one time to the next


@dataclass(frozen=True)
class Estimate:
    """What is known of the fields at one time, in physical units.

    Attributes:
        time: physical time.
        mean: (C, *S) the estimate; of an ensemble, its mean.
        spread: (C, *S) standard deviation: of an ensemble's members (unbiased), else what the gain
            takes for the standard deviation of the error.
        members: (M, C, *S) the ensemble, or the single estimate.
        innovations: what was measured beside the forecast of it; None where nothing was.
    """

    time: float
    mean: Tensor
    spread: Tensor
    members: Tensor
    innovations: Innovations | None = None


class Assimilator:
    """Advances an estimate to any later time, with or without a measurement there.

    An ensemble starts from perturbed states; measurements count by the covariance of its members
    (see `operators/ensemble`), and its spread is an estimate of the error.

    Args:
        operator: one that assimilates.
        context: fields, grid, parameters, …, with a batch axis of 1 in its tensors.
        time: physical time of the start.
        history: (1, T, C, *S) frames up to that time; None: nothing is known, and the start is the
            mean of the training data.
        variance: of the error of the start in units of the fields' scale squared; by default 0 for
            a history (exact) and 1 without.
        members: of the ensemble; 1: no ensemble, and the operator's own gain.
        gain: how an ensemble's covariance is used; by default found from the operator's error
            spectrum and the innovations.
        seed: of its perturbations.

    Raises:
        ValueError: the operator only predicts; the history does not fit, or there is none and the
            operator knows no mean; or a `gain` without an ensemble.
    """

    def __init__(
        self,
        operator: Operator,
        context: Context,
        *,
        time: float = 0.0,
        history: Float[Tensor, "1 T C *S"] | None = None,
        variance: float | None = None,
        members: int = 1,
        gain: EnsembleGain | None = None,
        seed: int = 0,
    ) -> None:
        known = require_assimilating(operator).eval()
        if members < 1:
            raise ValueError(f"members must be at least 1; got {members}")
        if gain is not None and members == 1:
            raise ValueError(
                "radius, relaxation and model error are those of an ensemble, and one member uses "
                "the operator's own gain; ask for more members, such as 20"
            )
        self.operator, self.time, self.members = known, time, members
        self.gain = gain or EnsembleGain()
        self.generator = torch.Generator().manual_seed(seed)
        wide = context.map(lambda tensor: tensor.expand(members, *tensor.shape[1:]))
        with torch.inference_mode():
            if history is None:
                state = known.cold_start(wide, members)
            else:
                frames = history.expand(members, *history.shape[1:])
                state = known.start(frames, wide, variance=variance)
            if members > 1 and state.variance is not None:
                error = known.draw_error(state, self.generator)
                state = replace(state, history=state.history + error.unsqueeze(1))
        self.state = state
        # What is not predicted stays as it was given, as in a rollout.
        self._given = None if history is None else history[:, -1].expand_as(state.history[:, -1])

    def step(self, time: float, observation: Observation | Sensors | None = None) -> Estimate:
        """The estimate at `time`, corrected by what was measured then.

        Args:
            time: later than that of the estimate: by any amount if the operator is continuous in
                time (in steps of at most its longest trained one), else by a multiple of its step;
                or, for a measurement, that of the estimate.
            observation: with a batch axis of 1; None: a forecast.

        Raises:
            ValueError: the time is not later, too far or no multiple, or the measurement has no
                finite values, does not fit fields, grid or domain, or makes the estimate infinite.
                The estimate stays as it was.
        """
        here = observation is not None and time == self.time
        dt, count = (0.0, 0) if here else self._steps(time)
        _require_finite(observation)
        with torch.inference_mode(), warnings.catch_warnings():
            # Times of measurements are what they are: steps shorter than the trained one belong.
            warnings.filterwarnings("ignore", message="time step .* is outside the trained range")
            steps = torch.full((self.members,), dt, dtype=torch.float64)
            steps = steps.to(self.state.time.dtype)
            state, fields = self.state, self.state.history[:, -1]
            found = None
            for i in range(count):
                state, fields = self.operator.ahead(state, steps)
                if observation is None or i + 1 < count:
                    state, fields = self._kept(state, fields)
            if observation is not None:
                found = innovations_of(self.operator, state, fields, observation, self.gain)
                state, fields = self._kept(*self._correct(state, fields, observation))
            if not fields.isfinite().all():
                raise ValueError(f"the estimate at time {time:g} is not finite{_why(observation)}")
            self.state, self.time = state, time
            return Estimate(time, fields.mean(0), self._spread(fields), fields, found)

    def reach(self) -> float:
        """The longest time from one estimate to the next."""
        trained = self.operator.description.time_steps
        return MOST_STEPS * max(trained) if trained else math.inf

    def _correct(
        self, state: State, fields: Tensor, observation: Observation | Sensors
    ) -> tuple[State, Tensor]:
        if self.members == 1:
            return self.operator.correct(state, fields, observation)
        return correct_ensemble(
            self.operator, state, fields, observation, self.members, self.gain, self.generator
        )

    def _kept(self, state: State, fields: Tensor) -> tuple[State, Tensor]:
        """What is not predicted as it was given."""
        mask = state.context.mask
        if mask is None or self._given is None:
            return state, fields
        fields = torch.where(mask.to(fields.device), fields, self._given.to(fields))
        return state.corrected(fields), fields

    def _steps(self, time: float) -> tuple[float, int]:
        """Length and number of steps to `time`."""
        gap = time - self.time
        if not (gap > 0 and math.isfinite(gap)):
            raise ValueError(f"time {time:g} is not after that of the estimate, {self.time:g}")
        trained = self.operator.description.time_steps
        if not trained:
            return gap, 1
        if gap > self.reach():
            raise ValueError(
                f"time {time:g} is {gap:g} after the estimate, more than {MOST_STEPS:,} steps of "
                f"this {self.operator.name} (of {max(trained):g}); check the time and its unit"
            )
        if self.operator.continuous:
            count = max(1, math.ceil(gap / max(trained) * (1 - SAME_STEP)))
            return gap / count, count
        for dt in sorted(trained, reverse=True):
            count = round(gap / dt)
            if count and abs(count * dt - gap) <= SAME_STEP * dt * max(1.0, count**0.5):
                return dt, count
        raise ValueError(
            f"time {time:g} is {gap:g} after the estimate, no multiple of the time step(s) "
            f"{', '.join(f'{dt:g}' for dt in trained)} of this {self.operator.name}; use an "
            "observer with exponential dynamics for irregular times"
        )

    def _spread(self, fields: Float[Tensor, "M C *S"]) -> Float[Tensor, "C *S"]:
        if self.members > 1:
            return fields.std(0)
        return self.operator.deviation(self.state)[0].expand(fields.shape[1:])


def _why(observation: Observation | Sensors | None) -> str:
    """What may have made an estimate infinite."""
    if observation is None:
        return "; the forecast diverges"
    largest = observation.measured.abs().max().item() if observation.measured.numel() else 0.0
    return f"; the largest measured value is {largest:g}: correct or leave out what is wrong"


def _require_finite(observation: Observation | Sensors | None) -> None:
    if observation is not None and not observation.measured.isfinite().all():
        raise ValueError("the measured values must be finite; mask what was not measured")
