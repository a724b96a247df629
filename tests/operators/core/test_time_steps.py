"""Which time steps an operator takes."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

from pelagos.operators.core.time_steps import SAME_STEP, TimeSteps, same_step, within

DISCRETE = TimeSteps("still", (0.5, 1.0), continuous=False)
CONTINUOUS = TimeSteps("smooth", (0.5, 1.0), continuous=True)


def test_the_same_up_to_what_float32_loses():
    assert same_step(0.1, float(torch.tensor(0.1)))
    assert same_step(1.0, 1 + 0.9 * SAME_STEP)
    assert not same_step(1.0, 1 + 2 * SAME_STEP)
    assert within(1 + 0.9 * SAME_STEP, 0.5, 1.0)
    assert not within(1 + 2 * SAME_STEP, 0.5, 1.0)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("steps", [DISCRETE, CONTINUOUS])
def test_a_step_must_be_positive_and_finite(steps, value):
    with pytest.raises(ValueError, match=f"dt must be positive and finite; got {value:g}"):
        steps.check_steps(torch.tensor([0.5, value]), None)


def test_a_step_that_was_never_trained_is_refused():
    DISCRETE.check_steps(torch.tensor([0.5, 1.0]), None)
    with pytest.raises(ValueError, match=r"trained at dt = 0\.5, 1 and cannot step by 2"):
        DISCRETE.check_steps(torch.tensor([2.0]), None)
    with pytest.raises(ValueError, match=r"spaced by dt = 0\.5 but the step is 1; still needs"):
        DISCRETE.check_steps(torch.tensor([1.0]), 0.5)
    with pytest.raises(ValueError, match="cannot step by 2"):
        DISCRETE.check_spacing(2.0)
    TimeSteps("still", (), continuous=False).check_steps(torch.tensor([2.0]), None)


def test_outside_the_trained_range_a_continuous_operator_warns_once():
    CONTINUOUS.check_steps(torch.tensor([0.5, 0.7, 1.0]), 3.0)  # warnings are errors here
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        CONTINUOUS.check_steps(torch.tensor([3.0, 2.0, 0.6]), None)
    [warning] = caught
    assert "time step 2 is outside the trained range 0.5 … 1" in str(warning.message)
    TimeSteps("smooth", (), continuous=True).check_steps(torch.tensor([9.0]), None)


def test_the_lead_time_of_the_given_frame_is_zero():
    CONTINUOUS.check_leads(torch.tensor([[0.0, 0.5], [1.0, 0.0]]))
    with pytest.warns(UserWarning, match="lead time 2 is outside"):
        CONTINUOUS.check_leads(torch.tensor([[0.0, 2.0]]))
    with pytest.raises(ValueError, match="got -1"):
        CONTINUOUS.check_leads(torch.tensor([[-1.0]]))
