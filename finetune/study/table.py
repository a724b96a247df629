"""A study as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from .figure import NAMES
from .result import headline, shown
from .scores import METRICS


def tables(result: Mapping[str, Any]) -> Iterator[Table]:
    """Errors of every budget by number of trajectories, and then the gains."""
    for budget in result["budgets"]:
        for metric, words in METRICS.items():
            yield _errors(result, budget, metric, words)
    yield _gains(result)


def _errors(result: Mapping[str, Any], budget: Mapping[str, Any], metric: str, words: str) -> Table:
    name, seeds = result["dataset"]["name"], len(result["seeds"])
    table = Table(
        title=f"{words} on {name} after {budget['steps']} steps: median, over {seeds} seed(s)"
    )
    table.add_column("trained")
    for count in result["trajectories"]:
        table.add_column(f"{count}", justify="right")
    table.add_column("fit", justify="right")
    for start, one in budget["curves"].items():
        table.add_row(NAMES[start], *map(_cell, one[metric]["curve"]), _law(one[metric]["fit"]))
        lost = [sum(count or 0 for count in row) for row in one["blown_up"]]
        if any(lost):
            table.add_row("  blown up", *map(str, lost), "")
    known = result["persistence"].get(metric, {})
    table.add_row("persistence", *[_number(known.get("median"))] * len(result["trajectories"]), "")
    return table


def _gains(result: Mapping[str, Any]) -> Table:
    """EG and AG against every other start."""
    table = Table(title="gains of pretraining, with 5th and 95th percentile over seeds")
    for column in ("budget", "against", "error", "EG", "EG of the fits", "AG"):
        table.add_column(column)
    for budget in result["budgets"]:
        for start in budget["gains"]:
            for metric in METRICS:
                found = headline(budget, start, metric)
                cells = [f"{shown(one)} at {one['trajectories']}" for one in found.values()]
                table.add_row(
                    f"{budget['steps']} steps", NAMES[start], METRICS[metric], *(cells or ["–"] * 3)
                )
    return table


def _cell(row: Mapping[str, Any]) -> str:
    return _number(row["value"]) if row["done"] else "…"


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"


def _law(law: Mapping[str, Any] | None) -> str:
    if law is None:
        return "–"
    return f"{law['factor']:.3g} · M^{-law['rate']:.2f} (±{law['residual']:.0%})"
