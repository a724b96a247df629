"""What to do next in a folder, from what lies in it."""

from __future__ import annotations

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
        name = datasets[0]
        lines += [
            f"pelagos data check {name}   # before anything is trained on it",
            "pelagos pretrain my.yaml runs/mine   # a recipe: pelagos recipe show quickstart",
        ]
    for run in runs[:MOST]:
        if not (folder / run / "checkpoint").is_dir():
            lines.append(f"pelagos pretrain {run}/recipe.yaml {run} --resume auto   # not finished")
        elif not (folder / run / "evaluation.json").exists():
            dataset = datasets[0] if datasets else "DATASET"
            lines.append(f"pelagos evaluate {run} {dataset}   # how good is it?")
    done = [run for run in runs if (folder / run / "checkpoint").is_dir()]
    if done:
        lines.append(f"pelagos report {' '.join(done[:MOST])} --out report.html   # one page")
    return lines


def _found(folder: Path, places: tuple[str, ...], marks: tuple[str, ...]) -> Iterator[str]:
    """Folders in the usual places that hold one of the marks, newest first."""
    found: dict[str, float] = {}
    for place in places:
        for mark in marks:
            for path in (folder / place).glob(f"*/{mark}"):
                name = path.parent.relative_to(folder).as_posix()
                if " " not in name:
                    found.setdefault(name, path.stat().st_mtime)
    yield from sorted(found, key=lambda name: -found[name])
