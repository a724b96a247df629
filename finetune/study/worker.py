"""A worker of a study: trains and scores one cell after the other, in a process of its own.

It reads a line of JSON for every cell from its standard input and answers with a line. Its input
ends with the process that gives the work: then it saves what it is training, and leaves.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch

from ...datasets.base.config import build, plain
from ...operators.core import checkpoint
from ...pretrain.data import open_split
from ...pretrain.nonfinite import NotFinite
from ...pretrain.run.records import read_runs
from ..adapt.command import finetune
from ..adapt.recipe import FinetuneRecipe
from ..forecast.request import Request
from .peer import register
from .recipe import TestConfig
from .scores import FILE, Levels, score, write_score


@dataclass(frozen=True)
class Task:
    """A cell to be done.

    Attributes:
        run: its directory.
        recipe: by which it is trained.
        test: how it is scored.
        mean, std: `Levels` of the fields.
    """

    run: str
    recipe: FinetuneRecipe
    test: TestConfig
    mean: dict[str, float] = field(default_factory=dict)
    std: dict[str, float] = field(default_factory=dict)


def do(task: Task) -> None:
    """Train a cell, or go on with it, and score it; what only training needs is removed then.

    A training whose loss is no longer finite is scored as the worst.

    Raises:
        ValueError: as `finetune`, or as `score`.
        SystemExit: when told to stop, after the state was saved.
    """
    run, failed = Path(task.run), ""
    try:
        finetune(task.recipe, run, resume=True)
    except NotFinite as error:
        failed = str(error)
    found = {"failed": failed} if failed else _scores(task)
    write_score(run / FILE, {**found, **_costs(run)})
    for part in ("state", "best"):
        shutil.rmtree(run / part, ignore_errors=True)


def _scores(task: Task) -> dict[str, Any]:
    operator = checkpoint.from_pretrained(Path(task.run))
    store = open_split(task.recipe, task.recipe.data[0], "test")
    asked = Request(
        trajectories=task.test.trajectories,
        steps=task.test.steps,
        batch=task.test.batch,
        device="cuda" if torch.cuda.is_available() else "cpu",
    )
    horizon = task.recipe.objective.horizon
    parameters = sum(p.numel() for p in operator.parameters())
    found = score(operator, store, Levels(task.mean, task.std), asked, horizon)
    return {**found, "parameters": parameters}


def _costs(run: Path) -> dict[str, Any]:
    """What the log says: the best validation score, and what training took."""
    (record,) = read_runs([run])
    known = [entry["vrmse"] for entry in record.valid if entry["vrmse"] is not None]
    last = record.train[-1]["step"] if record.train else 0
    return {
        "validation": min(known, default=None),
        "trained_steps": last,
        "samples": record.samples,
        "seconds": record.seconds,
    }


def told(task: Task) -> str:
    """A task as a line."""
    return json.dumps(plain(task))


def main() -> None:
    """Do what standard input says, until it ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever else is printed
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the giver of work decides
    register()
    for line in _lines(sys.stdin):
        answers.write(json.dumps(_answer(line)) + "\n")


def _answer(line: str) -> dict[str, str]:
    try:
        do(build(Task, json.loads(line)))
    except (ValueError, OSError) as error:
        return {"error": " ".join(str(error).split())}
    except Exception as error:  # a defect: whoever gave the work ends, and the log has the rest
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    return {}


def _lines(stream: IO[str]) -> Iterator[str]:
    """The lines of a stream, whose end is noticed while work is done."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in stream:
            lines.put(line)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield lines.get()


if __name__ == "__main__":
    main()
