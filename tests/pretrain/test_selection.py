"""The best weights, the average, early stopping: chosen by validation, exact after a kill."""

import json
import math
import shutil

import pytest
import torch
import yaml
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from pelagos.datasets.base.config import build
from pelagos.datasets.simulation.simulate import simulate
from pelagos.operators import from_pretrained
from pelagos.operators.core.checkpoint import read_state
from pelagos.pretrain import trainee
from pelagos.pretrain.command import main
from pelagos.pretrain.job import Job
from pelagos.pretrain.recipe import TrainRecipe
from pelagos.pretrain.run.state import latest
from pelagos.pretrain.selection import Selection

RECIPE = {
    "operator": {"name": "dymixop", "history": 2, "hidden": 4, "layers": 2, "modes": 3},
    "steps": 8,
    "batch": 2,
    "micro_batch": 1,
    "log_every": 1,
    "save_every": 4,
    "validation": {"every": 2, "trajectories": 1, "horizon": 2},
}
NAMES = ("advection_1d", "heat_1d")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    sizes = {"trajectories": {"train": 2, "valid": 1}, "resolution": 40, "frames": 6, "dt": 0.02}
    return [{"path": str(simulate(name, root, **sizes))} for name in NAMES]


@pytest.fixture
def train(data, tmp_path):
    """Train by the recipe with changes; the run."""

    def start(name="run", *options, **changes):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({"data": data, **RECIPE, **changes}))
        AcceleratorState._reset_state(reset_partial_state=True)
        main([str(path), str(tmp_path / name), *options])
        return tmp_path / name

    return start


@pytest.fixture
def scored(monkeypatch):
    """Validations have the given scores of the datasets, one pair after the other."""

    def give(*pairs):
        left = iter(pairs)

        def validate(*_):
            pair = map(float, next(left))
            return {name: (score, 1.0) for name, score in zip(NAMES, pair, strict=True)}

        monkeypatch.setattr(trainee, "validate", validate)

    return give


def records(run, kind):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [r for r in lines if r["kind"] == kind]


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def test_the_best_weights_are_kept_and_published(train, scored):
    scored((9, 9), (3, 1), (1, 2), (3, 2), (4, 4))  # at steps 0, 2, 4, 6, 8
    run = train(keep=1)
    assert [path.name for path in (run / "best").iterdir()] == ["step-00000004"]
    state = run / "state" / "step-00000004" / "operator"
    assert weights(run / "checkpoint" / "best") == weights(state) != weights(run / "checkpoint")
    assert from_pretrained(run / "checkpoint" / "best").name == "dymixop"


def test_one_dataset_can_decide_and_the_best_be_the_checkpoint(train, scored):
    scored((9, 9), (3, 1), (1, 2), (0, 2), (4, 4))
    run = train(publish="best", validation={**RECIPE["validation"], "best": "heat_1d"})
    assert [path.name for path in (run / "best").iterdir()] == ["step-00000002"]
    assert weights(run / "checkpoint") == weights(run / "best" / "step-00000002")
    assert not (run / "checkpoint" / "best").exists()


def test_a_dataset_that_is_not_there_cannot_decide(train, tmp_path):
    with pytest.raises(ValueError, match=r"validation\.best .*'heat'; did you mean 'heat_1d'"):
        train(validation={**RECIPE["validation"], "best": "heat"})
    assert not (tmp_path / "run").exists()


def test_training_ends_where_validation_gets_no_better(train, scored, capsys):
    scored((5, 5), (3, 3), (2.9, 2.9), (2.8, 2.8), (1, 1))
    run = train(early_stopping={"patience": 2, "min_delta": 0.5})
    assert [r["step"] for r in records(run, "valid")][::2] == [0, 2, 4, 6]
    [ended] = records(run, "early_stopping")
    assert (ended["step"], ended["best"], ended["vrmse"], ended["waited"]) == (6, 6, 2.8, 2)
    assert "training ends at step 6: 2 validations were no better" in capsys.readouterr().err
    assert latest(run).name == "step-00000006"
    assert weights(run / "checkpoint") == weights(latest(run) / "operator")
    # Killed after the scores were logged, and before it was said: it does not train on.
    before = (run / "log.jsonl").read_text()
    shutil.rmtree(run / "checkpoint")
    lines = before.splitlines(keepends=True)
    (run / "log.jsonl").write_text("".join(x for x in lines if '"early_stopping"' not in x))
    train("run", "--resume", "auto", early_stopping={"patience": 2, "min_delta": 0.5})
    assert sorted((run / "log.jsonl").read_text().splitlines()) == sorted(before.splitlines())
    assert weights(run / "checkpoint") == weights(latest(run) / "operator")
    train("run", "--resume", "auto")
    assert "finished already" in capsys.readouterr().out


def selection(counts_from=0, **stopping):
    values = {"data": [{"path": "data"}], "operator": {"name": "dymixop"}}
    return Selection(build(TrainRecipe, {**values, "early_stopping": stopping}), counts_from)


def test_patience_begins_with_the_last_phase():
    """Validations before it may be the best, but are not waited for."""
    chosen = selection(10, patience=2)
    for step, score in ((0, 1.0), (5, 2.0), (8, 2.0), (10, 3.0), (12, 3.5)):
        chosen.see(step, {"last": {"a": score}})
    assert (chosen.standing.step, chosen.standing.waited) == (0, 1)
    assert not chosen.exhausted
    assert chosen.see(14, {"last": {"a": 0.5}})
    assert (chosen.standing.step, chosen.standing.waited) == (14, 0)


def test_what_is_not_finite_is_never_the_best_and_is_waited_for():
    chosen = selection(patience=2)
    for step in (0, 1, 2):
        assert not chosen.see(step, {"last": {"a": math.inf}})
    assert chosen.standing.step == -1
    assert chosen.exhausted


def test_a_validation_that_a_kill_cut_short_is_made_again(train):
    run = train(average={})
    before = (run / "log.jsonl").read_text()
    shutil.rmtree(run / "checkpoint")
    assert before.splitlines()[-1].startswith('{"kind": "valid"')
    (run / "log.jsonl").write_text(before[: before.rindex('{"kind": "valid"') + 30])
    train("run", "--resume", "auto", average={})
    assert (run / "log.jsonl").read_text() == before


def without_times(run):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in r.items() if k != "seconds"} for r in lines if r["kind"] != "speed"]


@pytest.mark.parametrize("at", [4, 9, 16])
def test_interrupted_is_uninterrupted(train, tmp_path, monkeypatch, at):
    """Average, best weights and patience, stopped at any of its lines."""
    changes = {
        "average": {"decay": 0.6},
        "publish": "average",
        "early_stopping": {"patience": 3, "min_delta": 10.0},
    }
    whole = train("whole", **changes)
    assert records(whole, "early_stopping")[0]["step"] == 6
    log, stops = tmp_path / "cut" / "log.jsonl", Job.stops

    def told(self):
        return log.exists() and len(log.read_text().splitlines()) >= at

    monkeypatch.setattr(Job, "stops", told)
    with pytest.raises(SystemExit):
        train("cut", **changes)
    monkeypatch.setattr(Job, "stops", stops)
    cut = train("cut", "--resume", "auto", **changes)
    assert without_times(cut) == without_times(whole)
    for folder in ("checkpoint", "checkpoint/best"):
        assert weights(cut / folder) == weights(whole / folder)


def test_killed_before_the_best_weights_were_saved(train, scored):
    scored((9, 9), (3, 1), (1, 2), (3, 2), (4, 4))
    run = train()
    expected = weights(run / "best" / "step-00000004")
    shutil.rmtree(run / "checkpoint")
    shutil.rmtree(run / "best")
    shutil.rmtree(run / "state" / "step-00000008")
    scored((3, 2), (4, 4))
    train("run", "--resume", "auto")
    assert weights(run / "checkpoint" / "best") == expected


def test_what_was_best_after_the_state_is_not(train, scored):
    scored((9, 9), (8, 8), (7, 7), (1, 1), (5, 5))
    run = train()
    assert [path.name for path in (run / "best").iterdir()] == ["step-00000004", "step-00000006"]
    shutil.rmtree(run / "checkpoint")
    shutil.rmtree(run / "state" / "step-00000008")
    scored((8, 8), (9, 9))  # another rate of learning, say
    train("run", "--resume", "auto", "--optimizer.learning-rate", "1e-5")
    assert weights(run / "checkpoint" / "best") == weights(run / "best" / "step-00000004")


def test_the_average_is_the_one_of_the_formula(train):
    """Against weights that are saved after every step."""
    keeps = {"save_every": 1, "keep": 9, "on_nonfinite": "rewind"}  # a state at the start, too
    run = train(average={"decay": 0.5}, validation={"every": 8}, **keeps)
    states = [run / "state" / f"step-{step:08d}" for step in range(9)]
    first, *steps = [load_file(state / "operator" / "model.safetensors") for state in states]
    expected = {name: first[name] for name in load_file(states[0] / "average.safetensors")}
    assert expected.keys() == first.keys()
    for step, (state, now) in enumerate(zip(states[1:], steps, strict=True), 1):
        d = min(0.5, (1 + step) / (10 + step))
        expected = {name: d * expected[name] + (1 - d) * now[name] for name in expected}
        found = load_file(state / "average.safetensors")
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-7)
    rows = records(run, "valid")
    assert [row.get("weights") for row in rows] == [None, None, "average", "average"] * 2
    assert rows[-1]["vrmse"] != rows[-3]["vrmse"]


def test_an_average_that_is_damaged_is_named(train):
    run = train(average={})
    shutil.rmtree(run / "checkpoint")
    (latest(run) / "average.safetensors").unlink()
    with pytest.raises(ValueError, match=r"average\.safetensors is missing; remove .* to start"):
        train("run", "--resume", "auto", "--no-verify", average={})


def test_an_average_that_is_not_kept_cannot_be_published(train):
    with pytest.raises(ValueError, match=r"publish: average needs one; set average, as in"):
        train(publish="average")


def test_an_average_cannot_begin_later(train):
    run = train()
    shutil.rmtree(run / "checkpoint")
    with pytest.raises(ValueError, match="made by another recipe: average was None, now"):
        train("run", "--resume", "auto", average={})


def test_where_every_rollout_blew_up_the_last_weights_are_published(train, scored, capsys):
    scored(*[("inf", "inf")] * 5)
    run = train(publish="best")
    assert not (run / "checkpoint" / "best").exists()
    told = capsys.readouterr().err
    assert "no score was finite; the last weights are published" in told
    last, own = (read_state(path) for path in (latest(run) / "operator", run / "checkpoint"))
    assert all(torch.equal(last[name], own[name]) for name in own)
