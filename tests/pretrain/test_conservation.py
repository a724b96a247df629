"""The penalty on means that move."""

import pytest
import torch
from linear_model import Linear, window_of

from pelagos.datasets.fields.normalization import Statistics
from pelagos.operators import create
from pelagos.pretrain.objectives import objective_of
from pelagos.pretrain.objectives.conservation import ConservationConfig
from pelagos.pretrain.objectives.rollout import RolloutConfig

SCALES = Statistics({"*": {"u": 0.0, "v": 0.0}}, {"*": {"u": 2.0, "v": 5.0}})


def window(drift=0.0):
    """Two fields of means 3 and -1, the second of which drifts."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(2, 4, 2, 16, generator=generator, dtype=torch.float64)
    frames -= frames.mean(-1, keepdim=True)
    means = torch.tensor([3.0, -1.0], dtype=torch.float64)[None, None, :, None]
    moving = torch.arange(4, dtype=torch.float64)[None, :, None, None] * torch.tensor(
        [0.0, drift]
    ).reshape(1, 1, 2, 1)
    return window_of(frames + means + moving, fields=("u", "v"))


def test_by_hand():
    """Means are multiplied by 1.1 at every step: u moves by 3 (1.1^k - 1), over a scale of 2."""
    conservation = ConservationConfig(fields=("u",), weight=0.5)
    plain = objective_of(RolloutConfig(horizon=3))
    held = objective_of(RolloutConfig(horizon=3, conservation=conservation))
    values = [each.loss(Linear(1.1), window(), SCALES, 0).item() for each in (plain, held)]
    expected = sum((3 * (1.1**k - 1) / 2) ** 2 for k in (1, 2, 3)) / 3
    assert values[1] - values[0] == pytest.approx(0.5 * expected)


def test_what_is_not_conserved_is_refused():
    operator = create("dymixop", fields=("u", "v"), ndim=1, hidden=2)
    conservation = ConservationConfig(fields=("u", "v"))
    objective = objective_of(RolloutConfig(horizon=3, conservation=conservation))
    objective.meet(operator)
    objective.try_out(operator, window(), SCALES)
    with pytest.raises(ValueError, match=r"the mean of v is not conserved .* drifts by 0\.06"):
        objective.try_out(operator, window(drift=0.1), SCALES)
    other = RolloutConfig(conservation=ConservationConfig(fields=("w",)))
    with pytest.raises(ValueError, match=r"predicts no 'w'"):
        objective_of(other).meet(operator)
    with pytest.raises(ValueError, match="at least one field"):
        ConservationConfig(fields=())
