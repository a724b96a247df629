"""The log of a run: `log.jsonl` is the record; the progress bar and trackers hang off it.

Only the main process logs. Nothing that fails here but the log itself can stop a run.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import TracebackType
from typing import Any

from ...datasets.base.config import plain
from ...datasets.base.progress import Bar
from ..recipe import TrainRecipe
from .history import losses, rewind
from .spikes import Spikes
from .tracking import Trackers

REWOUND = "rewound"  # the kind of records which say that training went back


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
        self.run, self.step, self.note = run, step, ""
        self._open()
        self.bar = Bar(title, recipe.steps, step, "steps")
        self.title, self.steps = title, recipe.steps
        mode = "offline" if recipe.wandb == "disabled" else recipe.wandb
        self.trackers = Trackers(recipe.tracked_by, run, mode, plain(recipe), step)

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

    def _open(self) -> None:
        self.spikes = Spikes(losses(self.run))
        self.file = (self.run / "log.jsonl").open("a")

    def advance(self) -> None:
        """One more step is done."""
        if self.active:
            self.step += 1
            self.bar.advance(1.0)

    def rewind(self, step: int) -> None:
        """Training goes back to `step`: what came later was not. That it goes back stays."""
        if not self.active:
            return
        self.file.close()
        rewind(self.run, step, but=REWOUND)
        self._open()
        self.bar.advance(float(step - self.step))
        self.step = step

    def record(self, kind: str, **values: Any) -> None:
        """Append one record and show it; numbers that are not finite become null."""
        if not self.active:
            return
        values = {key: _finite(value) for key, value in values.items()}
        self.file.write(json.dumps({"kind": kind, **values}) + "\n")
        self.file.flush()
        self._show(kind, values)
        of = [values[key] for key in ("weights", "dataset") if values.get(key)]
        prefix = "".join(f"{part}/" for part in (kind, *of))
        numbers = {prefix + k: v for k, v in values.items() if isinstance(v, (int, float))}
        self.trackers.log(numbers, values["step"])
        if kind == "train":
            self._flag(values)

    def _flag(self, values: dict[str, Any]) -> None:
        """Say and record that the loss has leapt, where it has."""
        z = None if values["loss"] is None else self.spikes.see(values["loss"])
        if z is not None:
            self.record("spike", step=values["step"], loss=values["loss"], z=round(z, 2))
            self.say(
                f"{self.title} {values['step']}/{self.steps}: the loss leaps to "
                f"{values['loss']:.4g}, {z:.0f} deviations above those before"
            )

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if self.active:
            self.bar.say(line)

    def _show(self, kind: str, values: dict[str, Any]) -> None:
        if kind == "train":
            self.note = f"loss {_shown(values['loss'])}"
            self.bar.note(self.note)
        if kind == "speed":
            speed, waits = values["samples_per_second"], values["data_wait"]
            self.bar.note(f"{self.note}, {speed:.4g} windows/s, {waits:.0%} waiting for data")
        if kind == "valid":
            of = f"{values['weights']} weights on " if "weights" in values else ""
            self.say(
                f"{self.title} {values['step']}/{self.steps}: {of}{values['dataset']} VRMSE "
                f"{_shown(values['vrmse'])} (persistence {_shown(values['persistence'])})"
            )


def _shown(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f}"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
