"""Studies of sample efficiency in the report: curves, gains, and what makes them say little."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..study.figure import NAMES, fitted, points
from ..study.result import FILE, headline, read_result, shown
from ..study.scores import METRICS
from . import figures
from .comparison import number
from .figures import Drawing, Line, Plane, line_chart


@dataclass(frozen=True)
class StudyPart:
    """A study as the page shows it.

    Attributes:
        title, about: its dataset, and what was compared.
        legend: names and colours of the curves.
        drawings: error over the number of training trajectories.
        gains: rows of the table of gains.
        warnings: what makes the study say little.
        path, recipe: where it is, and its recipe.
        conventions: what the numbers are.
    """

    title: str
    about: str
    legend: tuple[tuple[str, str], ...]
    drawings: tuple[Drawing, ...]
    gains: tuple[tuple[str, ...], ...]
    warnings: tuple[str, ...]
    path: Path
    recipe: str
    conventions: dict[str, str]


def is_study(path: Path) -> bool:
    """Whether a folder is a study's."""
    return (path / FILE).is_file()


def read_study(path: Path) -> StudyPart:
    """What the page says of a study.

    Raises:
        ValueError: it is damaged, or of another version.
    """
    result = read_result(path)
    about = result["checkpoint"]
    unfinished = "" if result["complete"] else " The study is not finished."
    return StudyPart(
        title=result["dataset"]["name"],
        about=f"{about['path']} ({about['operator']}, {about['parameters']:,} parameters) "
        f"fine-tuned, against training from scratch, over {len(result['seeds'])} "
        f"seed(s).{unfinished}",
        legend=tuple((NAMES[s], figures.color(i)) for i, s in enumerate(result["starts"])),
        drawings=tuple(_drawings(result)),
        gains=tuple(_gains(result)),
        warnings=tuple(result["warnings"]),
        path=path,
        recipe=yaml.safe_dump(result["recipe"], sort_keys=False, allow_unicode=True).strip(),
        conventions=result["conventions"],
    )


def _drawings(result: Mapping[str, Any]) -> Iterator[Drawing]:
    for budget in result["budgets"]:
        for metric, words in METRICS.items():
            level = result["persistence"].get(metric, {}).get("median")
            yield _drawing(budget, metric, words, level)


def _drawing(budget: Mapping[str, Any], metric: str, words: str, level: float | None) -> Drawing:
    lines: list[Line] = []
    ends: list[str] = []
    for index, (start, one) in enumerate(budget["curves"].items()):
        count, value, low, high = points(one, metric)
        law = fitted(one, metric, count)
        if law is not None:
            lines.append(Line(count, law, run=index, faint=True))
        lines.append(Line(count, value, run=index, low=low, high=high))
        ends.append(f"{NAMES[start]} {number(one[metric]['curve'][-1]['value'])}")
        if not index and level is not None:
            lines.insert(0, Line(count, [level] * len(count), baseline=True))
    alt = (
        f"Line chart of the median {words} over the number of training trajectories, after "
        f"{budget['steps']} steps. With the most of them: {', '.join(ends)}."
    )
    plane = Plane("training trajectories", words, log_x=True, log_y=True)
    return Drawing(line_chart(lines, plane, alt=alt), f"{budget['steps']} steps: {words}")


def _gains(result: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for budget in result["budgets"]:
        for start in budget["gains"]:
            for metric, words in METRICS.items():
                found = headline(budget, start, metric)
                cells = [f"{shown(one)} at {one['trajectories']}" for one in found.values()]
                yield (f"{budget['steps']} steps, {words}", NAMES[start], *(cells or ["–"] * 3))


def read_studies(paths: Sequence[Path]) -> list[StudyPart]:
    """The studies among some folders."""
    return [read_study(path) for path in paths if is_study(path)]
