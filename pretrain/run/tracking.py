"""Trackers: where else a run's numbers go, through the classes of Accelerate.

`log.jsonl` is the record (see `log`); whatever a tracker does, training goes on. A tracker is a
subclass of `accelerate.tracking.GeneralTracker`, made as Accelerate makes its own:
`Tracker(name, logging_dir)` where it requires a logging directory, else `Tracker(project)`.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from accelerate.tracking import GeneralTracker, WandBTracker
from accelerate.utils import is_mlflow_available, is_tensorboard_available, is_wandb_available

from ...datasets.base.registry import Registry
from .directory import identity

logger = logging.getLogger(__name__)

PROJECT = "pelagos"
_PROJECTS = {"wandb": "WANDB_PROJECT"}  # variables that name another project


class TrackerClass(Protocol):
    """What is registered: a subclass of `GeneralTracker`."""

    requires_logging_directory: bool

    def __call__(self, *where: Any, **settings: Any) -> GeneralTracker:
        """A tracker that has not started yet."""
        ...


TRACKERS: Registry[TrackerClass] = Registry(
    "pelagos.trackers",
    "tracker",
    {
        "wandb": "pelagos.pretrain.run.tracking:Wandb",
        "tensorboard": "accelerate.tracking:TensorBoardTracker",
        "mlflow": "accelerate.tracking:MLflowTracker",
    },
)
# Whether the package of the same name is installed, without importing it.
_AVAILABLE = {
    "wandb": is_wandb_available,
    "tensorboard": is_tensorboard_available,
    "mlflow": is_mlflow_available,
}


class Wandb(WandBTracker):
    """Accelerate's, told whether the run failed."""

    def finish(self) -> None:
        """End the run; as failed, where an exception is under way."""
        self.run.finish(exit_code=0 if sys.exc_info()[0] is None else 1)


def require_trackers(names: tuple[str, ...]) -> None:
    """Refuse trackers that cannot be had, before any work.

    Raises:
        ValueError: there is none of that name, or its package is not installed.
    """
    for name in names:
        TRACKERS.get(name)
        if name in _AVAILABLE and not _AVAILABLE[name]():
            raise ValueError(
                f"trackers: {name} needs a package that is not installed; "
                f"`pip install {name}`, or leave it out"
            )


class Trackers:
    """The trackers of one run, on the main process.

    Args:
        names: registry names.
        run: the run directory; what they keep on disk goes there.
        wandb_mode: "offline" or "online".
        settings: the recipe as plain data, which they show beside the numbers.
        step: where training starts, or goes on.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        run: Path,
        wandb_mode: str,
        settings: Mapping[str, Any],
        step: int = 0,
    ) -> None:
        self.active: dict[str, GeneralTracker] = {}
        own: dict[str, dict[str, Any]] = {
            "wandb": _of_wandb(run, wandb_mode),
            "mlflow": {"run_name": run.name},
            # What was written of later steps, by a job that was killed, is not shown.
            "tensorboard": {"purge_step": step + 1} if step else {},
        }
        for name in names:
            try:
                self.active[name] = _start(name, run, own.get(name, {}))
            except Exception as error:
                logger.warning("%s did not start (%s); log.jsonl has everything", name, error)
        flat = _flat(settings)
        self._each(lambda tracker: tracker.store_init_configuration(flat))

    def log(self, numbers: Mapping[str, int | float], step: int) -> None:
        """Numbers of one step, by name."""
        self._each(lambda tracker: tracker.log(dict(numbers), step=step))

    def finish(self) -> None:
        """Let them close their files and connections."""
        self._each(lambda tracker: tracker.finish())

    def _each(self, call: Callable[[GeneralTracker], Any]) -> None:
        """A tracker that fails is not called again."""
        for name, tracker in list(self.active.items()):
            try:
                call(tracker)
            except Exception as error:
                logger.warning("%s stopped (%s); log.jsonl has everything", name, error)
                del self.active[name]


def _of_wandb(run: Path, mode: str) -> dict[str, Any]:
    """A run that goes on is the same run there."""
    settings: dict[str, Any] = {"name": run.name, "dir": run, "mode": mode}
    if word := identity(run):
        settings["id"] = word
    if word and mode == "online":  # offline, `wandb sync` joins what has one id
        settings["resume"] = "allow"
    return settings


def _start(name: str, run: Path, own: Mapping[str, Any]) -> GeneralTracker:
    cls = TRACKERS.get(name)
    # Those with a directory write into a folder of it, which their first argument names.
    project = os.environ.get(_PROJECTS.get(name, ""), PROJECT)
    where = (name, run) if cls.requires_logging_directory else (project,)
    tracker = cls(*where, **own)
    tracker.start()
    return tracker


def _flat(values: Any, prefix: str = "") -> dict[str, bool | int | float | str]:
    """Numbers and texts by dotted key, of which alone every tracker makes something."""
    if isinstance(values, Mapping):
        return {
            key: item
            for name, value in values.items()
            for key, item in _flat(value, f"{prefix}{name}.").items()
        }
    plain = values if isinstance(values, (bool, int, float, str)) else str(values)
    return {prefix.removesuffix("."): plain}
