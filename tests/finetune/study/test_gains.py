"""EG and AG on power laws, whose gains are known in closed form."""

import math

import numpy as np
import pytest

from pelagos.finetune.study.gains import (
    Value,
    accuracy_gain,
    curve,
    fit,
    gain,
    needed,
    resamples,
    sample_gain,
    sample_gain_of_fits,
)

COUNTS = [1, 2, 4, 8, 16, 32, 64]
M = np.array(COUNTS, float)


def law(factor, rate):
    return factor * M**-rate


@pytest.mark.parametrize(("factor", "rate"), [(0.8, 0.5), (3.0, 0.25), (0.02, 1.0)])
def test_a_power_law_is_fitted_exactly(factor, rate):
    found = fit(COUNTS, law(factor, rate))
    assert found.factor == pytest.approx(factor)
    assert found.rate == pytest.approx(rate)
    assert found.residual == pytest.approx(0, abs=1e-12)
    assert found.points == 7


def test_the_residual_is_that_of_the_logarithms():
    errors = law(1.0, 0.5) * np.exp([0.1, -0.1, -0.1, 0.2, -0.1, -0.1, 0.1])
    found = fit(COUNTS, errors)
    assert found.residual == pytest.approx(np.std(np.log(errors) + found.rate * np.log(M)))


@pytest.mark.parametrize("measure", [sample_gain, sample_gain_of_fits])
@pytest.mark.parametrize("place", [3, 5, 6])
def test_sample_gain_of_parallel_laws(measure, place):
    """E = C M^-a and C k M^-a: the baseline needs k^(1/a) times the trajectories."""
    found = measure(COUNTS, law(0.5, 0.5), law(0.5 * math.sqrt(5), 0.5), place)
    assert found.relation == "="
    assert found.number == pytest.approx(5)


@pytest.mark.parametrize("measure", [sample_gain, sample_gain_of_fits])
def test_sample_gain_of_laws_of_two_rates(measure):
    """M = (C_m / E_b(S))^(1/a_m), here (1/2 · 64^0.5)^(1/0.75) of 64."""
    found = measure(COUNTS, law(1.0, 0.75), law(2.0, 0.5), 6)
    assert found.number == pytest.approx(64 / (0.5 * 64**0.5) ** (1 / 0.75))


def test_accuracy_gain_is_the_ratio_of_errors():
    found = accuracy_gain(COUNTS, law(0.3, 0.5), law(0.9, 0.25), 3)
    assert found.number == pytest.approx(0.9 * 8**-0.25 / (0.3 * 8**-0.5))


@pytest.mark.parametrize("measure", [sample_gain, sample_gain_of_fits])
def test_curves_that_never_cross_give_bounds(measure):
    better, worse = law(0.1, 0.5), law(10.0, 0.5)
    assert str(measure(COUNTS, better, worse, 6)) == "> 64"
    assert str(measure(COUNTS, worse, better, 6)) == "< 1"
    assert measure(COUNTS, better, worse, 3) == Value(8.0, ">")


def test_interpolation_is_on_straight_lines_in_logarithms():
    found = needed([1, 4, 16], np.array([1.0, 0.25, 0.25]), 0.5)
    assert found.number == pytest.approx(2.0)
    assert needed([1, 4, 16], np.array([1.0, 0.25, 0.2]), 0.25) == Value(4.0)


def test_an_error_that_grows_with_data_does_not_count_twice():
    """The best with at most so many trajectories, of both curves."""
    model = np.array([0.5, 0.9, 0.4, 0.4, 0.4, 0.4, 0.2])
    assert needed(COUNTS, model, 0.5) == Value(1.0)
    baseline = np.array([0.9, 0.6, 0.5, 0.8, 0.9, 0.9, 0.9])
    assert sample_gain(COUNTS, model, baseline, 6) == Value(64.0)


def test_errors_that_are_not_finite_are_no_gains():
    model, broken = law(1.0, 0.5), np.full(7, np.inf)
    assert sample_gain(COUNTS, model, broken, 6) is None
    assert sample_gain(COUNTS, broken, model, 6) is None
    assert accuracy_gain(COUNTS, model, broken, 6) is None
    assert accuracy_gain(COUNTS, broken, model, 6) is None
    assert fit(COUNTS, broken) is None
    partly = np.where(M < 4, np.inf, model)
    assert needed(COUNTS, partly, 0.9) == Value(4.0, "<")
    assert fit(COUNTS, partly).rate == pytest.approx(0.5)


def test_a_law_that_does_not_fall_reaches_nothing():
    assert sample_gain_of_fits(COUNTS, law(1.0, -0.1), law(2.0, 0.5), 6) is None


def test_seeds_are_averaged_geometrically():
    assert curve(np.array([[1.0, 2.0], [4.0, 8.0]])) == pytest.approx([2.0, 4.0])


def test_the_interval_is_over_resampled_seeds():
    """Ratios 2, 3 and 8 of three seeds: all 27 draws, their ends are the smallest and largest."""
    model = np.ones((3, 1))
    baseline = np.array([[2.0], [3.0], [8.0]])
    found = gain(accuracy_gain, [4], model, baseline, 0)
    assert found.value.number == pytest.approx(48 ** (1 / 3))
    ratios = sorted(np.prod(baseline[draw, 0]) ** (1 / 3) for draw in resamples(3))
    assert len(ratios) == 27
    assert found.low.number == pytest.approx(ratios[1])
    assert found.high.number == pytest.approx(ratios[25])


def test_one_seed_has_no_interval():
    found = gain(accuracy_gain, [4], np.ones((1, 1)), np.full((1, 1), 2.0), 0)
    assert (found.value, found.low, found.high) == (Value(2.0), None, None)


def test_many_seeds_are_drawn_the_same_every_time():
    assert resamples(8).shape == (2000, 8)
    assert (resamples(8) == resamples(8)).all()
