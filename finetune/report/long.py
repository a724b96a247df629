"""What the report says of long rollouts, where runs were evaluated with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ...datasets.base.figures import INK, MUTED, RUNS, STYLE
from ...pretrain.run.records import Run
from .charts import MAX_FIELDS, with_unit
from .comparison import number
from .figures import Drawing, Line, Plane, line_chart, svg

COLUMNS = (
    "divergence of states",
    "distance of spectra",
    "dimension",
    "largest Lyapunov exponent",
)
_LEVELS = (0.1, 0.3)  # of the pseudospectrum that are drawn
_SHOWN = 0.3  # eigenvalues of the truth with a larger residual are left out


@dataclass(frozen=True)
class LongPart:
    """Of runs that were evaluated on the same frames.

    Attributes:
        title: on which.
        runs: their indices.
        rows: a name and a text for each of `COLUMNS`; the truth's first.
        drawings: figures.
    """

    title: str
    runs: tuple[int, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]
    drawings: tuple[Drawing, ...]


def long_part(runs: Sequence[Run], members: Sequence[int], title: str) -> LongPart | None:
    """Those of these runs whose evaluation judges long rollouts; None if there is none."""
    chosen = tuple(i for i in members if "long" in runs[i].scores)
    if not chosen:
        return None
    drawings = (*_curves(runs, chosen), *(_eigenvalues(runs[i], i) for i in chosen))
    return LongPart(title, chosen, tuple(_rows(runs, chosen)), drawings)


def _rows(runs: Sequence[Run], chosen: Sequence[int]) -> Iterator[tuple[str, tuple[str, ...]]]:
    first = runs[chosen[0]].scores["long"]
    floor = first["attractor"].get("floor")
    yield (
        "the truth (distances: between its halves)",
        _cells(floor, first["attractor"]["dimension"]["truth"], first["lyapunov"]["solver"]),
    )
    for i in chosen:
        found = runs[i].scores["long"]
        attractor = found["attractor"]
        cells = attractor["prediction"], attractor["dimension"]["prediction"]
        yield runs[i].name, _cells(*cells, found["lyapunov"]["operator"])


def _cells(compared: dict[str, Any] | None, *others: float | None) -> tuple[str, ...]:
    distances = [None, None] if compared is None else [compared["occupation"], compared["spectrum"]]
    return tuple("–" if value is None else number(value) for value in (*distances, *others))


def _curves(runs: Sequence[Run], chosen: tuple[int, ...]) -> Iterator[Drawing]:
    first = runs[chosen[0]].scores
    lead, unit = first["lead_times"], first["store"]["units"].get("time", "")
    found = {i: runs[i].scores["long"] for i in chosen}
    x = with_unit("lead time", unit)

    def drawn(
        what: str, values: dict[int, Any], baseline: Any = None, log: bool = False
    ) -> Drawing:
        lines = [Line(lead, _known(values[i]), run=i) for i in chosen]
        if baseline is not None:
            lines.insert(0, Line(lead, _known(baseline), baseline=True))
        ends = ", ".join(f"{runs[i].name} {number(values[i][-1])}" for i in chosen)
        alt = f"Line chart of {what} over lead time. At the end: {ends}."
        chart = line_chart(lines, Plane(x, what, log_y=log), alt=alt, small=True)
        return Drawing(chart, what, chosen)

    for name in first["store"]["fields"][:MAX_FIELDS]:
        yield drawn(f"sMAPE of {name} [%]", {i: part["smape"][name] for i, part in found.items()})
        for band, errors in found[chosen[0]]["spectral_error"].items():
            if any(value is not None for value in errors[name]):
                values = {i: part["spectral_error"][band][name] for i, part in found.items()}
                yield drawn(f"error of the {band} band of {name} [decades]", values)
        for kind in ("mean", "size"):
            values = {i: part["drift"][kind]["prediction"][name] for i, part in found.items()}
            truth = found[chosen[0]]["drift"][kind]["truth"][name]
            yield drawn(f"drift of the {kind} of {name} (dashed: the truth's)", values, truth)
    for name, errors in found[chosen[0]]["baselines"].items():
        values = {i: _mean_error(runs[i]) for i in chosen}
        yield drawn(f"VRMSE (dashed: {name})", values, errors, log=True)


def _mean_error(run: Run) -> list[float | None]:
    """The mean VRMSE over trajectories and fields."""
    scores = [score["mean"] for score in run.scores["scores"]["vrmse"].values()]
    values = np.array(scores, float).mean(0)
    return [float(value) if np.isfinite(value) else None for value in values]


def _known(values: Sequence[float | None]) -> list[float]:
    return [np.nan if value is None else value for value in values]


def _eigenvalues(run: Run, index: int) -> Drawing:
    """Eigenvalues of a step in the complex plane, over the pseudospectrum of the truth."""
    found = run.scores["long"]["eigenvalues"]
    true, ours, square = found["truth"], found["prediction"], found["square"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.5, 3.3), layout="constrained")
        axes = figure.add_subplot()
        angle = np.linspace(0, 2 * np.pi, 200)
        axes.plot(np.cos(angle), np.sin(angle), color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
        if true is not None:
            levels = axes.contour(
                square, square, true["pseudospectrum"], _LEVELS, colors=MUTED, linewidths=0.7
            )
            axes.clabel(levels, fontsize=7)
            sure = np.array(true["residuals"], float) < _SHOWN
            axes.scatter(*np.array(true["values"])[sure].T, s=30, facecolors="none", edgecolors=INK)
        if ours is not None:
            axes.scatter(*np.array(ours["values"]).T, s=12, color=RUNS[index % len(RUNS)])
        axes.set(aspect="equal", xlim=(-1.25, 1.25), ylim=(-1.25, 1.25))
        axes.set(xlabel="real part", ylabel="imaginary part")
        alt = (
            f"Eigenvalues of a step of {run.name} (dots) and of the truth (circles) in the complex "
            "plane, with the unit circle and level lines of the truth's residual."
        )
        drawing = svg(figure, alt)
    return Drawing(
        drawing, f"Eigenvalues of {run.name} (dots) and of the truth (circles)", (index,)
    )
