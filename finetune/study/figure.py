"""The figure of a study: error over the number of training trajectories, a panel per budget."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ...datasets.base.appearing import appearing_file
from ...datasets.base.figures import BASELINE, RUNS, STYLE

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
    """Draw the relative L1 errors of all budgets; the file appears when it is complete."""
    budgets = result["budgets"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6 * len(budgets), 3.6), layout="constrained")
        panels = figure.subplots(1, len(budgets), sharey=True, squeeze=False)[0]
        for axes, budget in zip(panels, budgets, strict=True):
            _draw(axes, budget, result["persistence"])
        panels[0].set_ylabel("relative L1 error of the last frame (median)")
        panels[0].legend(frameon=False)
        with appearing_file(path, overwrite=True) as draft:
            figure.savefig(draft, format="svg", metadata={"Date": None})


def _draw(axes: Axes, budget: Mapping[str, Any], persistence: Mapping[str, Any]) -> None:
    axes.set(xscale="log", yscale="log", title=f"{budget['steps']} steps")
    axes.grid(True, axis="y")
    for color, (start, one) in zip(RUNS, budget["curves"].items(), strict=False):
        count, value, low, high = points(one, "relative_l1")
        axes.plot(count, value, "o-", color=color, label=NAMES[start])
        axes.fill_between(count, low, high, color=color, alpha=0.2, linewidth=0)
        law = fitted(one, "relative_l1", count)
        if law is not None:
            axes.plot(count, law, ":", color=color, linewidth=1)
    level = persistence.get("relative_l1", {}).get("median")
    if level:
        axes.axhline(level, color=BASELINE, linestyle="--", label="persistence")
    axes.set_xlabel("training trajectories")
    counts = points(budget["curves"]["pretrained"], "relative_l1")[0]
    axes.set_xticks(counts, [f"{count:.0f}" for count in counts])
    axes.xaxis.set_minor_locator(NullLocator())
