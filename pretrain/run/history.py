"""What the log of a run says, read back by the run itself when it goes on."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...datasets.base.appearing import appearing_file

Record = dict[str, Any]
Scores = dict[str, dict[str, float]]  # weights -> dataset -> VRMSE (not finite: inf)


def require_record(run: Path) -> None:
    """Refuse to go on in a run whose log is lost: it is the record of what was saved.

    Raises:
        ValueError: there is no log, or nothing in it.
    """
    path = run / "log.jsonl"
    if not path.is_file() or not path.stat().st_size:
        raise ValueError(
            f"{path} is missing or empty, and with it the record of the steps that were saved; "
            "restore it from a copy, or go on without (--no-verify)"
        )


def rewind(run: Path, step: int, but: str = "") -> None:
    """Drop log records after `step`: a resumed run writes them again.

    Args:
        run: the run directory.
        step: the last one of which records stay.
        but: a kind of records that all stay.
    """
    _keep(run, lambda r: r.get("step", 0) <= step or (bool(but) and r.get("kind") == but))


def validations(run: Path, datasets: int, weights: int) -> list[tuple[int, Scores]]:
    """Steps and scores of the validations on record; one that was cut short does not count.

    Args:
        run: the run directory.
        datasets: how many are validated.
        weights: on how many sets of weights.
    """
    found: dict[int, Scores] = {}
    for record in _of_kind(run, "valid"):
        score = math.inf if record["vrmse"] is None else record["vrmse"]
        of = found.setdefault(record["step"], {}).setdefault(record.get("weights", "last"), {})
        of[record["dataset"]] = score
    return [
        (step, scores)
        for step, scores in found.items()
        if len(scores) >= weights and all(len(of) >= datasets for of in scores.values())
    ]


def drop_validation(run: Path, step: int) -> None:
    """Drop what is on record of the validation of a step, which is made again."""
    _keep(run, lambda r: r.get("kind") != "valid" or r.get("step") != step)


def has_record(run: Path, kind: str) -> bool:
    """Whether there is a record of this kind."""
    return bool(_of_kind(run, kind))


def losses(run: Path) -> list[float]:
    """The losses on record, in order; inf where one was not finite."""
    return [math.inf if r["loss"] is None else r["loss"] for r in _of_kind(run, "train")]


def _keep(run: Path, wanted: Callable[[Record], bool]) -> None:
    """Drop all other records, and a line that a kill cut short."""
    path = run / "log.jsonl"
    if not path.is_file():
        return
    text, kept = path.read_text(encoding="utf-8"), []
    for line in text.splitlines():
        record = _parsed(line)
        if record is not None and wanted(record):
            kept.append(f"{line}\n")
    if "".join(kept) != text:
        with appearing_file(path, overwrite=True) as draft:
            draft.write_text("".join(kept), encoding="utf-8")


def _of_kind(run: Path, kind: str) -> list[Record]:
    path = run / "log.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    parsed = map(_parsed, lines)
    return [record for record in parsed if record is not None and record.get("kind") == kind]


def _parsed(line: str) -> Record | None:
    """A record; None for a line that a kill cut short."""
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None
