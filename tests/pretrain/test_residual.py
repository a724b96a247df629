"""The residual of the equation as a term of every objective that predicts along a window."""

from dataclasses import replace

import pytest
import torch
from linear_model import Linear

from pelagos.datasets import open_store
from pelagos.datasets.equations import Problem, SemilinearEquation, get, names
from pelagos.datasets.fields.normalization import Identity, Statistics
from pelagos.datasets.fields.window import collate
from pelagos.datasets.simulation.simulate import simulate
from pelagos.operators import create
from pelagos.pretrain.objectives import objective_of
from pelagos.pretrain.objectives.diverted import DivertedConfig
from pelagos.pretrain.objectives.forced import ForcedConfig
from pelagos.pretrain.objectives.pushforward import PushforwardConfig
from pelagos.pretrain.objectives.residual import ResidualConfig
from pelagos.pretrain.objectives.rollout import RolloutConfig
from pelagos.pretrain.recipe import DataConfig

OPERATOR = create("dymixop", fields=("u",), ndim=1, hidden=2, modes=4)
SCALES = Statistics({"*": {"u": 0.0}}, {"*": {"u": 2.0}})


def residual_of(equation, before, after, dt, parameters=None, order=4):
    """r of single frames (B, C, *S) that lie `dt` apart, as the equation says it."""
    shape = before.shape[2:]
    grid = equation.grid(shape)
    problem = Problem(before, parameters or {}, grid, dt)
    increments = torch.full((len(before), 1), dt, dtype=torch.float64)
    return equation.balance(problem, order).residual(before[:, None], after[:, None], increments)


def test_a_translated_profile_leaves_nothing_and_a_late_one_the_difference():
    """u(x − c t) of both speeds solves u_t + c u_x = 0; a step that does nothing does not."""
    x = torch.arange(64, dtype=torch.float64) / 64
    speed, dt = torch.tensor([0.3, -0.7], dtype=torch.float64), 0.25

    def profile(t):
        place = 2 * torch.pi * (x - speed[:, None] * t)
        return (torch.sin(place) + 0.5 * torch.cos(3 * place))[:, None]

    equation, parameters = get("advection_1d"), {"speed": speed}
    found = residual_of(equation, profile(0.0), profile(dt), dt, parameters)
    assert found.abs().max() < 1e-12
    still = residual_of(equation, profile(0.0), profile(0.0), dt, parameters)
    torch.testing.assert_close(still[:, 0], profile(0.0) - profile(dt))


def test_heat_that_decays_as_it_should_leaves_nothing():
    x = torch.arange(32, dtype=torch.float64) / 32
    diffusivity, dt = torch.tensor([0.01], dtype=torch.float64), 2.0
    wave = torch.cos(2 * torch.pi * 2 * x)[None, None]
    decay = torch.exp(-diffusivity * (4 * torch.pi) ** 2 * dt)
    equation, parameters = get("heat_1d"), {"diffusivity": diffusivity}
    assert residual_of(equation, wave, decay * wave, dt, parameters).abs().max() < 1e-12
    half = residual_of(equation, wave, 0.5 * decay * wave, dt, parameters)
    torch.testing.assert_close(half[:, 0], -0.5 * decay * wave)


@pytest.mark.parametrize("order", [2, 3, 4])
@pytest.mark.parametrize(
    ("name", "parameters", "dt"),
    [
        ("burgers_1d", {"viscosity": 0.02}, 0.01),
        ("navier_stokes_forced_2d", {"viscosity": 1e-3, "forcing": 0.1}, 0.125),
        ("gray_scott_2d", {"feed": 0.03, "kill": 0.06}, 2.0),
        ("burgers_3d", {"viscosity": 0.03}, 0.02),
    ],
)
def test_solutions_leave_what_the_order_allows(name, parameters, dt, order):
    """Halving the step divides the residual of a solution by 2^(order + 1)."""
    equation = get(name)
    grid = equation.grid([{1: 64, 2: 32, 3: 16}[equation.ndim]] * equation.ndim)
    draw = equation.draw(torch.Generator().manual_seed(1), grid)
    values = {
        key: torch.tensor([value], dtype=torch.float64)
        for key, value in {**draw.parameters, **parameters}.items()
    }

    def solved(time):
        march = equation.march(Problem(draw.initial[None], values, grid, time, solver_step=dt / 10))
        march.advance(0.0)
        begun = march.advance(8 * dt)  # past what the initial state has in modes that are dropped
        return begun, march.advance(time)

    left = [residual_of(equation, *solved(h), h, values, order).norm() for h in (dt, dt / 2)]
    rate = (left[0] / left[1]).log2().item()
    assert order + 0.6 < rate < order + 1.5


SEMILINEAR = [name for name in names() if isinstance(get(name), SemilinearEquation)]


@pytest.mark.parametrize("name", SEMILINEAR)
def test_each_equation_has_a_residual_with_a_gradient(name):
    """A frame at which everything stands still misses by a finite amount, and it can be mended."""
    equation = get(name)
    draw = equation.draw(torch.Generator().manual_seed(0), equation.grid())
    values = {
        key: torch.as_tensor(value, dtype=torch.float64).reshape(1)
        for key, value in draw.parameters.items()
    }
    before = draw.initial.double()[None]
    after = before.clone().requires_grad_()
    size = residual_of(equation, before, after, 1e-3, values).square()
    (gradient,) = torch.autograd.grad(size.sum(), after)
    assert gradient.isfinite().all()
    assert gradient.norm() > 0


def made(equation, folder, **settings):
    settings = {"resolution": 64, "frames": 6, "dt": 0.05, **settings}
    simulate(equation, folder, trajectories={"train": 3, "valid": 1}, **settings)
    return open_store(folder / equation, "train")


def window_for(objective, store):
    windows = objective.windows(store, DataConfig(path="x"), OPERATOR)
    window = collate([windows[0], windows[len(windows) - 1]])
    return replace(window, history=window.history.double(), target=window.target.double())


def shifts(frames, store, window):
    """Frames (B, T, 1, X) a time step of 0.05 later, by the speed of each trajectory."""
    speeds = window.parameters[:, window.context.parameter_names.index("speed")].double()
    k = 2 * torch.pi * torch.fft.rfftfreq(64, store.grid.lengths[0] / 64, dtype=torch.float64)
    turn = torch.exp(-1j * k * speeds[:, None] * 0.05)[:, None, None]
    return torch.fft.irfft(turn * torch.fft.rfft(frames), n=64)


CONFIGS = [
    RolloutConfig(horizon=3),
    RolloutConfig(horizon=3, truncate=1),
    PushforwardConfig(calls=2, horizon=2),
    ForcedConfig(horizon=3, alpha=0.25),
    DivertedConfig(horizon=3),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
def test_every_objective_knows_from_where_its_frames_were_predicted(config, tmp_path):
    """A model that multiplies misses a translation by 0.8 u − u(x − c h), from each state."""
    store = made("advection_1d", tmp_path, parameters={"speed": (0.5, 2.0)})
    held = replace(config, residual=ResidualConfig(weight=0.5))
    values, model = [], Linear(0.8)
    for each in (config, held):
        objective = objective_of(each)
        window = window_for(objective, store)
        objective.begin(1, 0)
        values.append(objective.loss(model, window, SCALES, 0).item())
    with torch.no_grad():
        prediction, _ = objective.unroll(model, window)
        states = prediction / 0.8  # where each frame came from
        miss = (prediction - shifts(states, store, window)) / 2
    expected = miss.square().flatten(2).mean(2).sqrt().mean().item()
    assert expected > 0.01
    assert values[1] - values[0] == pytest.approx(0.5 * expected, rel=1e-5)


def test_its_gradient_is_that_of_differences(tmp_path):
    """Through N at both ends and in the middle."""
    store = made("burgers_1d", tmp_path)
    objective = objective_of(RolloutConfig(horizon=2, residual=ResidualConfig(weight=10.0)))
    window = window_for(objective, store)
    objective.begin(0, 0)

    def loss(factor):
        model = Linear(factor)
        return objective.loss(model, window, Identity(), 0), model.factor

    value, factor = loss(0.9)
    (slope,) = torch.autograd.grad(value, factor)
    two = [loss(0.9 + step)[0].item() for step in (1e-5, -1e-5)]
    assert slope.item() == pytest.approx((two[0] - two[1]) / 2e-5, rel=1e-5)


def test_what_has_no_residual_is_refused(tmp_path):
    gas = made("euler_1d", tmp_path, dt=0.01)
    operator = create("dymixop", fields=gas.fields, ndim=1, hidden=2)
    objective = objective_of(RolloutConfig(residual=ResidualConfig()))
    windows = objective.windows(gas, DataConfig(path="x"), operator)
    with pytest.raises(ValueError, match=r"objective\.residual: euler_1d has no .*; leave it out"):
        objective.try_out(operator, collate([windows[0]]), Identity())
    with pytest.raises(ValueError, match="goes on from density, pressure, velocity_x; the"):
        objective.windows(gas, DataConfig(path="x"), OPERATOR)
    gas.provenance = {}
    with pytest.raises(ValueError, match=r"or leave objective\.residual out"):
        objective.windows(gas, DataConfig(path="x"), operator)


@pytest.mark.parametrize(
    ("dt", "config", "good"),
    [
        (1.0, {}, True),
        (4.0, {}, False),  # too far apart
        (1.0, {"thin": (1, 4)}, False),  # every fourth point does not hold the waves
    ],
)
def test_frames_that_miss_the_equation_are_refused(dt, config, good, tmp_path):
    store = made("kuramoto_sivashinsky_1d", tmp_path, dt=dt, warm_up=50.0)
    objective = objective_of(RolloutConfig(residual=ResidualConfig(), **config))
    window = collate([objective.windows(store, DataConfig(path="x"), OPERATOR)[0]])
    if good:
        objective.try_out(OPERATOR, window, Identity())
        return
    with pytest.raises(ValueError, match="miss its equation by"):
        objective.try_out(OPERATOR, window, Identity())


def test_terms_without_a_derivative_are_refused(tmp_path):
    store = made("burgers_1d", tmp_path)
    objective = objective_of(RolloutConfig(residual=ResidualConfig()))
    window = collate([objective.windows(store, DataConfig(path="x"), OPERATOR)[0]])

    def term(v, squares):
        return torch.mul(v, v, out=squares)

    (name,) = objective._residual.references
    known = objective._residual.references[name]
    equation = replace(known.equation, nonlinear=lambda s, p: lambda v: term(v, v.detach().clone()))
    objective._residual.references[name] = replace(known, equation=equation)
    with pytest.raises(ValueError, match="terms of burgers_1d have no derivative"):
        objective.try_out(OPERATOR, window, Identity())


def test_holes_are_refused(tmp_path):
    store = made("burgers_1d", tmp_path)
    objective = objective_of(RolloutConfig(residual=ResidualConfig()))
    window = collate([objective.windows(store, DataConfig(path="x"), OPERATOR)[0]])
    mask = torch.ones(1, 1, 64, dtype=torch.bool)
    holed = replace(window, context=replace(window.context, mask=mask))
    with pytest.raises(ValueError, match="points without values"):
        objective.try_out(OPERATOR, holed, Identity())
