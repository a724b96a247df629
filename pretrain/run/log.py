"""The log of a run: `log.jsonl` is the record; the progress bar and trackers hang off it.

Only the main process logs. Nothing that fails here but the log itself can stop a run.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import TracebackType
from typing import Any

from ...datasets.base.appearing import appearing_file
from ...datasets.base.config import plain
from ...datasets.base.progress import Bar
from ..recipe import TrainRecipe
from .tracking import Trackers


class Log:
    """Appends records to `log.jsonl` and shows them.

    Args:
        run: the run directory.
        title: shown before the progress bar.
        step: where training starts.
        recipe: where it ends, and who else is told.
        active: False on all but the main process: then nothing happens.
    """

    def __init__(self, run: Path, title: str, step: int, recipe: TrainRecipe, active: bool) -> None:
        self.active = active
        if not active:
            return
        self.file = (run / "log.jsonl").open("a")
        self.bar = Bar(title, recipe.steps, step, "steps")
        self.title, self.steps = title, recipe.steps
        mode = "offline" if recipe.wandb == "disabled" else recipe.wandb
        self.trackers = Trackers(recipe.tracked_by, run, mode, plain(recipe))

    def __enter__(self) -> Log:
        if self.active:
            self.bar.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.active:
            return
        self.bar.__exit__(kind, error, trace)
        self.file.close()
        self.trackers.finish()

    def advance(self) -> None:
        """One more step is done."""
        if self.active:
            self.bar.advance(1.0)

    def record(self, kind: str, **values: Any) -> None:
        """Append one record and show it; numbers that are not finite become null."""
        if not self.active:
            return
        values = {key: _finite(value) for key, value in values.items()}
        self.file.write(json.dumps({"kind": kind, **values}) + "\n")
        self.file.flush()
        self._show(kind, values)
        name = values.get("dataset")
        prefix = f"{kind}/{name}/" if name else f"{kind}/"
        numbers = {prefix + k: v for k, v in values.items() if isinstance(v, (int, float))}
        self.trackers.log(numbers, values["step"])

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if self.active:
            self.bar.say(line)

    def _show(self, kind: str, values: dict[str, Any]) -> None:
        if kind == "train":
            self.bar.note(f"loss {_shown(values['loss'])}")
        if kind == "valid":
            self.say(
                f"{self.title} {values['step']}/{self.steps}: {values['dataset']} VRMSE "
                f"{_shown(values['vrmse'])} (persistence {_shown(values['persistence'])})"
            )


def _shown(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f}"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


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


def rewind(run: Path, step: int) -> None:
    """Drop log records after `step`: a resumed run writes them again."""
    path = run / "log.jsonl"
    if not path.exists():
        return
    kept = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
    with appearing_file(path, overwrite=True) as draft:
        draft.write_text("".join(f"{line}\n" for line in kept))


def is_scored(run: Path, step: int) -> bool:
    """Whether the validation of a step is on record."""
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return any(r.get("kind") == "valid" and r.get("step") == step for r in records)


def _step_of(line: str) -> int | float:
    try:
        return json.loads(line).get("step", 0)
    except json.JSONDecodeError:  # the line that a kill cut short
        return float("inf")
