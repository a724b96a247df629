"""Did pretraining help? Runs that started from weights against runs that started from none."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...pretrain.run.records import PRETRAINED, SCRATCH, Run

# The numbers of an evaluation's summary; None where not finite.
Summary = Mapping[str, float | None]

# Errors whose ratio is closer to 1 than this count as equal.
THRESHOLD = 0.1
# A mean VRMSE above this is the work of a few rollouts that blew up.
BLOWN_UP = 10.0
HELPED = "Pretraining helped"
HURT = "Pretraining did not help"
EQUAL = "No clear difference between pretraining and starting from scratch"
UNKNOWN = "Whether pretraining helped cannot be told from these runs"
BEATS = "Better than persistence"
LOSES = "Not better than persistence"
MIXED = "Not all runs are better than persistence"


@dataclass(frozen=True)
class Comparison:
    """A verdict in words, and the numbers that it rests on.

    Attributes:
        verdict: in a few words.
        sentences: the numbers.
        start: what was started from, where runs started from several things.
    """

    verdict: str
    sentences: tuple[str, ...]
    start: str = ""

    @property
    def tone(self) -> str:
        """`helped`, `hurt` or `even`: how the report colours it."""
        return {HELPED: "helped", HURT: "hurt"}.get(self.verdict, "even")


def compare(runs: Sequence[Run]) -> list[Comparison]:
    """One comparison per start, evaluation setting and training budget that both kinds share.

    Without any, a single comparison says why there is none; where no run started from pretrained
    weights, and nobody asks whether that helped, it is one with persistence.
    """
    scored = [run for run in runs if run.evaluation is not None]
    if scored and all(run.origin != PRETRAINED for run in runs):
        return [_against_persistence(scored)]
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if run.evaluation is not None and run.origin in (PRETRAINED, SCRATCH):
            groups[_setting(run)].append(run)
    found = []
    for group in groups.values():
        scratch = [run for run in group if run.origin == SCRATCH]
        starts: dict[str, list[Run]] = defaultdict(list)
        for run in group if scratch else ():
            if run.origin == PRETRAINED:
                starts[str(run.recipe["init_from"])].append(run)
        for start, pretrained in starts.items():
            found.append(_compare(pretrained, scratch, start if len(starts) > 1 else ""))
    return found or [Comparison(UNKNOWN, (_reason(runs),))]


def persistence(evaluation: Mapping[str, Any]) -> str:
    """What the baseline is, in words."""
    return "zero everywhere" if is_steady(evaluation) else "the last known frame, repeated"


def is_steady(evaluation: Mapping[str, Any]) -> bool:
    """Whether the problem has no time; evaluations of before did not say it, and count as no."""
    return bool(evaluation.get("steady", False))


def time_unit(evaluation: Mapping[str, Any]) -> str:
    """Unit of time of the data, in words where it is dimensionless or not known."""
    unit = evaluation["store"]["units"].get("time", "")
    return "time units" if unit in ("", "1") else unit


def number(value: float | None, unit: str = "") -> str:
    """At most three significant digits, fewer where the rest is zero: `0.2 s`."""
    return _format(value, ".3g", unit)


def score(value: float | None, unit: str = "") -> str:
    """Three significant digits: `0.200 s`; what is not finite is said so."""
    return _format(value, "#.3g", unit)


def _format(value: float | None, digits: str, unit: str) -> str:
    if value is None:
        return "not finite"
    if value != 0 and not 1e-3 <= abs(value) < 1e6:
        text = f"{value:.2e}"
    else:
        text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:{digits}}"
    return text if unit in ("", "1") else f"{text} {unit}"


def _against_persistence(runs: Sequence[Run]) -> Comparison:
    """Runs of which none was pretrained elsewhere, each beside its baseline."""
    sentences, better = [], []
    for run in runs:
        evaluation = run.scores
        store, summary = evaluation["store"], evaluation["summary"]
        error, baseline = summary["vrmse"], summary["persistence"]["vrmse"]
        better.append(_beats(error, baseline))
        sentences.append(
            f"{run.name}: the mean VRMSE over {store['trajectories']} trajectories of "
            f"{store['name']} ({store['split']} split) is {score(error)}; persistence "
            f"({persistence(evaluation)}) scores {score(baseline)}."
        )
    verdict = BEATS if all(better) else MIXED if any(better) else LOSES
    return Comparison(verdict, tuple(sentences))


def _compare(pretrained: Sequence[Run], scratch: Sequence[Run], start: str) -> Comparison:
    ours, theirs = _average(pretrained), _average(scratch)
    evaluation = pretrained[0].scores
    baseline, store = evaluation["summary"]["persistence"], evaluation["store"]
    where = (
        f"{store['trajectories']} trajectories of {store['name']} ({store['split']} split), "
        f"{evaluation['steps']} steps"
    )
    sentences = [
        _versus(f"Rolled out over {where}, the mean VRMSE is", ours, theirs, "vrmse"),
        *(
            []
            if is_steady(evaluation)
            else [_versus("One step ahead it is", ours, theirs, "vrmse_one_step")]
        ),
    ]
    if not is_steady(evaluation):
        unit = time_unit(evaluation)
        sentences.append(_versus("Forecasts stay valid for", ours, theirs, "valid_time", unit))
    key = "vrmse"
    if any(value is None or value > BLOWN_UP for value in (ours[key], theirs[key])):
        key = "vrmse_median"
        what = "Some rollouts blow up, so the verdict rests on the median trajectory: its VRMSE is"
        sentences.insert(1, _versus(what, ours, theirs, key))
    what = persistence(evaluation)
    sentences.append(_persistence(ours[key], theirs[key], baseline[key], what))
    sentences.append(_caveats(pretrained, scratch))
    return Comparison(_verdict(ours[key], theirs[key]), tuple(sentences), start)


def _verdict(ours: float | None, theirs: float | None) -> str:
    """By the ratio of two errors; one that is not finite is the larger."""
    if ours is None and theirs is None:
        return UNKNOWN
    if ours is None or theirs is None:
        return HELPED if theirs is None else HURT
    if abs(ours - theirs) <= THRESHOLD * theirs:
        return EQUAL
    return HELPED if ours < theirs else HURT


def _versus(what: str, ours: Summary, theirs: Summary, key: str, unit: str = "") -> str:
    """`what A with pretraining and B from scratch: 1.5 times smaller.`"""
    one, two = ours[key], theirs[key]
    text = f"{what} {score(one, unit)} with pretraining and {score(two, unit)} from scratch"
    if not one or not two:
        return f"{text}."
    ratio = max(one, two) / min(one, two)
    less, more = ("shorter", "longer") if key == "valid_time" else ("smaller", "larger")
    if ratio < 1.005:
        return f"{text}: the same."
    size = f"{100 * (ratio - 1):.0f}% " if ratio < 1.5 and one > two else f"{ratio:.3g} times "
    if ratio < 1.5 and one < two:
        size = f"{100 * (1 - 1 / ratio):.0f}% "
    return f"{text}: {size}{less if one < two else more}."


def _beats(error: float | None, baseline: float | None) -> bool:
    """Whether an error is the smaller; no frame need have been scored."""
    return error is not None and baseline is not None and error < baseline


def _persistence(
    ours: float | None, theirs: float | None, baseline: float | None, words: str
) -> str:
    """Whether the two beat the baseline, which is `words`."""
    beaten = [_beats(error, baseline) for error in (ours, theirs)]
    what = f"persistence ({words}), which scores {score(baseline)}"
    if all(beaten):
        far = min(ours or 0.0, theirs or 0.0) > 1
        return f"Both beat {what}{', but not the mean of the truth, which scores 1' * far}."
    if not any(beaten):
        return f"Neither beats {what}: read the verdict with that in mind."
    return f"Only the run {PRETRAINED if beaten[0] else SCRATCH} beats {what}."


def _caveats(pretrained: Sequence[Run], scratch: Sequence[Run]) -> str:
    samples = pretrained[0].samples
    budget = "an unknown number of" if samples is None else f"{samples:,}"
    counts = len(pretrained), len(scratch)
    chance = "One run each, so how much chance (the seed) matters is not known."
    if counts != (1, 1):
        chance = f"Means over {counts[0]} pretrained and {counts[1]} scratch runs."
    text = (
        f"Each run was trained on {budget} samples of this dataset; what pretraining cost is not "
        f"counted. {chance} Errors within {THRESHOLD:.0%} of each other count as no clear "
        "difference."
    )
    others = _differences([*pretrained, *scratch])
    if others:
        text += f" The recipes differ also in {', '.join(others)}."
    return text


def _average(runs: Sequence[Run]) -> Summary:
    """Mean of the summaries; None where one of them is not finite."""
    result = {}
    for key in ("vrmse", "vrmse_median", "vrmse_one_step", "valid_time"):
        values = [run.scores["summary"][key] for run in runs]
        result[key] = None if None in values else sum(values) / len(values)
    return result


def _setting(run: Run) -> str:
    """What two runs must share to be compared: how they were scored, and the training budget."""
    evaluation = run.scores
    scored = [evaluation["store"][key] for key in ("name", "split", "trajectories")]
    scored += [evaluation[key] for key in ("start", "history", "lead_times", "mode")]
    scored += [evaluation["conventions"]]  # another version may score otherwise
    data = {k: v for k, v in _flatten(run.recipe).items() if k.startswith("data")}
    return json.dumps([scored, run.samples, data], sort_keys=True, default=str)


def _differences(runs: Sequence[Run]) -> list[str]:
    """Dotted recipe keys in which runs differ, besides those that tell them apart by design."""
    flat = [_flatten(run.recipe) for run in runs]
    keys = sorted(set().union(*flat) - {"init_from", "seed"})
    return [key for key in keys if any(f.get(key) != flat[0].get(key) for f in flat)]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _reason(runs: Sequence[Run]) -> str:
    scored = [run for run in runs if run.evaluation is not None]
    origins = {run.origin for run in scored}
    if not scored:
        return "None of the runs has been evaluated; run pelagos evaluate on them first."
    if PRETRAINED not in origins:
        return "None of the evaluated runs started from pretrained weights."
    if SCRATCH not in origins:
        return "None of the evaluated runs started from scratch, so there is nothing to compare to."
    return (
        "The evaluated runs share no setting: a comparison needs the same dataset, split, "
        "trajectories, start and steps, scored by the same version, and the same number of "
        "training samples."
    )
