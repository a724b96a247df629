"""What a run directory holds, read back for the report.

`recipe.yaml` (needed), `log.jsonl`, `checkpoint/`, `evaluation.json` and `prediction.nc`: whatever
is missing or unreadable is named in `Run.missing` instead of stopping the reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...datasets.base.sealed import unsealed
from ...datasets.base.texts import MOST_JSON, MOST_YAML, parse_json, parse_yaml, read_text

EVALUATION_SCHEMA = 1  # of evaluation.json
# How a run started: its recipe says `init_from: PATH`, `init_from: null`, or nothing of the kind.
PRETRAINED, SCRATCH, PRETRAINING = "from pretrained weights", "from scratch", "pretraining"


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        path: its directory.
        name: shown in the report; unique among the runs read together.
        recipe_text, recipe: the resolved recipe, as text and as data.
        train, valid: records of the log, in order; scores are those of the last weights.
        config: `config.json` of the final checkpoint; empty if there is none.
        evaluation: what `evaluate` wrote, or None.
        prediction: what `predict` wrote, or None.
        missing: what is not there, in plain words.
    """

    path: Path
    name: str
    recipe_text: str
    recipe: dict[str, Any]
    train: tuple[dict[str, Any], ...]
    valid: tuple[dict[str, Any], ...]
    config: dict[str, Any]
    evaluation: dict[str, Any] | None
    prediction: Path | None
    missing: tuple[str, ...]

    @property
    def origin(self) -> str:
        """PRETRAINED, SCRATCH or PRETRAINING."""
        if "init_from" not in self.recipe:
            return PRETRAINING
        return SCRATCH if self.recipe["init_from"] is None else PRETRAINED

    @property
    def scores(self) -> dict[str, Any]:
        """The evaluation of a run that has one."""
        assert self.evaluation is not None
        return self.evaluation

    @property
    def samples(self) -> int | None:
        """Training windows seen, or None if the log does not say."""
        return self.train[-1].get("samples") if self.train else None

    @property
    def seconds(self) -> float | None:
        """Training time, or None if the log does not say."""
        return self.train[-1].get("seconds") if self.train else None


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Read run directories, in the given order.

    Raises:
        ValueError: none given, one is no run directory, or one is given twice.
    """
    if not paths:
        raise ValueError("a report needs at least one run directory")
    resolved = [path.resolve() for path in paths]
    if len(set(resolved)) < len(resolved):
        raise ValueError(f"a run is given twice: {', '.join(map(str, paths))}")
    names = [path.name for path in resolved]
    unique = len(set(names)) == len(names)
    return [_read(path, path.resolve().name if unique else str(path)) for path in paths]


def _read(path: Path, name: str) -> Run:
    recipe = path / "recipe.yaml"
    if not recipe.is_file():
        raise ValueError(f"{path} is no run directory: it has no recipe.yaml")
    try:
        text = read_text(recipe, MOST_YAML)
        values = parse_yaml(text)
    except ValueError as error:
        raise ValueError(f"{recipe} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{recipe} must hold a YAML mapping of keys")
    missing: list[str] = []
    records = _records(path / "log.jsonl", missing)
    prediction = path / "prediction.nc"
    config = _json(path / "checkpoint" / "config.json", "so its origin is unknown", missing)
    scoreless = "so it has no scores (make it with: pelagos evaluate)"
    evaluation = _json(path / "evaluation.json", scoreless, missing)
    if evaluation is not None and evaluation.get("schema") != EVALUATION_SCHEMA:
        missing.append(f"evaluation.json is of another version, {scoreless}")
        evaluation = None
    if not prediction.is_file():
        missing.append(
            "no prediction.nc, so its fields are not shown (make it with: pelagos predict)"
        )
    if "init_from" not in values:  # pretraining has learning curves to show, and need not have more
        missing = [text for text in missing if "log.jsonl" in text]
    return Run(
        path=path,
        name=name,
        recipe_text=text,
        recipe=values,
        train=tuple(r for r in records if r.get("kind") == "train"),
        valid=tuple(r for r in records if r.get("kind") == "valid" and "weights" not in r),
        config=config or {},
        evaluation=evaluation,
        prediction=prediction if prediction.is_file() else None,
        missing=tuple(missing),
    )


def _records(path: Path, missing: list[str]) -> list[dict[str, Any]]:
    """Every complete record of the log; a line that a kill cut short is skipped."""
    if not path.is_file():
        missing.append("no log.jsonl, so it has no learning curves")
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = parse_json(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def _json(path: Path, consequence: str, missing: list[str]) -> dict[str, Any] | None:
    if not path.is_file():
        missing.append(f"no {'/'.join(path.parts[-2:])}, {consequence}")
        return None
    try:
        values = parse_json(read_text(path, MOST_JSON))
    except ValueError:
        values = None
    if not isinstance(values, dict):
        missing.append(f"{path.name} cannot be read, {consequence}")
        return None
    try:
        return unsealed(values)
    except ValueError as error:
        missing.append(f"{path.name} is damaged: {error}, {consequence}")
        return None
