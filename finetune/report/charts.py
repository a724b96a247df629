"""The curves of the report: learning, error over lead time, energy spectra.

A run keeps its colour everywhere: it is drawn by its index among all runs of the report.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Float

from ...pretrain.run.records import PRETRAINED, PRETRAINING, SCRATCH, Run
from ..forecast.evaluate import VALID
from .comparison import number
from .figures import Drawing, Line, Plane, line_chart

# More points than this are not told apart in a curve, and only make the page heavy.
_POINTS = 400
MAX_FIELDS = 4
# Spectra are drawn between these multiples of the truth's largest shell.
_FLOOR, _CEILING = 1e-9, 1e3


def learning_curves(runs: Sequence[Run]) -> Iterator[Drawing]:
    """Training loss of pretraining and of the other runs, then validation by dataset."""
    for heading, origins in (
        ("Training loss", (PRETRAINED, SCRATCH)),
        ("Training loss, pretraining", (PRETRAINING,)),
    ):
        chosen = [i for i, run in enumerate(runs) if run.train and run.origin in origins]
        if chosen:
            yield _loss(runs, chosen, heading)
    names = {record["dataset"]: None for run in runs for record in run.valid}
    for name in names:
        yield _validation(runs, name)


def _loss(runs: Sequence[Run], chosen: Sequence[int], heading: str) -> Drawing:
    lines = []
    for i in chosen:
        steps = [record["step"] for record in runs[i].train]
        losses = [record["loss"] for record in runs[i].train]
        smooth = _running_mean(losses, max(1, len(losses) // 40))
        every = max(1, len(losses) // _POINTS)
        lines.append(Line(steps[::every], losses[::every], run=i, faint=True))
        lines.append(Line(steps[::every], smooth[::every], run=i))
    last = ", ".join(f"{runs[i].name} {number(runs[i].train[-1]['loss'])}" for i in chosen)
    alt = f"Line chart of the training loss over optimizer steps. At the end: {last}."
    svg = line_chart(lines, Plane("optimizer step", "loss", log_y=True), alt=alt, small=True)
    return Drawing(svg, heading, tuple(chosen))


def _validation(runs: Sequence[Run], name: str) -> Drawing:
    lines, chosen, last = [], [], []
    baseline: dict[int, float] = {}
    for i, run in enumerate(runs):
        records = [record for record in run.valid if record["dataset"] == name]
        if not records:
            continue
        chosen.append(i)
        last.append(f"{run.name} {number(_finite(records[-1]['vrmse']))}")
        baseline |= {r["step"]: r["persistence"] for r in records}
        lines.append(Line([r["step"] for r in records], [r["vrmse"] for r in records], run=i))
    steps = sorted(baseline)
    lines.insert(0, Line(steps, [baseline[step] for step in steps], baseline=True))
    alt = (
        f"Line chart of the validation error on {name} over optimizer steps. At the end: "
        f"{', '.join(last)}; persistence {number(_finite(baseline[steps[-1]]))}."
    )
    plane = Plane("optimizer step", "VRMSE", log_y=True, top=_top(baseline.values()))
    svg = line_chart(lines, plane, alt=alt, small=True)
    return Drawing(svg, f"Validation on {name}", tuple(chosen), baseline=True)


def errors(runs: Sequence[Run], members: Sequence[int]) -> Iterator[Drawing]:
    """VRMSE and correlation over lead time, per field."""
    first = runs[members[0]].scores
    for name in first["store"]["fields"][:MAX_FIELDS]:
        for metric, label in (("vrmse", "VRMSE"), ("correlation", "correlation")):
            yield _over_lead_time(runs, members, name, metric, label)


def _over_lead_time(
    runs: Sequence[Run], members: Sequence[int], name: str, metric: str, label: str
) -> Drawing:
    first = runs[members[0]].scores
    lead, unit = first["lead_times"], first["store"]["units"].get("time", "")
    baseline = first["persistence"][metric][name]
    lines = [Line(lead, baseline["median"], baseline=True)]
    ends = [f"persistence {number(baseline['median'][-1])}"]
    top = _top(baseline["median"]) if metric == "vrmse" else None
    for i in members:
        scores = runs[i].scores["scores"][metric][name]
        # Where the worst tenth is not finite, the band goes on to the worst that can be shown.
        low, high = np.array(scores["p10"], float), np.array(scores["p90"], float)
        high = high if top is None else np.nan_to_num(high, nan=10 * top)
        low = low if top is not None else np.nan_to_num(low, nan=-1.0)
        lines.append(Line(lead, scores["median"], run=i, low=low, high=high))
        ends.append(f"{runs[i].name} {number(scores['median'][-1])}")
    alt = (
        f"Line chart of the median {label} of {name} over lead time. At lead time "
        f"{number(lead[-1], unit)}: {', '.join(ends)}."
    )
    plane = Plane(
        with_unit("lead time", unit),
        label,
        log_y=metric == "vrmse",
        level=VALID if metric == "correlation" else 1.0,
        top=top,
    )
    svg = line_chart(lines, plane, alt=alt)
    return Drawing(svg, f"{label} of {name}", tuple(members), baseline=True)


def spectra(runs: Sequence[Run], members: Sequence[int]) -> Iterator[Drawing]:
    """Energy spectra per field at the first, middle and last lead time."""
    first = runs[members[0]].scores
    unit = first["store"]["units"].get("time", "")
    constant = first["store"].get("constant_fields", ())
    for name in [name for name in first["store"]["fields"] if name not in constant][:MAX_FIELDS]:
        for k, lead in enumerate(first["spectra"]["lead_times"]):
            yield _spectrum(runs, members, name, k, number(lead, unit))


def _spectrum(runs: Sequence[Run], members: Sequence[int], name: str, k: int, when: str) -> Drawing:
    lines: list[Line] = []
    top = 1.0
    for i in members:
        evaluation = runs[i].scores
        spectra = evaluation["spectra"]
        shells, entry = spectra["wavenumber"][1:], spectra["fields"][name]
        truth, forecast = (np.array(entry[kind][k][1:], float) for kind in ("truth", "prediction"))
        floor, top = _FLOOR * truth.max(), float(_CEILING * truth.max())
        if not lines:
            lines.append(Line(shells, np.where(truth > floor, truth, np.nan)))
        lines.append(Line(shells, np.where(forecast > floor, forecast, np.nan), run=i))
    alt = f"Log-log chart of the energy spectrum of {name} after {when}, truth and forecasts."
    plane = Plane(
        "wave number [periods per domain]", f"energy of {name}", log_x=True, log_y=True, top=top
    )
    svg = line_chart(lines, plane, alt=alt, small=True)
    return Drawing(svg, f"{name} after {when}", tuple(members), truth=True)


def _top(persistence: Iterable[float]) -> float:
    """Where charts of the VRMSE end: rollouts that blow up would hide all others."""
    return 10 * max(1.0, *persistence)


def _running_mean(values: Sequence[float], width: int) -> Float[np.ndarray, " n"]:
    """Mean over the last `width` values, fewer at the start."""
    total = np.cumsum([0.0, *values])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - width)
    return (total[ends] - total[starts]) / (ends - starts)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def with_unit(text: str, unit: str) -> str:
    """`text [unit]`; without one for the unit 1."""
    return text if unit in ("", "1") else f"{text} [{unit}]"
