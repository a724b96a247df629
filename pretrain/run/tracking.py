"""Where a run's numbers go: `log.jsonl` is the record; console and wandb hang off it.

Only the main process tracks. Nothing that fails here but the log itself can stop a run.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from ...datasets.base.appearing import appearing_file
from ...datasets.base.progress import Bar
from ..recipe import TrainRecipe

logger = logging.getLogger(__name__)


class Tracker:
    """Appends records to `log.jsonl` and shows them.

    Args:
        run: the run directory.
        title: shown before the progress bar.
        step: where training starts.
        recipe: where it ends, and whether wandb is told.
        active: False on all but the main process: then nothing happens.
    """

    def __init__(self, run: Path, title: str, step: int, recipe: TrainRecipe, active: bool) -> None:
        self.active = active
        if not active:
            return
        self.file = (run / "log.jsonl").open("a")
        self.bar = Bar(title, recipe.steps, step, "steps")
        self.title, self.steps = title, recipe.steps
        self.wandb: Any = None if recipe.wandb == "disabled" else _start_wandb(run, recipe.wandb)

    def __enter__(self) -> Tracker:
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
        if self.wandb is not None:
            self._try(lambda: self.wandb.finish(exit_code=0 if error is None else 1))

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
        if self.wandb is not None:
            self._send(kind, values)

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

    def _send(self, kind: str, values: dict[str, Any]) -> None:
        step, name = values["step"], values.get("dataset")
        prefix = f"{kind}/{name}/" if name else f"{kind}/"
        numbers = {prefix + k: v for k, v in values.items() if isinstance(v, (int, float))}
        self._try(lambda: self.wandb.log(numbers, step=step))

    def _try(self, call: Callable[[], Any]) -> None:
        """Whatever wandb does, training goes on."""
        try:
            call()
        except Exception as error:
            logger.warning("wandb stopped (%s); log.jsonl has everything", error)
            self.wandb = None


def _shown(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f}"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def rewind(run: Path, step: int) -> None:
    """Drop log records after `step`: a resumed run writes them again."""
    path = run / "log.jsonl"
    if not path.exists():
        return
    kept = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
    with appearing_file(path, overwrite=True) as draft:
        draft.write_text("".join(f"{line}\n" for line in kept))


def _step_of(line: str) -> int | float:
    try:
        return json.loads(line).get("step", 0)
    except json.JSONDecodeError:  # the line that a kill cut short
        return float("inf")


def _start_wandb(run: Path, mode: str) -> Any:
    try:
        import wandb  # slow to import, and optional in use

        return wandb.init(project="pelagos", name=run.name, dir=run, mode=mode)  # type: ignore[arg-type]
    except Exception as error:
        logger.warning("wandb did not start (%s); log.jsonl has everything", error)
        return None
