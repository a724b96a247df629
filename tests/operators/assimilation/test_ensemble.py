"""The gain of an ensemble: closed forms, exact zeros, and a chaotic problem."""

import math
from dataclasses import replace

import pytest
import torch

from pelagos.datasets import equations
from pelagos.datasets.equations.equation import Problem, frames
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.window import Context
from pelagos.operators import EnsembleGain, Observation, Sensors, create
from pelagos.operators.assimilation.ensemble import (
    default_radius,
    ensemble_analysis,
    taper,
    transform,
)
from pelagos.operators.assimilation.measurement import Information, NoiseModel, information

GRIDS = {1: (12,), 2: (6, 7), 3: (5, 4, 6)}


def case(ndim, boundary="periodic", members=6, seed=0):
    """Deviations of two fields, and what a third of the points say."""
    generator = torch.Generator().manual_seed(seed)
    space = GRIDS[ndim]
    grid = Grid(space, tuple(0.5 * n for n in space), (boundary,) * ndim)
    draw = torch.randn(3, members, 2, *space, generator=generator, dtype=torch.float64)
    mask = torch.rand(3, 2, *space, generator=generator) < 0.3
    precision = torch.where(mask, 4.0, 0.0).double()
    gap = torch.randn(precision.shape, generator=generator, dtype=torch.float64)
    measured = Information(precision, precision * gap, mask.flatten(2).sum(2).double())
    return draw - draw.mean(1, keepdim=True), measured, grid, gap


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_without_localisation_it_is_the_kalman_filter_of_the_sample_covariance(ndim):
    deviations, measured, grid, gap = case(ndim)
    change, after = transform(deviations, measured, grid, 1e6, 0.0)
    for b in range(len(deviations)):
        x = deviations[b].flatten(1).T / math.sqrt(deviations.shape[1] - 1)
        where = measured.precision[b].flatten() > 0
        sampled = x[where]
        gain = x @ sampled.T @ torch.linalg.inv(sampled @ sampled.T + torch.eye(len(sampled)) / 4)
        expected = gain @ gap[b].flatten()[where]
        torch.testing.assert_close(change[b].flatten(), expected, rtol=1e-6, atol=1e-8)
        left = after[b].flatten(1).T / math.sqrt(deviations.shape[1] - 1)
        covariance = x @ x.T - gain @ sampled @ x.T
        torch.testing.assert_close(left @ left.T, covariance, rtol=1e-6, atol=1e-8)
        assert after[b].sum(0).abs().max() < 1e-9  # the mean is the change's alone


@pytest.mark.parametrize("boundary", ["periodic", "wall"])
def test_a_measurement_counts_up_to_twice_the_radius(boundary):
    """Around the end of a periodic axis, not of another."""
    deviations, measured, grid, _ = case(1, boundary)
    only = torch.zeros_like(measured.precision)
    only[:, 0, 1] = 4.0
    change, after = transform(deviations, Information(only, only, measured.count), grid, 1.0, 0.0)
    near = torch.tensor([0, 1, 2, 3, 4] + ([11, 10] if boundary == "periodic" else []))
    far = torch.ones(12, dtype=torch.bool)
    far[near] = False
    assert change[..., far].abs().max() < 1e-12
    assert (after - deviations)[..., far].abs().max() < 1e-12
    assert (change[..., [0, 1, 2, 3]].abs().amax((0, 1)) > 1e-4).all()


def test_the_taper_is_smooth_and_ends_at_twice_the_radius():
    z = torch.linspace(0, 3, 3001, dtype=torch.float64)
    rho = taper(2.0 * z, 2.0)
    assert rho[0] == 1
    assert rho[z >= 2].abs().max() == 0
    assert (rho.diff() <= 1e-12).all()
    assert rho.diff(n=2).abs().max() < 1e-5
    assert rho[1000].item() == pytest.approx(5 / 24)


def test_relaxation_gives_back_a_share_of_the_spread():
    deviations, measured, grid, _ = case(1)
    _, tight = transform(deviations, measured, grid, 2.0, 0.0)
    _, half = transform(deviations, measured, grid, 2.0, 0.5)
    _, prior = transform(deviations, measured, grid, 2.0, 1.0)
    old, new, mixed, kept = (x.std(1) for x in (deviations, tight, half, prior))
    assert (new < old).any()
    torch.testing.assert_close(mixed, (old + new) / 2)
    torch.testing.assert_close(kept, old)


def spread_before(deviations, measured, grid, model_error=None):
    """Mean variance per trajectory and field that a measurement meets."""
    scale = torch.ones(1, 2, 1, dtype=torch.float64)
    # What was there before is given back.
    gain = EnsembleGain(radius=2.0, relaxation=1.0, model_error=model_error)
    errors = torch.randn(deviations.shape, generator=torch.Generator().manual_seed(7)).double()
    after = ensemble_analysis(deviations, measured, scale, grid, gain, errors)
    return (after - after.mean(1, keepdim=True)).var(1).flatten(2).mean(2)


def test_a_model_error_adds_to_the_variance_that_a_measurement_meets():
    generator = torch.Generator().manual_seed(0)
    grid = Grid((4000,), (4000.0,), ("periodic",))
    deviations = torch.randn(1, 8, 2, 4000, generator=generator, dtype=torch.float64)
    deviations = deviations - deviations.mean(1, keepdim=True)
    nothing = torch.full((1, 2, 4000), 1e-9, dtype=torch.float64)
    barely = Information(nothing, 0 * nothing, torch.full((1, 2), 4000.0).double())
    before = deviations.var(1).mean(2)
    for error in (0.0, 0.1, 10.0):
        found = spread_before(deviations, barely, grid, error)
        torch.testing.assert_close(found, before + error, rtol=0.03, atol=0)


@pytest.mark.parametrize("actual", [0.3, 1.0, 5.0])
def test_the_innovations_tell_how_large_the_spread_should_be(actual):
    """Errors `actual` times the spread: the spread becomes theirs, and never less than it was."""
    generator = torch.Generator().manual_seed(0)
    grid = Grid((4000,), (4000.0,), ("periodic",))
    draw = 0.2 * torch.randn(2, 8, 2, 4000, generator=generator, dtype=torch.float64)
    deviations = draw - draw.mean(1, keepdim=True)
    mask = torch.rand(2, 2, 4000, generator=generator) < 0.5
    precision, count = torch.where(mask, 100.0, 0.0).double(), mask.sum(2).double()
    error, noise = 0.2 * torch.randn(2, 2, 2, 4000, generator=generator, dtype=torch.float64)
    seen = Information(precision, precision * (actual * error + noise / 2), count)
    factor = spread_before(deviations, seen, grid) / deviations.var(1).mean(2)
    wanted = torch.full((2, 2), max(1.0, actual**2), dtype=torch.float64)
    torch.testing.assert_close(factor, wanted, rtol=0.12, atol=0)


def test_few_readings_or_none_change_the_spread_little():
    deviations, measured, grid, _ = case(1)
    before = deviations.var(1).mean(2)
    single = torch.zeros_like(measured.precision)
    single[:, 0, 3] = 4.0
    count = torch.tensor([[1.0, 0.0]] * 3, dtype=torch.float64)
    far = 2 * (0.25 + deviations.var(1)[:, 0, 3]).sqrt()  # two standard deviations away
    seen = Information(single, single * far[:, None, None], count)
    factor = spread_before(deviations, seen, grid) / before
    assert (factor[:, 0] < 4).all()
    torch.testing.assert_close(factor[:, 1], torch.ones(3).double())


@pytest.mark.parametrize("between", [0.0, 0.5])
def test_readings_are_counted_on_and_between_grid_points(between):
    """Σ b² / w of an exact estimate has the mean n."""
    context = Context(("u",), Grid((400,), (400.0,), ("periodic",)))
    positions = torch.arange(0.0, 400.0, 4.0)[:, None] + between
    generator = torch.Generator().manual_seed(0)
    values = 0.2 * torch.randn(500, 100, generator=generator)
    sensors = Sensors(values, positions, ("u",) * 100, torch.full((1, 100), 0.2))
    model = NoiseModel(torch.zeros(1), torch.zeros(1))
    one = torch.ones(1, 1, 1)
    seen = information(sensors, torch.zeros(500, 1, 400), context, one, model)
    torch.testing.assert_close(seen.count, torch.full((500, 1), 100.0))
    square = (seen.weighted.square() / seen.precision.clamp_min(1e-9)).sum((1, 2))
    assert square.mean().item() == pytest.approx(100, rel=0.02)


def test_the_radius_is_what_the_members_resolve():
    assert default_radius(2.0, 20, 1) == pytest.approx(20 / 3)
    assert default_radius(2.0, 27, 3) == pytest.approx(27 ** (1 / 3) / 3 ** (1 / 3))


@pytest.mark.parametrize(
    "change", [{"radius": 0.0}, {"radius": math.inf}, {"relaxation": 1.5}, {"model_error": -1.0}]
)
def test_impossible_gains(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        EnsembleGain(**change)


def kuramoto_sivashinsky(points=64, members=20):
    """The observer with the equation's solver in place of its own, a truth, and a cold ensemble."""
    equation = equations.get("kuramoto_sivashinsky_1d")
    grid = equation.grid((points,), (32.0,))
    generator = torch.Generator().manual_seed(0)
    states = torch.stack([equation.initial(generator, grid) for _ in range(9)])
    run = frames(equation, Problem(states, {}, grid, 0.5, warm_up=60.0))
    solved = torch.stack([next(run) for _ in range(50)], 1)
    truth, others = solved[:1].float(), solved[1:, ::10].flatten(0, 1).float()
    operator = create("observer", fields=("u",), ndim=1, correction={"modes": 16})
    std = others.std()
    operator.fit(others)

    def forecast(state, dt):
        solve = frames(equation, Problem(state.history[:, -1], {}, grid, 0.5))
        next(solve)
        fields = next(solve).float()
        return state.advance(fields, dt), fields

    operator.forecast = forecast
    context = Context(("u",), grid)
    state = operator.start(torch.zeros(members, 1, 1, points), context, variance=1.0)
    error = operator.draw_error(state, generator)
    return operator, truth, replace(state, history=state.history + error[:, None]), std


@torch.no_grad()
def test_it_follows_a_chaotic_truth_where_the_fixed_gain_loses_it():
    """A quarter of the points at random, noise of 5 %, every third step."""
    operator, truth, state, std = kuramoto_sivashinsky()
    generator = torch.Generator().manual_seed(3)
    mask = torch.zeros(1, 1, 64, dtype=torch.bool)
    mask[..., torch.randperm(64, generator=generator)[:16]] = True
    noise = (0.05 * std).reshape(1, 1, 1)
    single = operator.start(torch.zeros(1, 1, 1, 64), state.context, variance=1.0)
    dt, errors = torch.full((20,), 0.5), []
    for t in range(1, 50):
        seen = None
        if t < 10 or t % 3 == 0:
            values = truth[:, t] + noise * torch.randn(1, 1, 64, generator=generator)
            seen = Observation(values, mask, ("u",), noise)
        state, fields = operator.step_ensemble(state, dt, seen, 20, EnsembleGain(), generator)
        single, one = operator.step(single, dt[:1], seen)
        gaps = [(u - truth[:, t]).square().mean().sqrt() / std for u in (fields.mean(0), one)]
        errors.append([gap.item() for gap in gaps])
    ours, fixed = torch.tensor(errors)[20:].mean(0).tolist()
    assert ours < 0.05
    assert ours < 0.5 * fixed


def test_without_a_measurement_members_are_forecasts_to_the_bit_and_zero_stays_zero():
    operator, truth, state, _ = kuramoto_sivashinsky(members=4)
    dt, gain = torch.full((4,), 0.5), EnsembleGain()
    plain = operator.step(state, dt)[1]
    noise = torch.full((1, 1, 1), 0.1)
    nothing = Observation(truth[:, 1], torch.zeros(1, 1, 64, dtype=torch.bool), ("u",), noise)
    for seen in (None, nothing):
        assert torch.equal(
            operator.step_ensemble(state, dt, seen, 4, gain, torch.Generator())[1], plain
        )
    exact = Observation(plain.mean(0, keepdim=True), torch.ones(1, 1, 64).bool(), ("u",), noise)
    after = operator.step_ensemble(state, dt, exact, 4, gain, torch.Generator())[1]
    assert not torch.equal(after, plain)
    torch.testing.assert_close(after.mean(0), plain.mean(0), atol=1e-5, rtol=0)
