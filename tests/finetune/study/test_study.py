"""Studies of tiny operators on tiny data: what is trained, how it is scored, what is refused."""

import html
import io
import json
import math
import os
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from processes import Launched
from rich.console import Console

from pelagos.datasets import open_store
from pelagos.datasets.base.config import build, read
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.finetune.adapt.recipe import FinetuneRecipe
from pelagos.finetune.forecast.request import Request
from pelagos.finetune.report.report import write_report
from pelagos.finetune.study import command
from pelagos.finetune.study.cells import Cell, Place, Plan
from pelagos.finetune.study.command import study
from pelagos.finetune.study.recipe import StudyConfig, StudyRecipe
from pelagos.finetune.study.result import headline, shown, warnings_of
from pelagos.finetune.study.scores import Levels, score
from pelagos.finetune.study.table import tables
from pelagos.finetune.study.worker import do
from pelagos.finetune.study.workers import Workers
from pelagos.operators import create
from pelagos.operators.core.description import Description

POINTS, FRAMES, DT = 16, 8, 0.25


def write(root: Path, name: str, counts: dict[str, int], field: str = "u") -> Path:
    """Waves of random phase that travel to the right."""
    rng = np.random.default_rng(len(name))
    x, t = np.arange(POINTS) / POINTS, DT * np.arange(FRAMES)
    for split, count in counts.items():
        phase, mode = rng.uniform(size=(count, 1, 1)), rng.integers(1, 3, size=(count, 1, 1))
        wave = np.sin(2 * np.pi * (mode * (x - 0.3 * t[:, None]) + phase))
        data = WellData(name, Grid.unit((POINTS,)), t, {field: wave})
        write_file(root / name / "data" / split / "a.hdf5", data)
    return root / name


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write(folder, "waves", {"train": 4, "valid": 2, "test": 3})
    write(folder, "heat", {"train": 2, "valid": 1, "test": 1}, field="temperature")
    sizes = {"ndim": 1, "hidden": 4, "layers": 1, "modes": 2, "history": 2}
    about = Description(fields=("u",), conserved=("u",), bounded=3.0)
    create("dymixop", description=about, seed=1, **sizes).save_pretrained(folder / "checkpoint")
    return folder


def recipe(root: Path, data: dict | None = None, **varied: object) -> StudyRecipe:
    rates = {"pretrained": [1e-3, 3e-3], "scratch": [1e-3]}
    usual = {"trajectories": [1, 4], "seeds": 2, "steps": [2], "learning_rates": rates}
    return build(
        StudyRecipe,
        {
            "data": [{"path": str(root / "waves"), **(data or {})}],
            "init_from": str(root / "checkpoint"),
            "normalizer": {"name": "statistics"},
            "batch": 2,
            "micro_batch": 2,
            "log_every": 1,
            "save_every": 1,
            "validation": {"every": 1, "trajectories": 2, "horizon": 3},
            "study": {**usual, **varied},
        },
    )


class Here(Workers):
    """Does the tasks of a study in this process, one after the other; stops when told so."""

    stop_after = math.inf

    def __init__(self, count: int, logs: Path) -> None:
        self.count, self.running, self.done = count, {}, 0

    def __enter__(self):
        return self

    def __exit__(self, *error: object) -> None:
        return

    @property
    def free(self) -> int:
        return self.count - len(self.running)

    def give(self, task) -> None:
        self.running[task.run] = task

    def finished(self):
        for name in list(self.running):
            if self.done >= self.stop_after:
                raise KeyboardInterrupt
            do(self.running[name])
            self.done += 1
            yield self.running.pop(name)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> type[Here]:
    monkeypatch.setattr(command, "Workers", Here)
    monkeypatch.setattr(Here, "stop_after", math.inf)
    return Here


@pytest.fixture(scope="module")
def done(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that was not interrupted."""
    folder = tmp_path_factory.mktemp("done") / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "Workers", Here)
        study(recipe(root), folder, workers=1)
    return folder


def found(folder: Path) -> dict:
    values = json.loads((folder / "study.json").read_text())
    for budget in values["budgets"]:
        for one in budget["curves"].values():
            del one["seconds"]
    return values


def saved(score: Path) -> dict:
    return json.loads(score.read_text()) | {"seconds_per_step": None}


def test_every_cell_is_a_run_and_its_rate_is_the_best_by_validation(done):
    values = found(done)
    assert values["complete"]
    assert values["trajectories"] == [1, 4]
    cells = sorted(path.parent for path in done.glob("cells/*/*/score.json"))
    assert len(cells) == 2 * (2 + 1) + 2 * 2  # two rates at the first seed; one rate
    for k, count in enumerate(values["trajectories"]):
        tried = {
            rate: json.loads(
                (done / f"cells/pretrained/2-steps-{count}-trajectories-seed-0-rate-{rate:g}")
                .joinpath("score.json")
                .read_text()
            )["validation"]
            for rate in (1e-3, 3e-3)
        }
        chosen = values["budgets"][0]["curves"]["pretrained"]["rates"][k]
        assert chosen == min(tried, key=lambda rate: tried[rate])
        other = [cell for cell in cells if f"-{count}-trajectories-seed-1" in cell.name]
        assert {cell.parent.name for cell in other} == {"pretrained", "scratch"}
    for cell in cells:
        assert (cell / "checkpoint" / "model.safetensors").is_file()
        assert not (cell / "state").exists()
        read(FinetuneRecipe, cell / "recipe.yaml")


def test_starts_differ_in_nothing_but_the_weights(done):
    cells = {p.parent.parent.name: p.parent for p in done.glob("cells/*/*-4-*-seed-1-*/score.json")}
    ours, theirs = (
        yaml.safe_load((cells[name] / "recipe.yaml").read_text())
        for name in ("pretrained", "scratch")
    )
    differing = {key for key in ours if ours[key] != theirs[key]}
    said = {"conditions", "time_scale", "conserved", "bounded"}  # by the checkpoint, for the others
    assert differing <= {"init_from", "operator", "optimizer", *said}
    made = [
        json.loads((cells[name] / "checkpoint" / "config.json").read_text())
        for name in ("pretrained", "scratch")
    ]
    for key in ("fields", "normalizer", "time_scale", "time_steps", "conserved", "bounded"):
        assert made[0][key] == made[1][key]
    assert made[0]["conserved"] == ["u"]
    assert made[0]["bounded"] == 3.0
    measured = {"structure_change", "time_input", "resolution"}
    sizes = [{k: v for k, v in each["config"].items() if k not in measured} for each in made]
    assert sizes[0] == sizes[1]


def test_statistics_of_a_cell_are_those_of_its_trajectories(root, done):
    whole = open_store(root / "waves", "train")
    for cell in done.glob("cells/scratch/*-1-trajectories-*"):
        values = yaml.safe_load((cell / "recipe.yaml").read_text())["data"][0]
        order = torch.randperm(4, generator=torch.Generator().manual_seed(values["subset_seed"]))
        only = whole.trajectory(int(order[0])).numpy()
        config = json.loads((cell / "checkpoint" / "config.json").read_text())
        assert config["normalizer"]["std"]["waves"]["u"] == pytest.approx(only.std(), rel=1e-5)
        assert config["normalizer"]["mean"]["waves"]["u"] == pytest.approx(only.mean(), abs=1e-6)


def test_scores_of_an_earlier_version_are_made_again_without_training(root, done, tmp_path, here):
    folder = shutil.copytree(done, tmp_path / "study")
    scores = sorted(folder.glob("cells/*/*/score.json"))
    before = [saved(path) for path in scores]
    for path, values in zip(scores, before, strict=True):
        path.write_text(json.dumps(values | {"schema": 1, "vrmse": [0.0]}))
    logs = [(path.parent / "log.jsonl").read_bytes() for path in scores]
    study(recipe(root), folder, workers=1)
    assert [saved(path) for path in scores] == before
    assert [(path.parent / "log.jsonl").read_bytes() for path in scores] == logs
    assert found(folder) == found(done)


def test_curves_are_geometric_means_of_medians(done):
    values = found(done)
    curve = values["budgets"][0]["curves"]["scratch"]["relative_l1"]
    for k, row in enumerate(curve["curve"]):
        medians = []
        for seed in (0, 1):
            name = f"2-steps-{row['trajectories']}-trajectories-seed-{seed}-rate-0.001"
            saved = json.loads((done / "cells/scratch" / name / "score.json").read_text())
            medians.append(np.median(saved["relative_l1"]))
        assert curve["median"][k] == pytest.approx(medians)
        assert row["value"] == pytest.approx(math.sqrt(math.prod(medians)))
    gains = headline(values["budgets"][0], "scratch", "relative_l1")
    assert gains["EG"]["trajectories"] == 4
    assert gains["AG"]["trajectories"] == 1
    ours = values["budgets"][0]["curves"]["pretrained"]["relative_l1"]["curve"][0]["value"]
    expected = curve["curve"][0]["value"] / ours
    assert gains["AG"]["value"]["number"] == pytest.approx(expected)


def test_an_interrupted_study_ends_as_if_it_was_not(root, done, tmp_path, here):
    here.stop_after = 4
    with pytest.raises(KeyboardInterrupt):
        study(recipe(root), tmp_path / "study", workers=1)
    assert not found(tmp_path / "study")["complete"]
    here.stop_after = math.inf
    study(recipe(root), tmp_path / "study", workers=1)
    assert found(tmp_path / "study") == found(done)
    for saved in done.glob("cells/*/*/checkpoint/model.safetensors"):
        twin = tmp_path / "study" / saved.relative_to(done)
        assert twin.read_bytes() == saved.read_bytes()


def test_a_finished_study_does_nothing_again_and_says_what_changed(root, done, tmp_path, here):
    folder = tmp_path / "study"
    shutil.copytree(done, folder)
    here.stop_after = 0
    assert study(recipe(root, seeds=1), folder, workers=1)["seeds"] == [0]
    study(recipe(root), folder, workers=1)
    again = found(folder)
    changes = ["study.seeds was 2, now 1", "study.seeds was 1, now 2"]
    assert again == {**found(done), "changes": changes}


def test_another_recipe_in_the_same_folder_is_refused(root, done):
    with pytest.raises(ValueError, match="is a study with another batch; choose another directory"):
        study(replace(recipe(root), batch=4), done, workers=1)
    with pytest.raises(ValueError, match=r"is a study with another study\.test"):
        study(recipe(root, test={"steps": 2}), done, workers=1)


def test_another_folder_is_left_alone(root, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists and is no study"):
        study(recipe(root), tmp_path, workers=1)


@pytest.mark.parametrize(
    ("data", "varied", "message"),
    [
        ({}, {"trajectories": [1, 8]}, "asks for 8 training trajectories, but 'waves' has 4; end"),
        ({}, {"trajectories": [4, 2, 1]}, r"must increase; got 4, 2, 1: write \[1, 2, 4\]"),
        ({}, {"steps": []}, r"study\.steps needs a number of optimizer steps"),
        ({}, {"tuned_at": [3]}, r"study\.tuned_at names 3, which is none of .* \(1, 4\)"),
        ({}, {"learning_rates": {"scratch": []}}, r"learning_rates\.scratch needs rates"),
        ({}, {"test": {"trajectories": 9}}, r"asks for 9, but 'waves' has 3 in its test split"),
        ({"trajectories": 2}, {}, r"data\[0\]\.trajectories is what a study varies"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(root, tmp_path, data, varied, message):
    with pytest.raises(ValueError, match=message):
        study(recipe(root, data, **varied), tmp_path / "study", workers=1)
    assert not (tmp_path / "study").exists()


def test_data_without_a_common_field_are_refused_with_a_remedy_that_works(root, tmp_path):
    alone = {"path": str(root / "heat")}
    with pytest.raises(ValueError, match=r"knows no field of 'heat' .*rename: \{temperature: u\}"):
        study(recipe(root, alone, trajectories=[1]), tmp_path / "study", workers=1)
    asked = recipe(root, {**alone, "rename": {"temperature": "u"}}, trajectories=[1])
    assert command._subject(asked).plan.counts == (1,)


def test_a_peer_that_is_not_installed_is_named(root, tmp_path, monkeypatch):
    monkeypatch.setattr("pelagos.finetune.study.peer.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'pelagos\[peers\]'"):
        study(recipe(root, peer={"hidden": 4}), tmp_path / "study", workers=1)


def test_numbers_of_trajectories_are_powers_of_two_and_all():
    config = StudyConfig()
    assert config.counts(12, "data") == (1, 2, 4, 8, 12)
    assert config.counts(8, "data") == (1, 2, 4, 8)
    assert config.counts(1, "data") == (1,)


def test_rates_are_taken_from_the_nearest_tuned_number():
    rates = {"pretrained": [3e-4, 1e-3], "scratch": [1e-3, 3e-3]}
    values = {"tuned_at": [2, 8], "steps": [5], "seeds": 3, "learning_rates": rates}
    config = build(StudyConfig, values)
    plan = Plan(config, (1, 2, 4, 8))
    place = Place("pretrained", 5, 1)
    assert plan.cells(place, {}) == []
    at_two = replace(place, trajectories=2)
    low, high = (Cell(at_two, 0, rate) for rate in (3e-4, 1e-3))
    assert plan.cells(at_two, {}) == [low, high]
    validation = {low: 0.5, high: 0.2}
    assert [cell.rate for cell in plan.cells(place, validation)] == [1e-3] * 3
    assert plan.cells(replace(place, trajectories=8), validation)[0].seed == 0
    everything = {
        Cell(replace(place, start=start, trajectories=count), 0, rate): 1.0
        for start, tried in rates.items()
        for count in (2, 8)
        for rate in tried
    }
    cells = {cell for at in plan.places() for cell in plan.cells(at, everything)}
    assert plan.work() == sum(cell.place.steps for cell in cells)


def test_scores_are_those_of_the_definition(root, shift, tmp_path):
    """A shifted sine against the still one, in units of the deviation about the mean."""
    store = open_store(root / "waves", "test")
    operator = shift((DT,), speed=0.3)
    levels = Levels({"u": 0.5}, {"u": 2.0})
    exact = score(operator, store, levels, Request(), 2)
    assert exact["relative_l1"] == pytest.approx([0, 0, 0], abs=1e-5)
    truth = np.stack([store.trajectory(i).numpy()[:, 0] for i in range(3)]).astype(float)
    still = np.abs(truth[:, 0] - truth[:, -1]).sum(-1) / np.abs(truth[:, -1] - 0.5).sum(-1)
    assert exact["persistence"]["relative_l1"] == pytest.approx(still, rel=1e-5)
    error = np.sqrt(np.square(truth[:, :1] - truth[:, 1:]).mean(-1))
    vrmse = (error / truth[:, 1:].std(-1)).mean(-1)
    assert exact["persistence"]["vrmse"] == pytest.approx(vrmse, rel=1e-5)
    near = (error / truth[:, 1:].std(-1))[:, :2].mean(-1)
    assert exact["persistence"]["vrmse_horizon"] == pytest.approx(near, rel=1e-5)


def test_blown_up_rollouts_are_counted(root, shift):
    store = open_store(root / "waves", "test")
    found = score(shift((DT,), gain=1e9), store, Levels.of(store), Request(), 1)
    assert found["blown_up"] == 3
    assert found["vrmse"] == [None] * 3
    assert found["persistence"]["blown_up"] == 0


def test_good_persistence_is_warned_of(done):
    values = found(done)
    values["persistence"]["relative_l1"]["median"] = 0.1
    assert any("persistence is good on these data already" in line for line in warnings_of(values))


@pytest.mark.slow
def test_the_command_goes_on_after_ctrl_c(root, tmp_path):
    """Real workers, of which one is in the middle of a training that it saves."""
    asked = recipe(root, trajectories=[1], steps=[60], seeds=1)
    path = tmp_path / "recipe.yaml"
    values = yaml.safe_load(yaml.safe_dump(command.plain(asked)))
    values["study"]["learning_rates"] = {k: [1e-3] for k in ("pretrained", "scratch", "peer")}
    values["save_every"] = 60
    values["validation"]["every"] = 60
    path.write_text(yaml.safe_dump(values))
    words = ["-c", RUN, "study", path, tmp_path / "s", "--workers", "1"]
    first = Launched(*words)
    log = tmp_path / "s/cells/pretrained/60-steps-1-trajectories-seed-0-rate-0.001/log.jsonl"
    first.until(lambda: log.is_file() and log.read_text().count('"train"') > 3)
    os.kill(first.pid, signal.SIGINT)
    output = first.wait()
    assert first.returncode == 130, output
    assert list(log.parent.glob("state/step-*")) or (log.parent / "score.json").is_file()
    assert "gains of pretraining" in Launched(*words).finish()
    assert found(tmp_path / "s")["complete"]


RUN = "import sys; from pelagos.finetune.cli.console import main; main(sys.argv[1:])"


def test_a_report_shows_a_study_alone(done, tmp_path):
    page = write_report([done], tmp_path / "report.html").read_text()
    values = found(done)
    gain = headline(values["budgets"][0], "scratch", "relative_l1")["EG"]
    assert '<section id="studies">' in page
    assert '<section id="learning">' not in page
    assert html.escape(shown(gain)) in page
    assert page.count("<svg") == 3


def test_the_figure_shows_both_errors_and_a_legend_that_fits(done):
    drawn = (done / "study.svg").read_text()
    assert "trained horizon (median)" in drawn
    assert "the last frame (median)" in drawn
    size = re.search(r'viewBox="0 0 ([\d.]+) ', drawn)
    starts = dict(re.findall(r'x="([-\d.]+)"[^>]*>(persistence|pretrained)</text>', drawn))
    starts = {label: float(x) for x, label in starts.items()}
    assert size is not None
    assert 0 < starts["pretrained"] < starts["persistence"] < float(size[1]) - 50


def test_tables_say_what_is_not_there_yet(done):
    values = found(done)
    console = Console(width=200, record=True, file=io.StringIO())
    row = values["budgets"][0]["curves"]["scratch"]["vrmse"]["curve"][0]
    row["done"] = False
    for table in tables(values):
        console.print(table)
    lines = console.export_text().splitlines()
    errors = [line for line in lines if "from scratch" in line and "M^" in line]
    assert ["…" in line for line in errors] == [False, True, False]


def test_data_of_another_dimension_are_refused(root, tmp_path):
    plane = create("dymixop", fields=("u",), ndim=2, hidden=4, layers=1, modes=2, history=2)
    plane.save_pretrained(tmp_path / "plane")
    with pytest.raises(ValueError, match="works in 2D, and waves is 1D"):
        study(replace(recipe(root), init_from=str(tmp_path / "plane")), tmp_path / "s", workers=1)


def test_another_checkpoint_under_the_same_name_is_refused(root, done, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(done, folder)
    values = json.loads((folder / "study.json").read_text())
    values["checkpoint"]["sha256"] = "0" * 64
    (folder / "study.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match="is not the checkpoint any more"):
        study(recipe(root), folder, workers=1)
