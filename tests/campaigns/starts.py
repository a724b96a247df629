"""Jobs that start at once in one folder: one has it, the other is told so."""

from __future__ import annotations

import random
import time
from pathlib import Path

import yaml
from children import command, start
from ledger import Case
from made import Made

from pelagos.datasets.base.config import read
from pelagos.pretrain.recipe import TrainRecipe
from pelagos.pretrain.run.jobs import held


def case(made: Made, number: int) -> Case:
    """Of two trainings with other seeds, or of two that only take the run."""
    draw = random.Random(f"start {number}")
    if number % 2:
        return _claims(made, number, draw)
    place = made.place("starts")
    begin, apart = time.time() + 0.05, draw.choice((0.0, 0.0, draw.expovariate(4.0)))
    children = []
    for k in range(2):
        argv = ("pretrain", "../made/plain.yaml", "run", "--seed", str(k + 1))
        wait = begin + k * apart

        def before(wait: float = wait) -> None:
            time.sleep(max(0.0, wait - time.time()))

        children.append(command(place / f"words{k}", argv, before=before, folder=place))
    ended = [child.wait() for child in children]
    wrong = "; ".join(each.wrong for each in ended if each.wrong)
    statuses = [each.status for each in ended]
    if sorted(statuses) != [0, 2]:
        return Case("simultaneous starts", number, "trainings", f"{statuses}", wrong or "not one")
    winner = statuses.index(0)
    return Case(
        "simultaneous starts", number, "trainings", "one has it", wrong or _mixed(place, winner)
    )


def _mixed(place: Path, winner: int) -> str:
    """Whether the run is the winner's alone."""
    run = place / "run"
    seed = read(TrainRecipe, run / "recipe.yaml").seed
    records = [yaml.safe_load(line) for line in (run / "log.jsonl").read_text().splitlines()]
    steps = [record["step"] for record in records if record["kind"] == "train"]
    wrong = []
    if seed != winner + 1:
        wrong.append(f"the recipe is of job {seed - 1}, not {winner}")
    if steps != [1, 2, 3, 4, 5, 6]:
        wrong.append(f"steps on record are {steps}")
    return "; ".join(wrong)


def _claims(made: Made, number: int, draw: random.Random) -> Case:
    place = made.folder / f"claimed{number % 5}"
    begin = time.time() + 0.03

    def claim() -> None:
        time.sleep(max(0.0, begin - time.time()))
        with held(place):
            time.sleep(0.3 + draw.random() / 5)

    children = [start(claim, made.folder / f"claim{k}") for k in range(2)]
    statuses = sorted(child.wait().status for child in children)
    outcome = "one has it" if statuses == [0, 1] else f"{statuses}"
    wrong = "" if statuses == [0, 1] else "not one"
    return Case("simultaneous starts", number, "claims", outcome, wrong)
