"""What to do next in a folder, from what lies in it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

DATA, RUNS = ("data", "."), ("runs", ".")  # where datasets and runs usually lie
MOST = 3  # of each kind that are named


def steps(folder: Path) -> list[str]:
    """Commands that go on from what a folder holds, with what they do."""
    datasets = [*_found(folder, DATA, ("stats.yaml", "description.yaml"))]
    runs = [*_found(folder, RUNS, ("recipe.yaml",))]
    if not datasets and not runs:
        return [
            "pelagos data simulate burgers_1d --out data   # a dataset to try",
            "pelagos data describe PATH                    # files of your own",
        ]
    lines = []
    if not runs:
        name = shlex.quote(datasets[0])
        lines += [
            f"pelagos data check {name}   # before anything is trained on it",
            "pelagos pretrain my.yaml runs/mine   # a recipe: pelagos recipe show quickstart",
        ]
    for run in runs[:MOST]:
        name, recipe = shlex.quote(run), shlex.quote(f"{run}/recipe.yaml")
        if not (folder / run / "checkpoint").is_dir():
            command = _trained_by(folder / run / "recipe.yaml")
            lines.append(f"pelagos {command} {recipe} {name} --resume auto   # not finished")
        elif not (folder / run / "evaluation.json").exists():
            dataset = shlex.quote(datasets[0]) if datasets else "DATASET"
            lines.append(f"pelagos evaluate {name} {dataset}   # how good is it?")
    done = [run for run in runs if (folder / run / "checkpoint").is_dir()]
    if done:
        lines.append(f"pelagos report {shlex.join(done[:MOST])} --out report.html   # one page")
    return lines


def _trained_by(recipe: Path) -> str:
    """The command that a run's recipe belongs to; only recipes of fine-tuning name a start."""
    with recipe.open(encoding="utf-8", errors="replace") as file:
        starts = any(line.startswith("init_from:") for line in file)
    return "finetune" if starts else "pretrain"


def _found(folder: Path, places: tuple[str, ...], marks: tuple[str, ...]) -> Iterator[str]:
    """Folders in the usual places that hold one of the marks, newest first."""
    found: dict[str, float] = {}
    for place in places:
        for mark in marks:
            for path in (folder / place).glob(f"*/{mark}"):
                name = path.parent.relative_to(folder).as_posix()
                found.setdefault(name, path.stat().st_mtime)
    yield from sorted(found, key=lambda name: -found[name])
