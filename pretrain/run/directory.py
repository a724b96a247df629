"""A run directory: created once, never overwritten, resumed only by the recipe that made it.

RUN/recipe.yaml     the resolved recipe
RUN/log.jsonl       the record: one JSON object per line
RUN/state/          training state to resume from (see `resume`)
RUN/checkpoint/     the trained operator; its presence marks a finished run
"""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from ...datasets.base.appearing import appearing_file, is_draft, require_writable
from ...datasets.base.config import plain, read
from ..recipe import TrainRecipe

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

# What may change between the attempts of one run: it does not change what is learned.
_MAY_CHANGE = (
    "workers",
    "trackers",
    "wandb",
    "log_every",
    "save_every",
    "keep",
    "stop_within",
    "on_nonfinite",
    "validation",
    "cache",
)
# What may change with a note: it does not change the meaning of what was learned before.
_NOTED = ("steps", "optimizer.learning_rate", "optimizer.clip", "micro_batch", "precision")


class Status(Enum):
    """What a run directory holds."""

    NEW = "new"
    STARTED = "started"
    FINISHED = "finished"


def changes_of(run: Path, recipe: TrainRecipe) -> list[str]:
    """What a recipe changes of a run from here on, in words: dotted keys with both values."""
    stored = read(type(recipe), run / "recipe.yaml")
    return _differences(_learned(stored), _learned(recipe))


def inspect_run(run: Path, recipe: TrainRecipe, resume: bool) -> Status:
    """What there is at `run`, for a start with this recipe. Writes nothing.

    Raises:
        ValueError: the directory cannot be written, is in use by something else, or may not be
            resumed.
    """
    if run.exists() and not run.is_dir():
        raise ValueError(f"{run} is a file; choose another directory")
    if not run.exists() or all(is_draft(path, run / "recipe.yaml") for path in run.iterdir()):
        require_writable(run / "recipe.yaml")
        return Status.NEW
    if not (run / "recipe.yaml").is_file():
        raise ValueError(f"{run} exists and is no run directory; choose another directory")
    if not resume:
        raise ValueError(
            f"run {run} exists; choose another directory, or continue it with --resume auto"
        )
    changes = changes_of(run, recipe)
    differing = [line for line in changes if not line.startswith(tuple(f"{k} " for k in _NOTED))]
    if differing:
        raise ValueError(
            f"run {run} was made by another recipe: {'; '.join(differing)}. "
            "Choose another directory, or restore the recipe"
        )
    if (run / "checkpoint").is_dir():
        return Status.FINISHED
    require_writable(run / "recipe.yaml")
    return Status.STARTED


def create_run(run: Path, recipe: TrainRecipe) -> None:
    """Make the directory and write the resolved recipe into it, whole or not at all."""
    for left in run.glob(".*"):
        if is_draft(left, run / "recipe.yaml"):
            left.unlink()
    with appearing_file(run / "recipe.yaml", overwrite=True) as draft:
        draft.write_text(yaml.safe_dump(plain(recipe), sort_keys=False, allow_unicode=True))


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Keep other jobs out of a run while this process trains in it.

    Some network disks have no locks; there nothing keeps them out.

    Raises:
        ValueError: another process is training there.
    """
    # Open for writing: over NFS an exclusive lock needs it.
    with (run / "recipe.yaml").open("r+") as recipe:
        try:
            fcntl.flock(recipe, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"another process is training in {run}; wait for it, or stop it"
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield


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
    return [] if stored == wanted else [f"{prefix[:-1]} was {stored!r}, now {wanted!r}"]
