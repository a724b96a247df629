"""Prescribed fields as extra inputs: at both ends of every step, of every operator."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from driven_tank import Tank, TankConfig, tank
from small_operators import SMALL, build, window_for

from pelagos.datasets.fields.normalization import Standard
from pelagos.datasets.fields.prescribed import Prescribed
from pelagos.datasets.fields.window import Context, Window
from pelagos.operators import Description, Operator, from_pretrained
from pelagos.operators.assimilation.operator import AssimilatingOperator
from pelagos.operators.core.observation import Sensors
from pelagos.operators.core.rollout import rollout

DT = 0.5


def given(window: Window, seed: int = 1, frames: int | None = None) -> Prescribed:
    """Random values at the window's times, and at some more."""
    count = window.history.shape[1] + window.target.shape[1] if frames is None else frames
    batch, points = len(window.history), window.grid.shape
    times = DT * torch.arange(1 - window.history.shape[1], count - window.history.shape[1] + 1)
    values = torch.randn(
        batch, len(times), 2, *points, generator=torch.Generator().manual_seed(seed)
    )
    return Prescribed(("flux", "stress"), times.expand(batch, -1), values)


def driven(name: str, **changes: Any) -> tuple[Operator, Window]:
    operator = build(name, 1, prescribed=("stress", "flux"), **changes).eval()
    window = window_for(operator, dt=DT)
    return operator, replace(window, context=replace(window.context, prescribed=given(window)))


def with_values(window: Window, values: torch.Tensor) -> Window:
    known = window.context.prescribed
    assert known is not None
    changed = replace(window.context, prescribed=replace(known, values=values))
    return replace(window, context=changed)


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_a_step_sees_both_of_its_ends_and_nothing_else(name: str) -> None:
    operator, window = driven(name)
    known = window.context.prescribed
    assert known is not None
    now = window.history.shape[1] - 1  # the place of the last given frame

    def first_step(place: int) -> torch.Tensor:
        values = known.values.clone()
        values[:, place, 0] += 1.0
        changed = with_values(window, values)
        state = operator.init(changed.history, changed.context)
        return next(rollout(operator, state, [DT]))

    state = operator.init(window.history, window.context)
    usual = next(rollout(operator, state, [DT]))
    assert not torch.equal(first_step(now), usual)
    assert not torch.equal(first_step(now + 1), usual)
    assert torch.equal(first_step(now + 2), usual)


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_channels_are_scaled_and_taken_by_name(name: str) -> None:
    operator, window = driven(name)
    scales = {"flux": Standard(2.0, 4.0)}
    other = build(name, 1, prescribed=("stress", "flux"), condition_scales=scales).eval()
    other.load_state_dict(operator.state_dict())
    known = window.context.prescribed
    assert known is not None
    scaled = known.values.clone()
    scaled[:, :, 0] = 2.0 + 4.0 * scaled[:, :, 0]
    turned = replace(known, names=("stress", "other", "flux"), values=scaled[:, :, [1, 0, 0]])
    changed = replace(window, context=replace(window.context, prescribed=turned))
    torch.testing.assert_close(other(changed), operator(window))


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_what_is_missing_is_refused_by_name_or_filled(name: str) -> None:
    operator, window = driven(name)
    bare = replace(window, context=replace(window.context, prescribed=None))
    with pytest.raises(ValueError, match=r"takes stress, flux as prescribed .* has none; give"):
        operator(bare)
    known = window.context.prescribed
    assert known is not None
    one = replace(window, context=replace(window.context, prescribed=known.select(["flux"])))
    with pytest.raises(ValueError, match=r"has flux; give stress along"):
        operator(one)
    filled = build(name, 1, prescribed=("stress", "flux"), fill={"stress": 3.0, "flux": 0.0})
    filled.load_state_dict(operator.state_dict())
    threes = known.values.clone()
    threes[:, :, 1] = 3.0
    expected = operator(with_values(window, threes))
    torch.testing.assert_close(filled.eval()(one), expected)
    assert filled(bare).isfinite().all()
    with pytest.raises(ValueError, match=r"time 2 after the last given frame .* to 1.5"):
        list(rollout(operator, operator.init(window.history, window.context), [DT] * 4))


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_checkpoints_keep_them_and_those_without_say_nothing(name: str, tmp_path: Path) -> None:
    operator, window = driven(name, units={"flux": "W/m2"})
    again = from_pretrained(operator.save_pretrained(tmp_path / "with"))
    assert again.description.prescribed == ("stress", "flux")
    assert torch.equal(again.eval()(window), operator(window))
    plain = build(name, 1)
    plain.save_pretrained(tmp_path / "without")
    assert "prescribed" not in (tmp_path / "without" / "config.json").read_text("utf-8")
    axes = operator.field_axes()
    extra = [axis.extra for each in axes.values() for axis in (each if isinstance(each, tuple)
             else (each,)) if axis.extra]  # fmt: skip
    assert extra == [("stress", "flux", "stress at the end", "flux at the end")]


@torch.no_grad()
def test_direct_prediction_sees_each_lead_time() -> None:
    operator, window = driven("multiscale")
    together = operator(window)
    for k in range(3):
        lead = window.lead_times[:, k : k + 1]
        one = replace(window, lead_times=lead, target=window.target[:, k : k + 1])
        torch.testing.assert_close(operator(one)[:, 0], together[:, k])


@torch.no_grad()
def test_analyses_and_ensembles_run_along_them() -> None:
    operator, window = driven("observer")
    assert isinstance(operator, AssimilatingOperator)
    state = operator.start(window.history, window.context, variance=0.1)
    dt = torch.full((2,), DT)
    state, forecast = operator.step(state, dt)
    torch.testing.assert_close(forecast, operator(window)[:, 0])
    sensors = Sensors(torch.zeros(2, 1), torch.tensor([[0.5]], dtype=torch.float64), ("u",))
    _, analysis = operator.step(state, dt, sensors)
    assert analysis.isfinite().all()


def test_an_operator_of_another_package_takes_them_where_it_says_so() -> None:
    operator = tank(time_steps=())
    window = window_for(operator, horizon=4, dt=DT, batch=2)
    times = torch.tensor([[0.0, 0.25, 1.0, 2.5], [0.0, 1.0, 2.0, 3.0]])
    values = torch.tensor([[0.0, 1.0, 4.0, 10.0], [1.0, 1.0, 1.0, 1.0]])
    points = window.grid.shape[0]
    series = values[:, :, None, None].expand(-1, -1, 1, points)
    context = replace(window.context, prescribed=Prescribed(("q",), times, series))
    frames = operator(replace(window, context=context))
    # The first is 4 t, of which steps of any length take the mean of their ends.
    lead = torch.tensor([0.5, 1.0, 1.5, 2.0])
    gained = torch.stack([2 * lead**2, lead])[:, :, None, None]
    torch.testing.assert_close(frames, window.history + gained, rtol=1e-5, atol=1e-5)
    shut = type("Shut", (Tank,), {"name": "shut", "driven": False})
    with pytest.raises(ValueError, match="shut takes nothing prescribed"):
        shut(TankConfig(), Description(fields=("u",), prescribed=("q",)))
    with pytest.raises(ValueError, match="both predicted and prescribed"):
        Description(fields=("u",), prescribed=("u",))


def test_an_operator_given_the_forcing_learns_what_one_without_cannot() -> None:
    """u' = q(t) with a random q: without q, the best forecast is that nothing changes."""
    generator, steps, points, errors = torch.Generator().manual_seed(0), 4, 8, {}
    q = torch.randn(64, steps + 1, generator=generator)
    u = torch.cat((torch.zeros(64, 1), ((q[:, 1:] + q[:, :-1]) / 2 * DT).cumsum(1)), 1)
    frames = u[:, :, None, None].expand(-1, -1, 1, points)
    times = DT * torch.arange(steps + 1.0).expand(64, -1)
    driver = Prescribed(("q",), times, q[:, :, None, None].expand(-1, -1, 1, points))
    for names in ((), ("q",)):
        operator = build("dymixop", 1, fields=("u",), prescribed=names)
        operator = type(operator)(replace(operator.config, history=1), operator.description)
        operator.reset(torch.Generator().manual_seed(0))
        grid = replace(window_for(operator, horizon=1).grid, shape=(points,))
        context = Context(("u",), grid, prescribed=driver)
        whole = Window(frames[:, :1], frames[:, 1:], times[:, 1:], context)
        step = replace(whole, target=whole.target[:, :1], lead_times=whole.lead_times[:, :1])
        optimizer = torch.optim.Adam(operator.parameters(), 1e-2)
        for _ in range(60):
            optimizer.zero_grad()
            (operator.train()(step) - step.target).square().mean().backward()
            optimizer.step()
        with torch.no_grad():
            error = (operator.eval()(step) - step.target).square().mean()
        errors[names] = float((error / step.target.square().mean()).sqrt())
    assert errors["q",] < 0.2
    assert errors[()] > 0.9
