"""What a study has found: `study.json`, plain data that says what its numbers are."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ...datasets.base.appearing import appearing_file
from ...datasets.base.texts import MOST_JSON, parse_json, read_text
from .cells import Cell, Place, Plan
from .gains import (
    Gain,
    Measure,
    PowerLaw,
    Value,
    accuracy_gain,
    curve,
    fit,
    gain,
    sample_gain,
    sample_gain_of_fits,
)
from .scores import CONVENTIONS as SCORES
from .scores import METRICS

SCHEMA = 2
FILE = "study.json"
GAINS: dict[str, Measure] = {
    "EG": sample_gain,
    "EG of the fits": sample_gain_of_fits,
    "AG": accuracy_gain,
}
# Poseidon's authors quote EG at 1024 trajectories, and AG at an eighth of them.
EIGHTH = 8
GOOD_PERSISTENCE = 0.25  # relative L1 error (or VRMSE) of no change at all, below which it is good

CONVENTIONS = SCORES | {
    "curve": "Of a cell, the median over test trajectories; of a number of trajectories, the "
    "geometric mean over seeds, each with training trajectories of its own (larger numbers contain "
    "smaller ones).",
    "EG": "S over the trajectories with which the pretrained operator reaches the error that the "
    "other one reaches with S: between the measured numbers, on straight lines in log–log "
    "coordinates through the best error with at most so many trajectories, of both. '>' and '<' "
    "are bounds: the curves do not meet within the measured numbers.",
    "EG of the fits": "The same on E = factor · M^(−rate), fitted to each curve by least squares "
    "in log–log coordinates; residual is the root mean square of the natural logarithms' errors.",
    "AG": "The error of the other one over that of the pretrained operator, with S trajectories.",
    "interval": "5th and 95th percentile over seeds drawn with replacement, the same for both "
    "curves. Few seeds make it too narrow, and the pretraining's own seed is not in it.",
    "learning rate": "Of each start, budget and number of trajectories (or the nearest of "
    "`tuned_at`), the best on the valid split, with the first seed; the valid split is the same "
    "for all.",
    "budget": "Optimizer steps of the same batch; what pretraining cost is not counted.",
}

Matrix = Float[np.ndarray, "k n"]  # by seed and number of trajectories; NaN: not there yet


@dataclass(frozen=True)
class Found:
    """The scores of a study, as far as there are some.

    Attributes:
        plan: the cells.
        scores: of finished cells.
    """

    plan: Plan
    scores: Mapping[Cell, Mapping[str, Any]]

    @property
    def validation(self) -> dict[Cell, float]:
        """The best validation score of each, infinite where none is finite."""
        found = {cell: values["validation"] for cell, values in self.scores.items()}
        return {cell: math.inf if value is None else value for cell, value in found.items()}

    def budget(self, steps: int) -> dict[str, Any]:
        """Curves and gains of one budget."""
        curves = {start: self._curve(start, steps) for start in self.plan.config.starts}
        against = {
            start: {metric: self._gains(curves, start, metric) for metric in METRICS}
            for start in self.plan.config.starts
            if start != "pretrained"
        }
        return {"steps": steps, "curves": curves, "gains": against}

    def persistence(self) -> dict[str, Any]:
        """Scores of doing nothing: those of any cell."""
        for values in self.scores.values():
            if not values.get("failed"):
                found = values["persistence"]
                return {
                    **{metric: _summary(found[metric]) for metric in METRICS},
                    "blown_up": found["blown_up"],
                }
        return {}

    def _curve(self, start: Any, steps: int) -> dict[str, Any]:
        chosen = [
            self.plan.chosen(Place(start, steps, count), self.validation)
            for count in self.plan.counts
        ]
        rows = [[self.scores.get(cell) for cell in cells] for cells in chosen]
        result: dict[str, Any] = {
            "rates": [cells[0].rate if cells else None for cells in chosen],
            "blown_up": [[_of(values, "blown_up") for values in row] for row in rows],
            "failed": sum(bool(values and values["failed"]) for row in rows for values in row),
            "trained_steps": [[_of(values, "trained_steps") for values in row] for row in rows],
            "seconds": [[_of(values, "seconds") for values in row] for row in rows],
            "parameters": next(
                (v["parameters"] for row in rows for v in row if v and not v["failed"]), None
            ),
        }
        for metric in METRICS:
            summaries = [
                [None if v is None else _summary(v.get(metric)) for v in row] for row in rows
            ]
            result[metric] = {
                kind: [[None if s is None else s[kind] for s in row] for row in summaries]
                for kind in ("median", "mean")
            }
            known, errors = self._errors(rows, metric)
            law = fit(known, curve(errors)) if known else None
            result[metric]["fit"] = None if law is None else _law(law)
            result[metric]["curve"] = _curve_of(self.plan.counts, known, errors)
        return result

    def _errors(self, rows: Sequence[Sequence[Any]], metric: str) -> tuple[list[int], Matrix]:
        """The numbers of trajectories of which all seeds are done, and medians by seed."""
        seeds = self.plan.config.seeds
        pairs = zip(self.plan.counts, rows, strict=True)
        done = [(n, row) for n, row in pairs if len(row) == seeds and None not in row]
        medians = [[_finite(_summary(v.get(metric))["median"]) for v in row] for _, row in done]
        return [n for n, _ in done], np.array(medians, float).reshape(len(done), seeds).T

    def _gains(self, curves: Mapping[str, Any], start: str, metric: str) -> list[dict[str, Any]]:
        """Every gain at every number of trajectories that both curves have."""
        ours, theirs = curves["pretrained"][metric], curves[start][metric]
        places = [
            k
            for k, (a, b) in enumerate(zip(ours["curve"], theirs["curve"], strict=True))
            if a["done"] and b["done"]
        ]
        counts = [self.plan.counts[k] for k in places]
        model, baseline = (
            np.array([[_finite(v) for v in curve["median"][k]] for k in places], float).T
            for curve in (ours, theirs)
        )
        return [
            {"trajectories": count}
            | {
                name: _gain(gain(measure, counts, model, baseline, place))
                for name, measure in GAINS.items()
            }
            for place, count in enumerate(counts)
        ]


def headline(budget: Mapping[str, Any], start: str, metric: str) -> dict[str, Any]:
    """The gains that are quoted: EG at the most trajectories, AG at an eighth of them.

    Args:
        budget: of `study.json`.
        start: against which.
        metric: of the errors.

    Returns:
        Name of the gain -> its numbers, with the number of trajectories; empty without any.
    """
    rows = budget["gains"][start][metric]
    if not rows:
        return {}
    most = rows[-1]
    few = min(rows, key=lambda row: abs(math.log(row["trajectories"] * EIGHTH / _count(most))))
    at = {"EG": most, "EG of the fits": most, "AG": few}
    return {name: {**row[name], "trajectories": _count(row)} for name, row in at.items()}


def _count(row: Mapping[str, Any]) -> int:
    return row["trajectories"]


def shown(value: Mapping[str, Any]) -> str:
    """A gain with its interval, for people: `> 64 (12 … > 64)`."""
    parts = [
        None if value[key] is None else str(Value(value[key]["number"], value[key]["relation"]))
        for key in ("value", "low", "high")
    ]
    if parts[0] is None:
        return "not known"
    return parts[0] if None in parts else f"{parts[0]} ({parts[1]} … {parts[2]})"


def warnings_of(result: Mapping[str, Any]) -> list[str]:
    """What makes a study say little, in words."""
    persistence, found = result["persistence"], []
    for metric, words in (("relative_l1", "relative L1 error"), ("vrmse", "rollout VRMSE")):
        value = persistence.get(metric, {}).get("median")
        if value is not None and value < GOOD_PERSISTENCE:
            found.append(
                f"persistence is good on these data already (median {words} {value:.3g}): they say "
                "little; predict further ahead (study.test.steps, data[0].stride)"
            )
    for budget in result["budgets"]:
        for start, one in budget["curves"].items():
            failed, steps = one["failed"], budget["steps"]
            if failed:
                found.append(f"{failed} training(s) of {start} with {steps} steps diverged")
            value = persistence.get("relative_l1", {}).get("median")
            last = one["relative_l1"]["curve"][-1]
            if value is not None and last["done"] and not _finite(last["value"]) < value:
                found.append(
                    f"{start} with {steps} steps does not beat persistence with "
                    f"{last['trajectories']} trajectories"
                )
    return found


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write `study.json`; it appears when it is complete."""
    text = json.dumps(result, indent=1, allow_nan=False, ensure_ascii=False)
    with appearing_file(path, overwrite=True) as draft:
        draft.write_text(text + "\n", encoding="utf-8")


def read_result(folder: Path) -> dict[str, Any]:
    """What a study has found.

    Raises:
        ValueError: there is none, it is damaged, or of another version.
    """
    path = folder / FILE
    if not path.is_file():
        raise ValueError(f"{folder} is no study: it has no {FILE}")
    try:
        values = parse_json(read_text(path, MOST_JSON))
    except ValueError:
        values = None
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        raise ValueError(
            f"{path} is damaged, or of another version; delete it, and run the study again, which "
            "keeps its cells"
        )
    return values


def _curve_of(counts: Sequence[int], known: Sequence[int], errors: Matrix) -> list[dict[str, Any]]:
    """The geometric mean over seeds, with the smallest and the largest."""
    values = dict(zip(known, errors.T, strict=True))
    return [
        {
            "trajectories": count,
            "done": count in values,
            "value": _number(curve(values[count][:, None])[0]) if count in values else None,
            "low": _number(values[count].min()) if count in values else None,
            "high": _number(values[count].max()) if count in values else None,
        }
        for count in counts
    ]


def _summary(values: Sequence[float | None] | None) -> dict[str, float | None]:
    """Median and mean over trajectories; of a training that failed, none."""
    if values is None:
        return {"median": None, "mean": None}
    found = np.array([_finite(value) for value in values])
    return {"median": _number(np.median(found)), "mean": _number(found.mean())}


def _of(values: Mapping[str, Any] | None, key: str) -> Any:
    return None if values is None else values.get(key)


def _finite(value: float | None) -> float:
    return math.inf if value is None else value


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None


def _law(law: PowerLaw) -> dict[str, Any]:
    return asdict(law)


def _gain(found: Gain) -> dict[str, Any]:
    return asdict(found)
