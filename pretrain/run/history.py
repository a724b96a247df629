"""What the log of a run says, read back by the run itself when it goes on."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...datasets.base.appearing import appearing_file

Record = dict[str, Any]
Scores = dict[str, dict[str, float]]  # weights -> dataset -> VRMSE (not finite: inf)

ENDED = "early_stopping"  # the kind of record which says that it ended training
AFTER_A_SAVE = ("valid", ENDED)  # kinds of records about a step that come after its state


def extent(run: Path, step: int) -> tuple[int, str]:
    """Length in bytes and SHA-256 of what is on record when the state of a step is saved.

    That stays as it is from then on: what comes later, that step's validation too, is appended, and
    is all that is ever dropped.
    """
    path = run / "log.jsonl"
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    while lines and _comes_after(step, lines[-1]):
        lines.pop()
    text = b"".join(lines)
    return len(text), hashlib.sha256(text).hexdigest()


def _comes_after(step: int, line: bytes) -> bool:
    """Whether a line may be written after the state of a step; or is yet being written."""
    record = _parsed(line.decode(errors="replace")) if line.endswith(b"\n") else None
    at = step + 1 if record is None else record.get("step", 0)
    return at > step or (at == step and record is not None and record.get("kind") in AFTER_A_SAVE)


def require_record(run: Path, known: tuple[int, str]) -> None:
    """Refuse to go on in a run whose log is lost or changed: it is the record of what was saved,
    and says which weights are the best.

    Args:
        run: the run directory.
        known: what `extent` gave when the state was saved; empty for one of an earlier version.

    Raises:
        ValueError: there is no log, nothing in it, or other lines than were written.
    """
    path = run / "log.jsonl"
    remedy = "restore it from a copy, or go on with what is there (--no-verify)"
    length, digest = known
    if digest and not length:
        return  # a state before the first step
    if not path.is_file() or not path.stat().st_size:
        raise ValueError(
            f"{path} is missing or empty, and with it the record of the steps that were saved; "
            f"{remedy}"
        )
    with path.open("rb") as file:
        found = hashlib.sha256(file.read(length)).hexdigest()
    if digest and found != digest:
        raise ValueError(
            f"{path} is damaged: it does not begin with the lines that were there when the last "
            f"state was saved (by their SHA-256); {remedy}"
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
