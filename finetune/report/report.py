"""The report about runs: one self-contained HTML page.

Says first whether pretraining helped, then shows the numbers, learning curves, errors over lead
time, fields, spectra, and how everything was made. What is missing is said, not guessed.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

from ...datasets.base.appearing import appearing_file
from ...pretrain.run.records import PRETRAINED, PRETRAINING, SCRATCH, Run, read_runs
from ..forecast.evaluate import CONVENTIONS, VALID
from . import charts, figures, long
from .comparison import compare, is_steady, number, persistence, score, time_unit
from .field_images import field_images
from .figures import Drawing
from .long import LongPart
from .studies import StudyPart, is_study, read_studies

_COLUMNS = (
    "One-step VRMSE",
    "Rollout VRMSE (mean)",
    "Rollout VRMSE (median)",
    "Valid time",
    "Training samples",
    "Training time",
    "Time per step",
)
# The first columns: key in the summary, and 1 where smaller is better.
_SCORES = {"vrmse_one_step": 1, "vrmse": 1, "vrmse_median": 1, "valid_time": -1}


@dataclass(frozen=True)
class Cell:
    """One number of the table, marked where it is the best of its column."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One line of the table of scores; `run` is None for persistence."""

    name: str
    run: int | None
    origin: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Scored:
    """Runs that were evaluated in the same way, by their index, with their rows and figures."""

    title: str
    rows: tuple[Row, ...]
    errors: tuple[Drawing, ...]
    spectra: tuple[Drawing, ...]
    lasting: LongPart | None
    runs: tuple[int, ...]


def write_report(
    runs: Sequence[str | Path],
    out: str | Path,
    *,
    title: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write one HTML file about `runs`, which needs nothing but itself.

    Args:
        runs: run directories (see `records` for what may lie in them), and folders of studies.
        out: the file.
        title: heading of the page; by default the question or the runs' names.
        overwrite: replace an existing file.

    Raises:
        ValueError: there is no such run, or `out` exists and `overwrite` is not set.
    """
    out, paths = Path(out), [Path(run) for run in runs]
    with appearing_file(out, overwrite=overwrite) as draft:
        studies = read_studies(paths)
        trained = [path for path in paths if not is_study(path)]
        found = read_runs(trained) if trained or not studies else []
        draft.write_text(render(found, title, studies), encoding="utf-8")
    return out


def render(runs: Sequence[Run], title: str | None, studies: Sequence[StudyPart] = ()) -> str:
    """The page as text."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(
        (files("pelagos.finetune.report") / "report.html").read_text(encoding="utf-8")
    )
    comparisons, scored = compare(runs) if runs else [], list(_scored(runs))
    if title is None:
        asked = {PRETRAINED, SCRATCH} <= {run.origin for run in runs}
        names = [run.name for run in runs] + [study.title for study in studies]
        title = "Did pretraining help?" if asked else ", ".join(names)
    return template.render(
        title=title,
        version=version("pelagos"),
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        comparisons=comparisons,
        columns=_COLUMNS,
        scored=scored,
        aging=[group for group in scored if group.errors],
        curves=list(charts.learning_curves(runs)),
        field_images=list(field_images(runs)),
        lasting=[group.lasting for group in scored if group.lasting is not None],
        lasting_columns=long.COLUMNS,
        runs=[_about(run, i) for i, run in enumerate(runs)],
        studies=studies,
        conventions=_conventions(runs) if runs else studies[0].conventions,
        valid=VALID,
    )


# ------------------------------------------------------------------------------- scores


def _scored(runs: Sequence[Run]) -> Iterator[Scored]:
    """Groups of runs that were evaluated on the same frames."""
    groups: dict[str, list[int]] = {}
    for i, run in enumerate(runs):
        if run.evaluation is not None:
            groups.setdefault(_frames_of(run.scores), []).append(i)
    for title, members in groups.items():
        ages = not is_steady(runs[members[0]].scores)
        yield Scored(
            title=title,
            rows=tuple(_rows(runs, members)),
            errors=tuple(charts.errors(runs, members)) if ages else (),
            spectra=tuple(charts.spectra(runs, members)),
            lasting=long.long_part(runs, members, title),
            runs=tuple(members),
        )


def _frames_of(evaluation: dict[str, Any]) -> str:
    store = evaluation["store"]
    if is_steady(evaluation):
        return (
            f"{store['trajectories']} problems of {store['name']} ({store['split']} split): the "
            "solution, from its inputs"
        )
    start = f" from frame {evaluation['start']}" if evaluation["start"] else ""
    unit, lead_times = time_unit(evaluation), evaluation["lead_times"]
    if _evenly(evaluation):
        predicted = f"{evaluation['steps']} predicted, {number(evaluation['dt'], unit)} apart"
    else:
        predicted = f"predicted after {', '.join(map(number, lead_times))} {unit}"
    directly = ", each from these alone" if evaluation["mode"] == "direct" else ""
    return (
        f"{store['trajectories']} trajectories of {store['name']} ({store['split']} split): "
        f"{evaluation['history']} given{start}, {predicted}{directly}"
    )


def _evenly(evaluation: dict[str, Any]) -> bool:
    """Whether the predicted frames follow each other by the time step."""
    dt, times = evaluation["dt"], evaluation["lead_times"]
    return all(math.isclose(time, dt * k, rel_tol=1e-6) for k, time in enumerate(times, start=1))


def _rows(runs: Sequence[Run], members: Sequence[int]) -> Iterator[Row]:
    """A row for every run, and one for persistence."""
    first = runs[members[0]].scores
    summaries = [runs[i].scores["summary"] for i in members] + [first["summary"]["persistence"]]
    best = {key: _best(summaries, key, sign) for key, sign in _SCORES.items()}
    for i, summary in zip([*members, None], summaries, strict=True):
        cells = [_score_cell(first, key, summary[key], best[key]) for key in _SCORES]
        if i is None:
            cells += [Cell("–")] * 3
            yield Row("persistence", None, persistence(first), tuple(cells))
        else:
            yield Row(runs[i].name, i, _origin(runs[i]), (*cells, *_costs(runs[i])))


def _score_cell(evaluation: Mapping[str, Any], key: str, value: float | None, best: float) -> Cell:
    """A number of the table; a steady problem has no valid time, and never valid is not best."""
    if key != "valid_time":
        return Cell(score(value), value == best)
    if is_steady(evaluation):
        return Cell("–")
    unit = evaluation["store"]["units"].get("time", "")
    return Cell(score(value, unit), value == best > 0)


def _best(summaries: Sequence[dict[str, Any]], key: str, sign: int) -> float:
    values = [summary[key] for summary in summaries if summary[key] is not None]
    return min(values, key=lambda value: sign * value, default=math.nan)


def _origin(run: Run) -> str:
    if run.origin == PRETRAINED:
        return f"from {run.recipe['init_from']}"
    return run.origin


def _costs(run: Run) -> Iterator[Cell]:
    """Samples and time of the training, time of a step."""
    yield Cell("unknown" if run.samples is None else f"{run.samples:,}")
    yield Cell("unknown" if run.seconds is None else _duration(run.seconds))
    yield Cell(f"{number(1e3 * run.scores['seconds_per_step'])} ms")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


# ------------------------------------------------------------------------------- origins


def _about(run: Run, index: int) -> dict[str, Any]:
    """How a run was made, and how to make its files again."""
    provenance = {k: v for k, v in run.config.get("provenance", {}).items() if k != "recipe"}
    command = "pretrain" if run.origin == PRETRAINING else "finetune"
    commands = [f"pelagos {command} {run.path}/recipe.yaml NEW_RUN"]
    evaluation = run.evaluation
    if evaluation is not None and "data" in evaluation:
        what = _forecast_arguments(run, evaluation)
        commands.append(f"pelagos evaluate {what} --overwrite")
        if run.prediction is not None:
            commands.append(f"pelagos predict {what} --overwrite")
    return {
        "name": run.name,
        "index": index,
        "origin": _origin(run),
        "color": figures.color(index),
        "dash": {"-": "solid", "--": "dashed", ":": "dotted"}[figures.dash(index)],
        "missing": run.missing,
        "recipe": run.recipe_text.strip(),
        "provenance": yaml.safe_dump(provenance, sort_keys=False, allow_unicode=True).strip()
        if provenance
        else "",
        "license": run.config.get("license", ""),
        "commands": commands,
        "break_even": "" if evaluation is None else _pays(evaluation),
        "nonfinite": 0 if evaluation is None else evaluation["nonfinite_trajectories"],
    }


def _pays(evaluation: Mapping[str, Any]) -> str:
    """After how many solves the operator was cheaper than the solver, where it was measured."""
    return str(evaluation.get("break_even", {}).get("text", ""))


def _forecast_arguments(run: Run, evaluation: dict[str, Any]) -> str:
    """With which `pelagos evaluate` predicts the same frames again."""
    store = evaluation["store"]
    split = "all" if "," in store["split"] else store["split"]
    words = [str(run.path), evaluation["data"], "--split", split]
    words += ["--trajectories", store["trajectories"], "--start", evaluation["start"]]
    if _evenly(evaluation):
        words += ["--steps", evaluation["steps"]]
    else:
        words += ["--lead-times", ",".join(map(repr, evaluation["lead_times"]))]
    if evaluation["mode"] == "direct":
        words += ["--mode", "direct"]
    return shlex.join(map(str, words))


def _conventions(runs: Sequence[Run]) -> dict[str, str]:
    """What the evaluations say about their numbers."""
    for run in runs:
        if run.evaluation is not None:
            return run.evaluation["conventions"]
    return CONVENTIONS
