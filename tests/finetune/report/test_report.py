from __future__ import annotations

import json
import math
import re
import shutil
from functools import cache, partial
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import xarray
import yaml

from pelagos.datasets import open_store
from pelagos.datasets.base.sealed import unsealed
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.finetune.forecast.evaluate import evaluate, write_evaluation
from pelagos.finetune.forecast.predict import predict, write_prediction
from pelagos.finetune.report.comparison import (
    BEATS,
    EQUAL,
    HELPED,
    HURT,
    LOSES,
    MIXED,
    UNKNOWN,
    compare,
)
from pelagos.finetune.report.report import write_report
from pelagos.pretrain.run.records import read_runs


@pytest.fixture(scope="module")
def scored(wave, shift, tmp_path_factory):
    """A folder with what a run ends with: operators that are alike are scored once."""

    @cache
    def make(speed: float, gain: float, steps: int | None, long: bool) -> Path:
        path = tmp_path_factory.mktemp("scored")
        operator = shift(speed=speed, gain=gain)
        operator.save_pretrained(path / "checkpoint")
        result = evaluate(operator, open_store(wave), steps=steps, long=long)
        write_evaluation(result | {"data": "data/wave"}, path / "evaluation.json")
        write_prediction(predict(operator, open_store(wave)), path / "prediction.nc")
        return path

    return make


@pytest.fixture(scope="module")
def run_in(scored):
    """Writes a run directory whose operator advects at `speed` (the truth moves at 0.3)."""

    def make(
        folder: Path, name: str, speed: float = 0.3, init_from: str | None = "pre", **options
    ) -> Path:
        path = folder / "runs" / name
        asked = options.get("steps"), options.get("long", False)
        shutil.copytree(scored(speed, options.get("gain", 1.0), *asked), path)
        recipe = {"data": [{"path": "data/wave"}], "operator": {"name": "shift"}}
        recipe |= {"init_from": init_from, "seed": 0} | options.get("recipe", {})
        (path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        samples = options.get("samples", 640)
        records = [
            {"kind": "train", "step": s, "samples": samples * s // 20, "loss": 1 / s, "lr": 1e-3,
             "grad_norm": 1.0, "seconds": 2.0 * s}
            for s in range(1, 21)
        ]  # fmt: skip
        records += [
            {"kind": "valid", "step": s, "dataset": "wave", "vrmse": v, "persistence": 0.5}
            for s, v in ((0, math.inf), (20, 0.1))
        ]
        text = "".join(json.dumps(r) + "\n" for r in [*records, {"kind": "other", "step": 3}])
        (path / "log.jsonl").write_text(text + '{"kind": "train", "st')
        return path

    return make


@pytest.fixture
def drawn_run(run_in, tmp_path):
    return partial(run_in, tmp_path)


@pytest.fixture
def make_run(drawn_run, monkeypatch):
    """For tests of words: figures are made, and not drawn, which takes most of a report's time."""

    def blank(self, file, **options) -> None:
        file.write('<svg viewBox="0 0 1 1"></svg>')

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", blank)
    return drawn_run


@pytest.fixture(scope="module")
def page(run_in, tmp_path_factory) -> str:
    """The report about a fine-tuned run and one from scratch."""
    folder = tmp_path_factory.mktemp("report")
    runs = [run_in(folder, "tuned"), run_in(folder, "scratch", 0.5, None)]
    return write_report(runs, folder / "r.html", title="Waves & <more>").read_text()


def test_page_says_what_it_must(page) -> None:
    text = _text(page)
    assert "Waves & <more>" in text
    assert "Pretraining helped." in text
    for word in ("tuned", "scratch", "persistence", "One-step VRMSE", "640", "40 s", "from pre"):
        assert word in text
    for heading in ("Error over lead time", "Learning curves", "Energy spectra", "How it was made"):
        assert heading in text
    assert "pelagos finetune" in text
    assert "--split test --trajectories 3 --start 0 --steps 11" in text
    assert "lead time [s]" in text
    assert "x [m]" in text
    assert "√(⟨(p − y)²⟩" in text  # the conventions


def test_page_is_self_contained_and_accessible(page) -> None:
    assert "http" not in page
    links = re.findall(r"(?:href|src)=\"(.*?)\"", page)
    assert links
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert not re.findall(r"url\((?!#)", page)
    charts = re.findall(r"<svg[^>]*>", page)
    # Error and correlation, loss and validation, 3 images per run, 3 spectra.
    assert len(charts) == 2 + 2 + 2 * 3 + 3
    assert all(re.search(r'role="img" aria-label="[^"]{20,}"', chart) for chart in charts)
    anchors = set(re.findall(r'href="#([a-z-]+)"', page))
    assert anchors <= set(re.findall(r'id="([a-z-]+)"', page))
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_one_run_keeps_its_colour_everywhere(page) -> None:
    legends = re.findall(r'color:var\(--run-(\d)\);border-top-style:solid"></span>(\w+)', page)
    assert set(legends) == {("0", "tuned"), ("1", "scratch")}
    assert "#0072b2" not in page.split("</style>")[1]


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [(0.31, 0.4, HELPED), (0.4, 0.31, HURT), (0.4, 0.4005, EQUAL)],
)
def test_verdict_follows_the_rollout_error(make_run, ours, theirs, verdict) -> None:
    runs = read_runs([make_run("ours", ours), make_run("theirs", theirs, None)])
    (comparison,) = compare(runs)
    assert comparison.verdict == verdict
    values = [run.scores["summary"]["vrmse"] for run in runs]
    ratio = max(values) / min(values)
    assert (verdict == EQUAL) == (ratio <= 1.1)
    if verdict == HELPED:
        assert f"{ratio:.3g} times smaller" in comparison.sentences[0]


def test_each_start_is_compared_with_scratch_on_its_own(make_run) -> None:
    starts = {"near": 0.31, "far": 0.4}
    runs = [make_run(name, speed, init_from=name) for name, speed in starts.items()]
    found = compare(read_runs([*runs, make_run("none", 0.36, None)]))
    assert {c.start: c.verdict for c in found} == {"near": HELPED, "far": HURT}
    assert "One run each" in found[0].sentences[-1]


def test_ratio_in_words() -> None:
    from pelagos.finetune.report.comparison import _versus

    def words(a: float | None, b: float | None, key: str = "vrmse") -> str:
        return _versus("It is", {key: a}, {key: b}, key, "")

    assert (
        words(0.1, 0.3) == "It is 0.100 with pretraining and 0.300 from scratch: 3 times smaller."
    )
    assert words(0.12, 0.1).endswith(": 20% larger.")
    assert words(0.08, 0.1).endswith(": 20% smaller.")
    assert words(0.1, 0.1).endswith(": the same.")
    assert words(None, 0.1) == "It is not finite with pretraining and 0.100 from scratch."
    assert words(3.0, 1.0, "valid_time").endswith(": 3 times longer.")


def test_blown_up_run_loses_and_is_named(make_run, tmp_path) -> None:
    runs = [make_run("ours"), make_run("theirs", init_from=None, gain=1e20)]
    (comparison,) = compare(read_runs(runs))
    assert comparison.verdict == HELPED
    assert "not finite from scratch" in comparison.sentences[0]
    assert comparison.sentences[1].startswith("Some rollouts blow up")
    (runs[0] / "prediction.nc").unlink()
    text = _text(write_report(runs, tmp_path / "r.html").read_text())
    assert "theirs: 3 rollout(s) became infinite or NaN" in text
    runs = [make_run("both", gain=1e20), runs[1]]
    assert compare(read_runs(runs))[0].verdict == UNKNOWN


def test_losing_to_persistence_is_said(make_run) -> None:
    runs = read_runs([make_run("ours", gain=1.3), make_run("theirs", init_from=None, gain=1.5)])
    (comparison,) = compare(runs)
    assert comparison.verdict == HELPED
    assert any("Neither beats persistence" in sentence for sentence in comparison.sentences)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"init_from": None, "samples": 1280}, "share no setting"),
        ({"init_from": None, "steps": 5}, "share no setting"),
        ({"init_from": None, "recipe": {"data": [{"path": "x"}]}}, "share no setting"),
        ({}, "started from scratch"),
    ],
)
def test_unequal_runs_are_not_compared(make_run, options, reason) -> None:
    (comparison,) = compare(read_runs([make_run("a"), make_run("b", **options)]))
    assert comparison.verdict == UNKNOWN
    assert reason in comparison.sentences[0]


def test_ways_to_predict_are_not_compared_and_are_told_how_to_repeat(make_run) -> None:
    """Direct prediction of some lead times, and steps."""
    paths = [make_run("direct one"), make_run("scratch", init_from=None)]
    file = paths[0] / "evaluation.json"
    result = unsealed(json.loads(file.read_text()))
    assert compare(read_runs(paths))[0].verdict != UNKNOWN
    times = [0.25 * k + 0.1 for k in range(result["steps"])]
    for change, option in (({"mode": "direct"}, "--mode direct"), ({"lead_times": times}, "0.1,")):
        file.write_text(json.dumps(result | change))
        runs = read_runs(paths)
        assert compare(runs)[0].verdict == UNKNOWN
        text = write_report(paths, paths[0] / "r.html", overwrite=True).read_text()
        assert option in text
        assert "pelagos evaluate &#39;" in text  # a path with a space
    assert "predicted after 0.1, 0.35" in text


def test_where_nothing_was_pretrained_runs_stand_beside_persistence(make_run, tmp_path) -> None:
    """Nobody asks whether pretraining helped."""
    runs = [make_run("good", init_from=None), make_run("bad", init_from=None, gain=1.5)]
    (comparison,) = compare(read_runs(runs[:1]))
    assert (comparison.verdict, comparison.tone) == (BEATS, "even")
    assert "persistence (the last known frame, repeated) scores" in comparison.sentences[0]
    assert compare(read_runs(runs))[0].verdict == MIXED
    assert compare(read_runs(runs[1:]))[0].verdict == LOSES
    text = _text(write_report(runs, tmp_path / "r.html").read_text())
    assert "pretraining helped" not in text


def test_frames_of_which_nothing_is_known_beat_nothing(make_run, tmp_path) -> None:
    """All stored frames have holes everywhere: there is no score of anything."""
    runs = [make_run("a", init_from=None), make_run("b")]
    for run in runs:
        path = run / "evaluation.json"
        result = unsealed(json.loads(path.read_text()))
        for summary in (result["summary"], result["summary"]["persistence"]):
            summary |= dict.fromkeys(("vrmse", "vrmse_median", "vrmse_one_step", "nrmse"))
        path.write_text(json.dumps(result))
    assert compare(read_runs(runs[:1]))[0].verdict == LOSES
    assert compare(read_runs(runs))[0].verdict == UNKNOWN
    write_report(runs, tmp_path / "r.html")


def _rows(page: str) -> dict[str, list[str]]:
    """The cells of the table of scores by the run's name; the best end in a star."""
    found = {}
    for row in re.findall(r'<tr role="row".*?</tr>', page.split("<tbody")[1], re.DOTALL):
        [name] = re.findall(r"</span>(.*?)<small>", row)
        cells = re.findall(r'<td role="cell" data-label="[^"]+"( class="best")?>(.*?)</td>', row)
        found[name] = [text + "★" * bool(best) for best, text in cells]
    return found


def test_what_was_never_valid_is_not_the_best(make_run, tmp_path) -> None:
    """At lead time 0.25 · 4 the fastest wave has lost its correlation from the first step on."""
    run = make_run("run", init_from=None, gain=-1.0)
    path = run / "evaluation.json"
    result = unsealed(json.loads(path.read_text()))
    assert result["summary"]["valid_time"] == 0.0
    rows = _rows(write_report([run], tmp_path / "r.html").read_text())
    assert rows["run"][3] == "0.00 s"
    assert rows["persistence"][3].endswith("★")
    result["summary"]["persistence"]["valid_time"] = 0.0
    path.write_text(json.dumps(result))
    rows = _rows(write_report([run], tmp_path / "r.html", overwrite=True).read_text())
    assert rows["run"][3] == rows["persistence"][3] == "0.00 s"


def test_a_steady_problem_has_no_valid_time(make_run, tmp_path) -> None:
    run = make_run("run", init_from=None)
    path = run / "evaluation.json"
    result = unsealed(json.loads(path.read_text()))
    path.write_text(json.dumps(result | {"steady": True, "steps": 1, "lead_times": [1.0]}))
    page = write_report([run], tmp_path / "r.html").read_text()
    rows, text = _rows(page), _text(page)
    assert rows["run"][3] == rows["persistence"][3] == "–"
    assert "zero everywhere" in text
    assert "the solution, from its inputs" in text
    for words in ("Error over lead time", "last known frame", "1 predicted"):
        assert words not in text


def test_other_versions_scores_are_not_compared(make_run) -> None:
    runs = [make_run("a"), make_run("b", init_from=None)]
    path = runs[0] / "evaluation.json"
    result = unsealed(json.loads(path.read_text()))
    result["conventions"]["vrmse"] = "Otherwise."
    path.write_text(json.dumps(result))
    (comparison,) = compare(read_runs(runs))
    assert comparison.verdict == UNKNOWN
    assert "scored by the same version" in comparison.sentences[0]


def test_other_differences_of_the_recipes_are_named(make_run) -> None:
    other = {"optimizer": {"learning_rate": 0.1}, "seed": 3}
    runs = read_runs([make_run("a"), make_run("b", init_from=None, recipe=other)])
    assert compare(runs)[0].sentences[-1].endswith("differ also in optimizer.learning_rate.")


def test_missing_pieces_are_said(make_run, tmp_path) -> None:
    run, bare = make_run("run"), tmp_path / "runs" / "bare"
    for name in ("prediction.nc", "evaluation.json", "log.jsonl"):
        (run / name).unlink()
    bare.mkdir()
    (bare / "recipe.yaml").write_text("steps: 5\n")
    text = _text(write_report([run, bare], tmp_path / "r.html").read_text())
    assert "run has no log.jsonl" in text
    assert "no run/evaluation.json" in text
    assert "no prediction.nc" in text
    assert "bare has no log.jsonl" in text
    assert "None of the runs has been evaluated" in text
    assert "No run has a log" in text
    assert "No run has a prediction" in text


def test_long_rollouts_are_shown_where_they_were_judged(make_run, tmp_path) -> None:
    lasting, short = make_run("lasting", long=True), make_run("short")
    page = write_report([lasting, short], tmp_path / "long.html").read_text()
    part = page[page.index('<section id="long">') :]
    part = part[: part.index("</section>")]
    heads = re.findall(r'role="rowheader">([^<]*)<', part)
    assert heads == ["the truth (distances: between its halves)", "lasting"]
    for what in ("sMAPE of u", "drift of the mean of u", "VRMSE (dashed: climatology)"):
        assert what in part
    assert "Eigenvalues of lasting (dots) and of the truth (circles)" in part
    alone = write_report([short], tmp_path / "short.html").read_text()
    assert 'id="long"' not in alone


def test_damaged_pieces_are_said(make_run, tmp_path) -> None:
    run = make_run("run")
    (run / "prediction.nc").write_bytes(b"\x89HDF\r\n nonsense")
    (run / "evaluation.json").write_text('{"schema": 1, "sto')
    (run / "checkpoint" / "config.json").write_text("[]")
    text = _text(write_report([run], tmp_path / "r.html").read_text())
    assert "evaluation.json cannot be read" in text
    assert "config.json cannot be read" in text
    assert "prediction.nc cannot be shown" in text
    (run / "evaluation.json").write_text('{"schema": 99}')
    assert "of another version" in read_runs([run])[0].missing[-1]


def test_a_changed_evaluation_is_no_evaluation(make_run) -> None:
    path = make_run("run") / "evaluation.json"
    text = path.read_text()
    path.write_text(text.replace('"steps": ', '"steps": 1', 1))
    run = read_runs([path.parent])[0]
    assert run.evaluation is None
    assert "evaluation.json is damaged: it was changed after it was written" in run.missing[-1]
    path.write_text(text)
    found = read_runs([path.parent])[0].evaluation
    assert found is not None
    assert found == {k: v for k, v in json.loads(text).items() if k != "sha256"}


def test_pretraining_contributes_learning_curves_only(make_run, tmp_path) -> None:
    run = make_run("pretrain")
    (run / "recipe.yaml").write_text("steps: 5\n")
    (run / "evaluation.json").unlink()
    (run / "prediction.nc").unlink()
    text = _text(write_report([run], tmp_path / "r.html").read_text())
    assert "Training loss, pretraining" in text
    assert "Validation on wave" in text
    assert "pretrain has no" not in text


@pytest.mark.parametrize("shape", [(12, 8), (8, 6, 4)])
def test_two_and_three_dimensions(drawn_run, tmp_path, shape) -> None:
    run = drawn_run("run")
    axes, lead = ("x", "y", "z")[: len(shape)], 0.5 * np.arange(1, 8)
    values = np.random.default_rng(0).normal(size=(1, 7, *shape)).astype("float32")
    dims = ("trajectory", "time", *axes)
    coordinates = {axis: np.linspace(0, 1, n) for axis, n in zip(axes, shape, strict=True)}
    coordinates |= {"lead_time": ("time", lead), "trajectory": [4]}
    data = xarray.Dataset(
        {
            "density": (dims, values),
            "density_truth": (dims, values + 0.1),
            "energy": (dims, values),
        },
        coordinates,
        {"dataset": "box", "split": "test", "start": 0, "history": 1},
    )
    write_prediction(data, run / "prediction.nc", overwrite=True)
    (run / "evaluation.json").unlink()
    page = write_report([run], tmp_path / "r.html").read_text()
    assert "density: trajectory 4 of box (test split)" in page
    assert "Images of truth, prediction, error of density" in page
    assert "Images of prediction of energy" in page  # nothing is stored to compare it with
    assert "after 0.5, 1.5, 2.5, 3.5" in page


def test_several_fields_of_a_vector(tmp_path, drawn_run, shift) -> None:
    x = np.arange(16) / 16
    values = np.sin(2 * np.pi * x)[None, None].repeat(4, 1)
    data = WellData(
        dataset="pair",
        grid=Grid((16,), (1.0,), ("periodic",)),
        times=0.25 * np.arange(4),
        fields={"density": values, "pressure": values + 2},
    )
    write_file(tmp_path / "pair.hdf5", data)
    run, operator = drawn_run("run"), shift(speed=1.0, fields=("pressure", "density"))
    store = open_store(tmp_path / "pair.hdf5")
    write_evaluation(evaluate(operator, store), run / "evaluation.json", overwrite=True)
    write_prediction(predict(operator, store), run / "prediction.nc", overwrite=True)
    text = _text(write_report([run], tmp_path / "r.html").read_text())
    for part in ("VRMSE of pressure", "VRMSE of density", "density after 0.75", "lead time"):
        assert part in text


def test_wrong_directories(make_run, tmp_path) -> None:
    out = tmp_path / "r.html"
    for runs, message in (
        ([], "at least one run"),
        ([tmp_path], r"no recipe\.yaml"),
        ([tmp_path / "nowhere"], r"no recipe\.yaml"),
        ([make_run("a"), tmp_path / "runs" / "a"], "given twice"),
    ):
        with pytest.raises(ValueError, match=message):
            write_report(runs, out)
    assert not out.exists()


def test_nothing_is_overwritten(make_run, tmp_path) -> None:
    out = tmp_path / "r.html"
    out.write_text("mine")
    run = make_run("a")
    (run / "evaluation.json").unlink()
    with pytest.raises(ValueError, match="exists already"):
        write_report([run], out)
    assert out.read_text() == "mine"
    write_report([run], out, overwrite=True)
    assert out.read_text().startswith("<!DOCTYPE html>")


def test_runs_of_the_same_name_are_told_apart(make_run) -> None:
    names = [run.name for run in read_runs([make_run("x/a"), make_run("y/a", init_from=None)])]
    assert len(set(names)) == 2


def _text(page: str) -> str:
    """What a reader sees, white space collapsed."""
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            found.append(data)

    Reader().feed(page.split("</style>", 1)[1])
    return " ".join(" ".join(found).split())
