"""A way back: a loss that is not finite, an earlier state, another order of the data."""

import json
import math
import shutil
from pathlib import Path

import processes
import pytest
import yaml
from accelerate.state import AcceleratorState

from pelagos.datasets.simulation.simulate import simulate
from pelagos.pretrain.command import main
from pelagos.pretrain.course import Course
from pelagos.pretrain.job import Job
from pelagos.pretrain.nonfinite import NotFinite
from pelagos.pretrain.objectives.rollout import Rollout
from pelagos.pretrain.run.state import latest, read_progress

RECIPE = {
    "operator": {"name": "dymixop", "history": 2, "hidden": 4, "layers": 2, "modes": 3},
    "steps": 8,
    "batch": 2,
    "micro_batch": 1,
    "log_every": 1,
    "save_every": 4,
    "validation": {"every": 4, "trajectories": 1, "horizon": 2},
    "on_nonfinite": "rewind",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    sizes = {"trajectories": {"train": 2, "valid": 1}, "resolution": 40, "frames": 6, "dt": 0.02}
    return str(simulate("advection_1d", tmp_path_factory.mktemp("data"), **sizes))


@pytest.fixture
def train(data, tmp_path):
    def start(name="run", *options, **changes):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({"data": [{"path": data}], **RECIPE, **changes}))
        AcceleratorState._reset_state(reset_partial_state=True)
        main([str(path), str(tmp_path / name), *options])
        return tmp_path / name

    return start


@pytest.fixture
def seeds(train, monkeypatch):
    """The seed of every micro-batch in the first order, and in the second one."""
    loss, seen = Rollout.loss, []

    def noted(self, model, window, normalizer, seed):
        seen.append(seed)
        return loss(self, model, window, normalizer, seed)

    monkeypatch.setattr(Rollout, "loss", noted)
    train("first")
    monkeypatch.setattr(Rollout, "loss", loss)
    return seen


@pytest.fixture
def poison(monkeypatch):
    """Losses of micro-batches with these seeds, or with all but these, are not finite."""
    loss = Rollout.loss

    def start(bad):
        def poisoned(self, model, window, normalizer, seed):
            factor = math.nan if bad(seed) else 1.0
            return loss(self, model, window, normalizer, seed) * factor

        monkeypatch.setattr(Rollout, "loss", poisoned)

    return start


def lines(run):
    text = (run / "log.jsonl").read_text().replace(str(run), "RUN")
    records = [json.loads(line) for line in text.splitlines()]
    return [{k: v for k, v in r.items() if k != "seconds"} for r in records if r["kind"] != "speed"]


def weights(run):
    return (run / "checkpoint" / "model.safetensors").read_bytes()


def test_training_goes_back_and_takes_another_order(train, seeds, poison, capsys):
    assert len(set(seeds)) == 16
    poison(lambda seed: seed == seeds[9])  # in step 5
    run = train()
    [rewound] = [r for r in lines(run) if r["kind"] == "rewound"]
    assert (rewound["step"], rewound["failed"], rewound["order"]) == (5, 5, 1)
    assert "the loss is nan at step 5; its windows are advection_1d: " in rewound["why"]
    assert "back to step 4, and on with the data in another order" in capsys.readouterr().err
    steps = [r["step"] for r in lines(run) if r["kind"] == "train"]
    assert steps == [*range(1, 9)]
    assert read_progress(latest(run)).rewinds == 1
    assert [path.name for path in run.glob("nonfinite*")] == [
        "nonfinite-step-00000005-batch-9.safetensors"
    ]
    assert weights(run) != weights(run.parent / "first")


def test_the_start_is_a_state_too(train, seeds, poison):
    poison(lambda seed: seed == seeds[2])
    run = train()
    assert [r["step"] for r in lines(run) if r["kind"] == "rewound"] == [1]
    assert [r["step"] for r in lines(run) if r["kind"] == "valid"] == [0, 4, 8]


@pytest.mark.parametrize("at", [6, 9, 12])
def test_interrupted_is_uninterrupted(train, seeds, poison, monkeypatch, at):
    """Stopped after so many lines of the log: before it goes back, just then, and later."""
    bad = {seeds[9]}
    poison(lambda seed: seed in bad)
    whole = train("whole")
    stops, log = Job.stops, whole.with_name("cut") / "log.jsonl"

    def told(self):
        return log.exists() and len(log.read_text().splitlines()) >= at

    monkeypatch.setattr(Job, "stops", told)
    with pytest.raises(SystemExit):
        train("cut")
    monkeypatch.setattr(Job, "stops", stops)
    cut = train("cut", "--resume", "auto")
    assert lines(cut) == lines(whole)
    assert weights(cut) == weights(whole)


def test_killed_after_the_state_of_the_start(train, monkeypatch):
    """The log is empty then."""
    expected, save = weights(train("whole")), Course.save

    def save_and_die(self, progress):
        save(self, progress)
        raise RuntimeError("killed")

    monkeypatch.setattr(Course, "save", save_and_die)
    with pytest.raises(RuntimeError, match="killed"):
        train()
    monkeypatch.setattr(Course, "save", save)
    assert weights(train("run", "--resume", "auto")) == expected


def test_killed_before_the_next_state(train, seeds, poison):
    """From the state of the first order the same happens again."""
    poison(lambda seed: seed == seeds[9])
    run = train()
    before, expected = lines(run), weights(run)
    shutil.rmtree(run / "checkpoint")
    shutil.rmtree(run / "state" / "step-00000008")
    train("run", "--resume", "auto")
    assert lines(run) == before
    assert weights(run) == expected


def test_two_processes_go_back_together(train, seeds, data, tmp_path):
    """Only one of them sees what is not finite; the end is that of one process alone."""
    script = Path(__file__).parents[1] / "support" / "rewinding.py"
    for name, count in (("one", 1), ("two", 2)):
        where = str(tmp_path / "recipe.yaml"), str(tmp_path / name)
        processes.run(script, str(seeds[9]), *where, processes=count)
        assert [r["order"] for r in lines(tmp_path / name) if r["kind"] == "rewound"] == [1]
    assert weights(tmp_path / "one") == weights(tmp_path / "two")


def test_it_goes_back_so_often_and_no_more(train, seeds, poison, capsys):
    good = set(seeds[:8])
    poison(lambda seed: seed not in good)
    with pytest.raises(NotFinite, match=r"the loss is nan at step 5; .*step-00000004"):
        train(rewinds=2)
    assert "training went back 2 times already" in capsys.readouterr().err


def test_samples_are_those_that_were_learned_from(train, data, monkeypatch):
    """Also where datasets have micro-batches of their own, of which another order draws others."""
    loss, seen = Rollout.loss, []

    def noted(self, model, window, normalizer, seed):
        seen.append(len(window.history))
        value = loss(self, model, window, normalizer, seed)
        return value * (math.nan if len(seen) == 10 else 1.0)  # in step 5

    monkeypatch.setattr(Rollout, "loss", noted)
    entries = [{"path": data, "name": "one"}, {"path": data, "name": "two", "micro_batch": 3}]
    run = train(data=entries)
    counted = [sum(seen[:8][: 2 * step]) for step in range(1, 5)]
    counted += [sum(seen[:8]) + sum(seen[10:][: 2 * step]) for step in range(1, 5)]
    assert [r["samples"] for r in lines(run) if r["kind"] == "train"] == counted
