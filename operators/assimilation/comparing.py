"""Readings beside what an operator's forecast expects of them."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from ..core.observation import Observation, Sensors
from ..core.state import State
from .ensemble import EnsembleGain, assumed_variance
from .measurement import Innovations, NoiseModel, innovations
from .operator import AssimilatingOperator


def innovations_of(
    operator: AssimilatingOperator,
    state: State,
    fields: Float[Tensor, "M C *S"],
    observation: Observation | Sensors,
    gain: EnsembleGain,
) -> Innovations:
    """Innovations of a forecast, and how large they may be by its spread and the noise.

    Of an ensemble the spread has the error of the model that its gain adds.

    Args:
        operator: with its correction.
        state, fields: of the forecast, one trajectory or the members of one.
        observation: with a batch axis of 1.
        gain: of an ensemble.

    Raises:
        ValueError: the observation does not fit fields, grid or domain.
    """
    context, scaling, correction = state.context, operator.scaling(state), operator.correction
    shift, scale = scaling.shift[:1], scaling.scale[:1]
    mean = fields.mean(0, keepdim=True)
    if len(fields) == 1:
        spread = operator.deviation(state).square()
    else:
        measured = correction.measure(mean, observation, context, shift, scale)
        spread = assumed_variance(fields[None], measured, scale, gain)
    model = NoiseModel(correction.unknown.exp(), correction.extra.exp())
    expected = correction.expect(mean, shift, scale)
    return innovations(observation, expected, spread, context, scale, model)
