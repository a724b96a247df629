"""A run directory: created once, never overwritten, resumed only by the recipe that made it.

RUN/recipe.yaml     the resolved recipe
RUN/run_id          a word of its own, which its states carry
RUN/data.json       what data it has seen (see `fingerprints`)
RUN/jobs/           who trained here, and who does (see `jobs`)
RUN/log.jsonl       the record: one JSON object per line
RUN/state/          training state to resume from (see `state`)
RUN/best/           the best weights by validation (see `best`)
RUN/checkpoint/     the trained operator; its presence marks a finished run
"""

from __future__ import annotations

import re
import secrets
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ...datasets.base.appearing import (
    appearing_file,
    is_draft,
    remove_drafts,
    require_writable,
)
from ...datasets.base.config import plain, read
from ...datasets.base.paths import require_text
from ..recipe import TrainRecipe
from .best import FOLDER as BEST
from .fingerprints import DATA, has_fingerprints
from .jobs import JOBS, require_unheld

R = TypeVar("R", bound=TrainRecipe)
IDENTITY = "run_id"

# What may change between the attempts of one run: it does not change what is learned.
_MAY_CHANGE = (
    "workers",
    "trackers",
    "wandb",
    "log_every",
    "save_every",
    "keep",
    "states",
    "stop_within",
    "on_nonfinite",
    "rewinds",
    "early_stopping",
    "publish",
    "profile",
    "validation",
    "cache",
)
# Of each dataset: where it lies, and what it is called; what it is follows from its fingerprint.
_PLACES = re.compile(r"data\[\d+\]\.(path|name) ")
# What may change with a note: it does not change the meaning of what was learned before.
_NOTED = (
    "steps",
    "optimizer.learning_rate",
    "optimizer.clip",
    "optimizer.fused",
    "micro_batch",
    "precision",
    "tf32",
    "compile",
)


class Status(Enum):
    """What a run directory holds."""

    NEW = "new"
    STARTED = "started"
    FINISHED = "finished"


def changes_of(run: Path, recipe: TrainRecipe) -> list[str]:
    """What a recipe changes of a run from here on, in words: dotted keys with both values."""
    stored = read(type(recipe), run / "recipe.yaml")
    return _differences(_learned(stored), _learned(recipe))


def as_begun(run: Path, recipe: R) -> R:
    """The recipe of a run that may be resumed, with what that recipe leaves to the run.

    Earlier versions had other defaults, which their runs keep.
    """
    if not (run / "recipe.yaml").is_file():
        return recipe
    stored = read(type(recipe), run / "recipe.yaml")
    return replace(recipe, objective=recipe.objective.as_begun(stored.objective))


def inspect_run(run: Path, recipe: TrainRecipe, resume: bool) -> Status:
    """What there is at `run`, for a start with this recipe. Writes nothing.

    Raises:
        ValueError: the directory cannot be written, is in use by something else, or may not be
            resumed.
    """
    require_text(run, "choose another directory")
    if run.exists() and not run.is_dir():
        raise ValueError(f"{run} is a file; choose another directory")
    if not run.exists() or all(_before_recipe(path) for path in run.iterdir()):
        require_unheld(run)
        require_writable(run / "recipe.yaml")
        return Status.NEW
    if not (run / "recipe.yaml").is_file():
        raise ValueError(f"{run} exists and is no run directory; choose another directory")
    if not resume:
        raise ValueError(
            f"run {run} exists; choose another directory, or continue it with --resume auto"
        )
    changes = changes_of(run, recipe)
    differing = [line for line in changes if not _may_change(line, has_fingerprints(run))]
    if differing:
        raise ValueError(
            f"run {run} was made by another recipe: {'; '.join(differing)}. "
            "Choose another directory, or restore the recipe"
        )
    if (run / "checkpoint").is_dir():
        return Status.FINISHED
    require_unheld(run)
    require_writable(run / "recipe.yaml")
    return Status.STARTED


def _may_change(change: str, knows_data: bool) -> bool:
    """Whether a run may go on with a change of its recipe; `knows_data`: data are compared."""
    noted = change.startswith(tuple(f"{key} " for key in _NOTED))
    return noted or (knows_data and bool(_PLACES.match(change)))


def require_unchanged(run: Path, status: Status) -> None:
    """Refuse a run that is no longer what `inspect_run` found, now that it is held.

    Raises:
        ValueError: another job was in it meanwhile.
    """
    now = Status.STARTED if (run / "recipe.yaml").is_file() else Status.NEW
    if (run / "checkpoint").is_dir():
        now = Status.FINISHED
    if now is not status:
        raise ValueError(
            f"another job was in {run} meanwhile, which is {now.value} now; start again"
        )


def create_run(run: Path, recipe: TrainRecipe) -> None:
    """Write the resolved recipe into the directory of a new run, whole or not at all.

    The caller holds the run (see `owning`), or is alone.
    """
    with appearing_file(run / IDENTITY, overwrite=True) as draft:
        draft.write_text(secrets.token_hex(16) + "\n")
    with appearing_file(run / "recipe.yaml", overwrite=True) as draft:
        draft.write_text(yaml.safe_dump(plain(recipe), sort_keys=False, allow_unicode=True))


def remove_leftovers(run: Path) -> None:
    """Remove what killed jobs left half written; the caller holds the run (see `owning`)."""
    for left in run.glob(".*"):
        if is_draft(left, run / "recipe.yaml"):
            left.unlink()
    for folder in (run, run / "state", run / BEST):
        remove_drafts(folder)


def identity(run: Path) -> str:
    """The word that tells a run from all others; empty for runs of earlier versions."""
    path = run / IDENTITY
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""


def _before_recipe(path: Path) -> bool:
    """Whether a file is there before the recipe is: then there is no run yet."""
    drafts = ("recipe.yaml", IDENTITY, DATA)
    return path.name in (IDENTITY, JOBS, DATA) or any(
        is_draft(path, path.with_name(name)) for name in drafts
    )


def _learned(recipe: TrainRecipe) -> dict[str, Any]:
    """What a recipe says about what is learned."""
    values = _without_changeable(plain(recipe))
    return {**values, "data": [_without_changeable(data) for data in values["data"]]}


def _without_changeable(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in _MAY_CHANGE}


def _differences(stored: Any, wanted: Any, prefix: str = "") -> list[str]:
    """Dotted keys whose values differ, with both values."""
    if isinstance(stored, dict) and isinstance(wanted, dict):
        return [
            line
            for key in {**stored, **wanted}
            for line in _differences(stored.get(key), wanted.get(key), f"{prefix}{key}.")
        ]
    if _are_mappings(stored) and _are_mappings(wanted) and len(stored) == len(wanted):
        return [
            line
            for i, (before, now) in enumerate(zip(stored, wanted, strict=True))
            for line in _differences(before, now, f"{prefix[:-1]}[{i}].")
        ]
    return [] if stored == wanted else [f"{prefix[:-1]} was {stored!r}, now {wanted!r}"]


def _are_mappings(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, dict) for value in values)
