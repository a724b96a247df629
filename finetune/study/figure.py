"""The figure of a study: errors over the number of training trajectories, a column per budget."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from ...datasets.base.appearing import appearing_file
from ...datasets.base.figures import BASELINE, RUNS, STYLE

SHOWN = {
    "vrmse_horizon": "VRMSE over the\ntrained horizon (median)",
    "relative_l1": "relative L1 error of\nthe last frame (median)",
}
WIDE = 6.0  # highest over lowest error of an axis on which 1, 2 and 5 are enough numbers
NAMES = {"pretrained": "pretrained", "scratch": "from scratch", "peer": "FNO"}
Points = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def points(one: Mapping[str, Any], metric: str) -> Points:
    """Numbers of trajectories, and the curve with its smallest and largest seed; NaN for gaps."""
    rows = one[metric]["curve"]
    count = np.array([row["trajectories"] for row in rows], float)
    value, low, high = (
        np.array([np.nan if row[key] is None else row[key] for row in rows], float)
        for key in ("value", "low", "high")
    )
    return count, value, low, high


def fitted(one: Mapping[str, Any], metric: str, count: np.ndarray) -> np.ndarray | None:
    """The power law of a curve."""
    law = one[metric]["fit"]
    return None if law is None else law["factor"] * count ** -law["rate"]


def write_figure(result: Mapping[str, Any], path: Path) -> None:
    """Draw the errors of all budgets, a row for each; the file appears when it is complete."""
    budgets, rows, columns = result["budgets"], len(SHOWN), len(result["budgets"])
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6 * columns, 3.1 * rows + 0.5), layout="constrained")
        panels = figure.subplots(rows, columns, sharex=True, sharey="row", squeeze=False)
        for row, (metric, label) in zip(panels, SHOWN.items(), strict=True):
            for axes, budget in zip(row, budgets, strict=True):
                _draw(axes, budget, metric, result["persistence"])
            row[0].set_ylabel(label)
            _tick(row[0])
        for axes, budget in zip(panels[0], budgets, strict=True):
            axes.set_title(f"{budget['steps']} steps")
        for axes in panels[-1]:
            axes.set_xlabel("training trajectories")
        handles, labels = panels[0][0].get_legend_handles_labels()
        ncols = min(len(labels), 2 * columns)
        figure.legend(handles, labels, loc="outside lower center", ncols=ncols, frameon=False)
        with appearing_file(path, overwrite=True) as draft:
            figure.savefig(draft, format="svg", metadata={"Date": None})


def _draw(
    axes: Axes, budget: Mapping[str, Any], metric: str, persistence: Mapping[str, Any]
) -> None:
    axes.set(xscale="log", yscale="log")
    axes.grid(True, axis="y")
    for color, (start, one) in zip(RUNS, budget["curves"].items(), strict=False):
        count, value, low, high = points(one, metric)
        axes.plot(count, value, "o-", color=color, label=NAMES[start])
        axes.fill_between(count, low, high, color=color, alpha=0.2, linewidth=0)
        law = fitted(one, metric, count)
        if law is not None:
            axes.plot(count, law, ":", color=color, linewidth=1)
    level = persistence.get(metric, {}).get("median")
    if level:
        axes.axhline(level, color=BASELINE, linestyle="--", label="persistence")
    counts = points(budget["curves"]["pretrained"], metric)[0]
    axes.set_xticks(counts, [f"{count:.0f}" for count in counts])
    axes.xaxis.set_minor_locator(NullLocator())


def _tick(axes: Axes) -> None:
    """Numbers along the errors: at 1, 2 and 5, or where few of these are in view at equal steps."""
    low, high = axes.get_ylim()
    narrow = high < WIDE * low
    axes.yaxis.set_major_locator(MaxNLocator(5) if narrow else LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
