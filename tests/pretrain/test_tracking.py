"""Trackers: told everything, free to fail, and never missing without a word."""

import json
import logging

import pytest
import yaml
from accelerate.tracking import GeneralTracker
from processes import run

from pelagos.datasets.simulation.simulate import simulate
from pelagos.pretrain import pretrain
from pelagos.pretrain.command import main
from pelagos.pretrain.run import tracking
from pelagos.pretrain.run.tracking import TRACKERS

RECIPE = {
    "operator": {"name": "dymixop", "history": 2, "hidden": 4, "layers": 1, "modes": 2},
    "steps": 4,
    "batch": 2,
    "micro_batch": 2,
    "log_every": 2,
    "save_every": 4,
    "validation": {"every": 4, "horizon": 2},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return simulate(
        "advection_1d",
        tmp_path_factory.mktemp("data"),
        trajectories={"train": 2, "valid": 1},
        resolution=40,
        frames=5,
        dt=0.02,
    )


@pytest.fixture
def recipe(data, tmp_path):
    def write(**changes):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({"data": [{"path": str(data)}], **RECIPE, **changes}))
        return str(path)

    return write


class Fake(GeneralTracker):
    """Keeps what it is told; `fail` names the method that fails."""

    name = "fake"
    requires_logging_directory = True
    fail = ""
    told: list

    def __init__(self, run_name, logging_dir):
        super().__init__()
        self.folder = (run_name, logging_dir)
        type(self).told = []

    @property
    def tracker(self):
        return self

    def tell(self, *what):
        self.told.append(what)
        if what[0] == self.fail:
            raise RuntimeError("no network")

    def start(self):
        self.tell("start", *self.folder)

    def store_init_configuration(self, values):
        self.tell("settings", values)

    def log(self, values, step=None, **options):
        self.tell("log", values, step)

    def finish(self):
        self.tell("finish")


@pytest.fixture
def fake(monkeypatch):
    class Mine(Fake):
        pass

    monkeypatch.setitem(TRACKERS.added, "fake", Mine)
    return Mine


def records(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_a_tracker_is_told_what_the_log_says(recipe, fake, tmp_path):
    run = tmp_path / "run"
    assert pretrain(recipe(trackers=["fake"]), run) == run / "checkpoint"
    start, (_, settings), *logged, end = fake.told
    assert start == ("start", "fake", run)
    assert end == ("finish",)
    assert settings["optimizer.learning_rate"] == 1e-3
    assert settings["objective.kind"] == "rollout"
    assert all(isinstance(value, (bool, int, float, str)) for value in settings.values())
    kinds = ["valid", "train", "speed", "train", "speed", "valid"]
    assert [r["kind"] for r in records(run)] == kinds
    assert [step for _, _, step in logged] == [r["step"] for r in records(run)]
    assert logged[1][1]["train/loss"] == records(run)[1]["loss"]
    assert logged[2][1]["speed/step_seconds"] == records(run)[2]["step_seconds"]
    assert logged[5][1]["valid/advection_1d/vrmse"] == records(run)[5]["vrmse"]


@pytest.mark.parametrize("method", ["start", "settings", "log", "finish"])
def test_whatever_a_tracker_does_training_goes_on(method, recipe, fake, tmp_path, caplog):
    fake.fail = method
    with caplog.at_level(logging.WARNING):
        main([recipe(trackers=["fake"]), str(tmp_path / "run")])
    did = "did not start" if method == "start" else "stopped"
    assert f"fake {did} (no network); log.jsonl has everything" in caplog.text
    assert sum(what[0] == method for what in fake.told) == 1
    assert records(tmp_path / "run")[-1]["step"] == 4


def test_an_unknown_tracker_is_refused_before_any_work(recipe, tmp_path):
    with pytest.raises(ValueError, match="unknown tracker 'wandbb'; did you mean 'wandb'"):
        main([recipe(trackers=["wandbb"]), str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_is_not_installed_says_what_to_do(recipe, tmp_path, monkeypatch):
    monkeypatch.setitem(tracking._AVAILABLE, "mlflow", lambda: False)
    with pytest.raises(ValueError, match=r"mlflow needs a package .*`pip install mlflow`, or"):
        main([recipe(trackers=["mlflow"]), str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_trackers_may_change_between_attempts(recipe, fake, tmp_path):
    main([recipe(), str(tmp_path / "run")])
    main([recipe(trackers=["fake"]), str(tmp_path / "run"), "--resume", "auto"])


def test_no_tracker_is_imported_that_is_not_asked_for():
    code = (
        "import sys, pelagos.pretrain.training; "
        "print(sorted({'wandb', 'mlflow', 'tensorboard'} & set(sys.modules)))"
    )
    assert run("-c", code).strip() == "[]"


def test_tensorboard(recipe, tmp_path):
    pytest.importorskip("tensorboard")
    main([recipe(trackers=["tensorboard"]), str(tmp_path / "run")])
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))


def test_a_run_that_goes_on_is_the_same_run_for_wandb(tmp_path, monkeypatch):
    wandb, told = pytest.importorskip("wandb"), []
    monkeypatch.setattr(wandb, "init", lambda **settings: told.append(settings))
    monkeypatch.setenv("WANDB_PROJECT", "ocean")
    (tmp_path / "run_id").write_text("f00d\n")
    for mode in ("online", "offline"):
        tracking.Trackers(("wandb",), tmp_path, mode, {}, step=3)
    assert [each["id"] for each in told] == ["f00d", "f00d"]
    assert [each.get("resume") for each in told] == ["allow", None]
    assert {each["project"] for each in told} == {"ocean"}
