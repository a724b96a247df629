"""Long runs in one process: memory and descriptors must stay flat."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
import yaml
from children import start
from ledger import Case
from made import KEPT, RECIPE, Made

from pelagos.datasets import open_store
from pelagos.datasets.fields.window import Context
from pelagos.finetune.assimilate.assimilator import Assimilator
from pelagos.operators import Sensors, from_pretrained
from pelagos.pretrain.command import main

SECTION = "soak"
STOPPED = 75  # the exit status of a training that was told to stop
SAMPLES = 60  # of memory and descriptors
GROWTH = 0.03  # of the memory, from the second quarter to the last
SLACK = 8 * 2**20  # bytes beside it


def case(made: Made, number: int, minutes: float) -> Case:
    """One of the three for so long."""
    name = list(KINDS)[number]
    place = made.place(f"soak {name}")
    samples, end = place / "samples.jsonl", time.monotonic() + 60 * minutes
    child = start(lambda: KINDS[name](made, place, end), place / "words")
    with samples.open("w") as file:
        while time.monotonic() < end - 60 * minutes / SAMPLES:
            time.sleep(60 * minutes / SAMPLES)
            found = _sample(child.process)
            if found is None:
                break
            print(json.dumps(found), file=file, flush=True)
    ended = child.wait(600.0)
    found = [json.loads(line) for line in samples.read_text().splitlines()]
    said = f"{name}, {minutes:.0f} min"
    if ended.status not in (0, STOPPED) or ended.wrong or len(found) < SAMPLES // 2:
        return Case(SECTION, number, said, "ended early", f"{ended}")
    return _judged(number, said, found)


def _judged(number: int, said: str, found: list[list[int]]) -> Case:
    quarter = len(found) // 4
    (memory, files), (memory_then, files_then) = (
        [median(column) for column in zip(*part, strict=True)]
        for part in (found[quarter : 2 * quarter], found[-quarter:])
    )
    grown = memory_then - memory
    wrong = ""
    if grown > GROWTH * memory + SLACK or files_then > files:
        wrong = f"{memory} to {memory_then} bytes, {files} to {files_then} descriptors"
    outcome = f"{memory / 2**20:.0f} to {memory_then / 2**20:.0f} MiB, {files_then:.0f} files"
    return Case(SECTION, number, said, outcome, wrong)


def _sample(process: int) -> list[int] | None:
    """Resident bytes and descriptors of a process; None: it has ended."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        files = sum(1 for _ in Path(f"/proc/{process}/fd").iterdir())
        return [pages * os.sysconf("SC_PAGE_SIZE"), files]
    except (OSError, IndexError):
        return None


def _train(made: Made, place: Path, end: float) -> None:
    """One training that saves and validates all the time, until it is told to stop."""
    recipe = {**RECIPE, **KEPT, "steps": 10_000_000, "save_every": 5, "log_every": 5}
    recipe |= {"validation": {"every": 5, "trajectories": 1, "horizon": 1}, "early_stopping": None}
    recipe["data"] = [{"path": str(made.data)}]
    (place / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    _stop_at(end)
    main([str(place / "recipe.yaml"), str(place / "run")])


def _stop_at(end: float) -> None:
    def tell() -> None:
        time.sleep(max(0.0, end - time.monotonic()))
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=tell, daemon=True).start()


def _assimilate(made: Made, place: Path, end: float) -> None:
    """One measurement after another, with an ensemble and without."""
    operator = from_pretrained(made.made / "observer")
    store, draw = open_store(made.data, "train"), random.Random(0)
    context = store.window(0, 0, 1, 1).context
    assert isinstance(context, Context)
    both = [
        Assimilator(operator, _batched(context), members=members)  # pyright: ignore
        for members in (1, 4)
    ]
    moment = 0.0
    while time.monotonic() < end:
        moment += 0.1
        sensors = Sensors(
            torch.tensor([[[draw.random() * store.grid.lengths[0]]]]),
            torch.tensor([[draw.gauss(0, 1)]]),
            torch.zeros(1, 1, dtype=torch.int64),
            torch.tensor([[0.5]]),
        )
        for each in both:
            each.step(moment, sensors)


def _batched(context: Context) -> Context:
    return context


def _read(made: Made, place: Path, end: float) -> None:
    """Stores of every layout that are opened, read and closed; one that stays open."""
    stays, draw = open_store(made.data, "train"), random.Random(0)
    while time.monotonic() < end:
        for folder in (made.data, made.made / "described-zarr3" / "data.zarr"):
            if folder.exists():
                store = open_store(folder)
                store.trajectory(draw.randrange(len(store)))
        for _ in range(50):
            stays.window(draw.randrange(len(stays)), 0, 2, 1)


KINDS: dict[str, Callable[[Made, Path, float], None]] = {
    "training": _train,
    "assimilator": _assimilate,
    "reader": _read,
}
