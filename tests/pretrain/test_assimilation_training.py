"""Training to assimilate: what is drawn, that it learns, resumes exactly and says what is wrong."""

from pathlib import Path

import pytest
import torch
import yaml
from processes import run

from pelagos.datasets.base.config import build, read
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.fields.normalization import Statistics, WindowScaling
from pelagos.datasets.fields.window import Context, Window
from pelagos.datasets.simulation.simulate import simulate
from pelagos.operators import assimilate, create, from_pretrained
from pelagos.pretrain.command import RECIPES, main
from pelagos.pretrain.data import open_stores
from pelagos.pretrain.objectives.assimilation import (
    Assimilation,
    AssimilationConfig,
    AssimilationObjectiveConfig,
    draw_feed,
    forecast_steps,
)
from pelagos.pretrain.optimizer import build_optimizer, forget_resting, schedule, set_learning_rates
from pelagos.pretrain.recipe import OptimizerConfig, TrainRecipe
from pelagos.pretrain.run import state as resume
from pelagos.pretrain.run.directory import as_begun, changes_of, create_run
from pelagos.pretrain.start import create_operator, fit_to_data

NORMALIZER = Statistics({"*": {"u": 1.0}}, {"*": {"u": 2.0}})


def window(batch=6, frames=1, horizon=20, points=200):
    generator = torch.Generator().manual_seed(0)
    history = 1 + 2 * torch.randn(batch, frames, 1, points, generator=generator)
    target = 1 + 2 * torch.randn(batch, horizon, 1, points, generator=generator)
    lead = torch.arange(1.0, horizon + 1).expand(batch, horizon)
    return Window(history, target, lead, Context(("u",), Grid.unit((points,))))


def masks(feed):
    return [None if o is None else o.mask.flatten(1).any(1) for o in feed.observations]


def test_the_protocol_is_what_the_config_says():
    config = AssimilationConfig(
        warm_up=4, observed=(0.0, 0.0), sensors=(0.1, 0.1), noise=(0.05, 0.05), exact_start=0.0
    )
    given = window()
    started, feed = draw_feed(given, config, NORMALIZER, seed=3)
    assert [m is not None for m in masks(feed)] == [True] * 4 + [False] * 16
    first = feed.observations[0]
    shares = first.mask.float().flatten(1).mean(1)
    assert shares.mean() == pytest.approx(0.1, abs=0.02)
    assert all(torch.equal(o.mask, first.mask) for o in feed.observations[:4])
    assert torch.unique(first.mask.flatten(1), dim=0).shape[0] == 6  # each window has its own
    error = first.values - given.target[:, 0]
    assert error.std() == pytest.approx(0.05 * 2, rel=0.1)
    assert torch.equal(first.noise, torch.full_like(first.noise, 0.1))
    assert torch.equal(started.history, torch.ones_like(given.history))
    assert torch.equal(feed.variance, torch.ones(6))
    _, known = draw_feed(given, AssimilationConfig(exact_start=1.0), NORMALIZER, seed=3)
    assert torch.equal(known.variance, torch.zeros(6))


def test_the_share_of_measured_steps_is_alpha():
    config = AssimilationConfig(warm_up=1, observed=(0.3, 0.3))
    _, feed = draw_feed(window(batch=40, horizon=60), config, NORMALIZER, seed=0)
    seen = torch.stack([m for m in masks(feed)[1:] if m is not None]).float()
    assert seen.mean() == pytest.approx(0.3, abs=0.03)


def test_draws_depend_on_the_seed_and_the_place_alone():
    config = AssimilationConfig()
    given = window()
    one, two = (draw_feed(given, config, NORMALIZER, seed=5)[1] for _ in range(2))
    other = draw_feed(given, config, NORMALIZER, seed=6)[1]
    for a, b, c in zip(one.observations, two.observations, other.observations, strict=True):
        if a is not None and c is not None:
            assert torch.equal(a.values, b.values)
            assert torch.equal(a.mask, b.mask)
            assert not torch.equal(a.values, c.values)


def test_without_a_mean_the_first_guess_is_a_noisy_history():
    given = window(frames=2)
    config = AssimilationConfig(exact_start=0.0, noise=(0.1, 0.1))
    started, feed = draw_feed(given, config, WindowScaling(), seed=0)
    change = started.history - given.history
    scale = given.history.square().mean().sqrt()
    assert change.std() == pytest.approx(0.1 * scale.item(), rel=0.1)
    torch.testing.assert_close(feed.variance, torch.full((6,), 0.01))


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"warm_up": 0}, "warm_up must be at least 1"),
        ({"sensors": (0.0, 1.0)}, r"sensors\[0\] must lie in \(0, 1\]; got 0.0"),
        ({"observed": (0.2, 1.5)}, r"observed\[1\] must lie in \[0, 1\]"),
        ({"noise": (0.2, 0.1)}, "noise needs low ≤ high; got 0.2, 0.1"),
        ({"exact_start": 2.0}, r"exact_start must lie in \[0, 1\]"),
        ({"innovation": -1.0}, "innovation must not be negative"),
        ({"forecast": 1.0}, r"forecast must lie in \[0, 1\); got 1.0"),
        ({"forecast_horizon": 0}, "forecast_horizon must be at least 1"),
    ],
)
def test_impossible_protocols(config, match):
    with pytest.raises(ValueError, match=match):
        AssimilationConfig(**config)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return simulate(
        "burgers_1d",
        tmp_path_factory.mktemp("data"),
        trajectories={"train": 4, "valid": 2},
        resolution=32,
        frames=21,
        dt=0.02,
    )


RECIPE = {
    "operator": {
        "name": "observer",
        "linear": {"equation": "burgers_1d"},
        "hidden": 8,
        "layers": 1,
        "modes": 6,
        "correction": {"modes": 8, "hidden": 4},
    },
    "normalizer": {"name": "statistics"},
    "time_scale": 0.02,
    "objective": {
        "kind": "assimilation",
        "horizon": 4,
        "assimilation": {"warm_up": 2, "sensors": [0.2, 1.0], "truncate": 2},
    },
    "optimizer": {"learning_rate": 5e-3},
    "steps": 12,
    "batch": 4,
    "micro_batch": 4,
    "log_every": 6,
    "save_every": 6,
    "validation": {"every": 12, "horizon": 6},
}


@pytest.fixture
def recipe(data, tmp_path):
    def write(**changes):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({"data": [{"path": str(data)}], **RECIPE, **changes}))
        return str(path)

    return write


def scores(run):
    lines = [yaml.safe_load(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line["vrmse"] for line in lines if line["kind"] == "valid"]


def objective(forecast):
    assimilation = RECIPE["objective"]["assimilation"] | {"forecast": forecast}
    return RECIPE["objective"] | {"assimilation": assimilation}


# Interrupted at step 6: while the forecast is trained, as that ends, and while the gain is.
@pytest.mark.parametrize("forecast", [0.8, 0.5, 0.25])
def test_it_learns_and_resumes_to_the_bit(recipe, tmp_path, monkeypatch, forecast):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    path = recipe(objective=objective(forecast))
    main([path, str(whole)])
    first, *_, last = scores(whole)
    assert last < first
    operator = from_pretrained(whole / "checkpoint")
    known = [(term.orders, term.parameter) for term in operator.config.linear]
    assert known == [((2,), "viscosity")]
    save = resume.save_state

    def save_and_die(*arguments):
        save(*arguments)
        raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(resume, "save_state", save_and_die)
        with pytest.raises(InterruptedError):
            main([path, str(parts)])
    main([path, str(parts), "--resume", "auto"])
    resumed = from_pretrained(parts / "checkpoint")
    for a, b in zip(operator.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_forecast_is_trained_first_and_the_gain_after_it(recipe, tmp_path, monkeypatch):
    path, states, save = recipe(objective=objective(0.5)), [], resume.save_state

    def save_and_keep(run, operator, *arguments):
        states.append({name: p.detach().clone() for name, p in operator.named_parameters()})
        save(run, operator, *arguments)

    monkeypatch.setattr(resume, "save_state", save_and_keep)
    main([path, str(tmp_path / "run")])
    built = read(TrainRecipe, Path(path))
    fresh = dict(create_operator(built, open_stores(built)).named_parameters())
    middle, last = states
    for name, value in fresh.items():
        if name.startswith("correction."):
            assert torch.equal(middle[name], value), name
        else:
            assert torch.equal(middle[name], last[name]), name
    for name, before in (("tendency.lift.weight", fresh), ("correction.spread.weight", middle)):
        assert not torch.equal(last[name], before[name])


def test_a_group_at_rest_keeps_its_values_and_starts_afresh():
    model = torch.nn.Module()
    model.other, model.correction = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    config = OptimizerConfig(learning_rate=0.1, weight_decay=0.1, warmup=0.0)
    phases = Assimilation(
        AssimilationObjectiveConfig(assimilation=AssimilationConfig(forecast=1 / 3))
    ).phases(model, 6)
    assert [phase.steps for phase in phases] == [range(2), range(2, 6)]
    optimizer = build_optimizer(model, config, phases=phases)
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    for step in range(4):
        rate = set_learning_rates(optimizer, step, phases, config)
        assert rate == pytest.approx(0.1 * schedule(step % 2, (2, 4)[step >= 2], config))
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        forget_resting(optimizer)
        trained = model.correction if step >= 2 else model.other
        assert all(
            bool(p.grad.any()) == (p in set(trained.parameters())) for p in model.parameters()
        )
        optimizer.step()
        if step == 1:
            assert all(
                torch.equal(p, start["correction." + n])
                for n, p in model.correction.named_parameters()
            )
            forecast = model.other.weight.detach().clone()
    assert torch.equal(model.other.weight, forecast)
    assert torch.equal(optimizer.state[model.correction.weight]["step"], torch.tensor(3.0))


def test_without_a_gain_or_a_forecast_to_train_there_is_one_phase(data):
    built = build(TrainRecipe, {**RECIPE, "data": [{"path": str(data)}]})
    operator, config = create_operator(built, open_stores(built)), AssimilationConfig()
    assert forecast_steps(operator, config, 100) == 80
    assert forecast_steps(operator, AssimilationConfig(forecast=0.0), 100) == 0
    assert forecast_steps(operator, config, 2) == 1
    operator.correction.requires_grad_(False)
    assert forecast_steps(operator, config, 100) == 0
    operator.requires_grad_(False).correction.requires_grad_(True)
    assert forecast_steps(operator, config, 100) == 0


def test_a_checkpoint_as_the_predictor_stays_as_it_is(recipe, tmp_path):
    inner = create("dymixop", fields=("u",), ndim=1, hidden=4, layers=2, modes=4, history=2)
    saved = inner.save_pretrained(tmp_path / "inner")
    operator = {
        "name": "assimilated",
        "predictor": {"checkpoint": str(saved)},
        "train_predictor": False,
        "correction": {"modes": 8, "hidden": 4},
    }
    main([recipe(operator=operator, normalizer=None, steps=6, save_every=6), str(tmp_path / "run")])
    trained = from_pretrained(tmp_path / "run" / "checkpoint")
    for name, value in inner.state_dict().items():
        assert torch.equal(trained.predictor.state_dict()[name], value)
    start = assimilate(inner, None, correction=trained.config.correction)
    assert not torch.equal(trained.correction.spread.weight, start.correction.spread.weight)


def test_two_processes_learn_what_one_does(recipe, tmp_path):
    """Whole steps without a measurement, or with an exact start, leave no parameter waiting."""
    path = recipe(
        steps=6, micro_batch=2, validation={"every": 6, "horizon": 6}, objective=objective(0.5)
    )
    main([path, str(tmp_path / "one")])
    run("-m", "pelagos.pretrain", path, tmp_path / "two", processes=2)
    one, two = (from_pretrained(tmp_path / name / "checkpoint") for name in ("one", "two"))
    for name, value in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_a_predictor_takes_what_is_measured_from_the_data(data):
    operator = {"name": "assimilated", "predictor": {"name": "dymixop", "hidden": 4, "modes": 4}}
    operator["correction"] = {"modes": 8, "hidden": 4}
    changes = {"data": [{"path": str(data)}], "operator": operator}
    built = build(TrainRecipe, {**RECIPE, **changes})
    wrapped = create_operator(built, open_stores(built))
    alone = build(
        TrainRecipe,
        {**RECIPE, **changes, "operator": operator["predictor"], "objective": {"kind": "rollout"}},
    )
    inner = create_operator(alone, open_stores(alone))
    for key in ("resolution", "structure_change", "time_input"):
        assert getattr(wrapped.predictor.config, key) == getattr(inner.config, key)


def test_bounds_take_in_all_data_and_only_grow(data):
    built = build(TrainRecipe, {**RECIPE, "data": [{"path": str(data)}]})
    stores = open_stores(built)
    operator = create_operator(built, stores)
    scaling = operator.description.normalizer
    frames = torch.cat([stores[0].trajectory(i) for i in range(len(stores[0]))])
    scaled = scaling.scaling(frames[:, None], ("u",), stores[0].name).encode(frames[:, None])
    low, high = operator.bounds[0].tolist()
    assert low < scaled.min().item() < scaled.max().item() < high
    amplitude = operator.correction.amplitude.clone()
    operator.widen(3 * frames, stores[0].name)
    assert operator.bounds[0, 1].item() > 2 * high
    grown = operator.bounds.clone()
    fit_to_data(operator, stores, fresh=False)
    assert torch.equal(operator.bounds, grown)
    assert torch.equal(operator.correction.amplitude, amplitude)


def test_the_gain_around_a_checkpoint_starts_from_the_spectrum_of_the_data(data, tmp_path):
    inner = create("dymixop", fields=("u",), ndim=1, hidden=4, layers=2, modes=4, history=2)
    saved = inner.save_pretrained(tmp_path / "inner")
    operator = {
        "name": "assimilated",
        "predictor": {"checkpoint": str(saved)},
        "correction": {"modes": 8, "hidden": 4},
    }
    changes = {"data": [{"path": str(data)}], "operator": operator, "normalizer": None}
    built = build(TrainRecipe, {**RECIPE, **changes})
    stores = open_stores(built)
    wrapped = create_operator(built, stores)
    store = stores[0]
    power = torch.zeros(8)
    for i in range(len(store)):  # in the units of the checkpoint's own normaliser
        frames = store.read(i, 0, store.n_frames(i))[None]
        scaling = inner.description.normalizer.scaling(frames, ("u",), store.name)
        power += torch.fft.rfft(scaling.encode(frames)[0, :, 0]).abs().square().mean(0)[:8]
    found = wrapped.correction.amplitude[:, 0, 0]
    expected = power.sqrt()
    torch.testing.assert_close(found[2:] / found[1], expected[2:] / expected[1], rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"operator": {"name": "dymixop", "modes": 4}}, "dymixop predicts but cannot assimilate"),
        ({"objective": {"assimilation": {}}}, "no meaning for objective.kind rollout"),
        ({"operator": {"name": "observer", "linear": {"equation": "x"}}}, "unknown equation 'x'"),
    ],
)
def test_refusals(changes, match, recipe, tmp_path):
    with pytest.raises(ValueError, match=match):
        main([recipe(**changes), str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


SHIPPED = {
    "observer_ks": ("kuramoto_sivashinsky_1d", 64),
    "observer_kdv": ("korteweg_de_vries_1d", 64),
    "observer_ns": ("navier_stokes_forced_2d", 32),
}


@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("observer_ks", "observer_kdv")),
        "observer_ns",
    ],
)
def test_shipped_recipes_start(name, tmp_path, capsys, monkeypatch):
    """With the command of its header, in small: a dry run builds everything and predicts once."""
    equation, points = SHIPPED[name]
    header = (RECIPES / f"{name}.yaml").read_text()
    assert f"pelagos data simulate {equation} --out data" in header
    assert Path(yaml.safe_load(header)["data"][0]["path"]) == Path("data") / equation
    monkeypatch.chdir(tmp_path)
    simulate(
        equation, Path("data"), trajectories={"train": 1, "valid": 1}, resolution=points, frames=24
    )
    main([name, "run", "--dry-run", "--operator.correction.modes", "6"])
    assert "observer with" in capsys.readouterr().out


def test_gradients_stop_at_every_forecast_or_as_in_the_run(recipe, tmp_path):
    """Runs of earlier versions say how theirs do, and go on so unless they are told otherwise."""

    def asked(**assimilation):
        kind = {"kind": "assimilation", "assimilation": assimilation}
        return read(TrainRecipe, Path(recipe(objective=kind)))

    assert draw_feed(window(), AssimilationConfig(), NORMALIZER, seed=0)[1].truncate == 1
    begun = tmp_path / "run"
    begun.mkdir()
    create_run(begun, asked(truncate=0))
    for changes, truncate in (({}, 0), ({"truncate": 3}, 3)):
        found = as_begun(begun, asked(**changes))
        assert found.objective.assimilation.truncate == truncate
        assert (changes_of(begun, found) == []) == (truncate == 0)
    assert as_begun(tmp_path / "new", asked()).objective.assimilation.truncate is None
    create_run(tmp_path / "new", asked())  # whose gradients stop after 1, said or not
    assert changes_of(tmp_path / "new", as_begun(tmp_path / "new", asked(truncate=1))) == []
