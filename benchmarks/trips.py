"""How straight three trips through the code are: files entered, and returns to a wing left before.

A window's way from file to loss, a checkpoint's way to a NetCDF file, and an equation's way to a
file run once; functions count in the order of their first call, a file by its first function. A
wing is a folder of the tree. A return is a step into a wing that was left before, by a function
that was not called before.

    python benchmarks/trips.py [FOLDER]     # FOLDER: for data and runs, a temporary one by default
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pelagos.datasets
import pelagos.finetune
import pelagos.operators
import pelagos.pretrain

TOPS = {
    top: Path(next(iter(package.__path__)))
    for top, package in (
        ("datasets", pelagos.datasets),
        ("operators", pelagos.operators),
        ("pretrain", pelagos.pretrain),
        ("finetune", pelagos.finetune),
    )
}


def place(file: str) -> str | None:
    """`datasets/stores/store.py` of a file of ours, None of any other."""
    path = Path(file)
    for top, folder in TOPS.items():
        if path.is_relative_to(folder):
            return f"{top}/{path.relative_to(folder)}"
    return None


def traced(trip: Callable[[], object]) -> list[str]:
    """The files of the functions that a trip calls, in the order of their first calls."""
    seen: dict[Any, str] = {}

    def note(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call" and code not in seen and code.co_name[0] != "<":
            where = place(code.co_filename)
            if where is not None:
                seen[code] = where

    sys.setprofile(note)
    try:
        trip()
    finally:
        sys.setprofile(None)
    return [*seen.values()]


def wing(file: str) -> str:
    """The folder of a file."""
    return str(Path(file).parent)


def returns(files: list[str]) -> int:
    """How often the path enters a wing that it has left before."""
    left, now, count = set(), "", 0
    for file in files:
        if wing(file) != now:
            left.add(now)
            now = wing(file)
            count += now in left
    return count


def main() -> None:
    """Run the three trips and print their table."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    command(["data", "simulate", "burgers_1d", "--out", str(folder), *SMALL])
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.format(data=folder / "burgers_1d"))
    trips = {
        "window: file → loss": ["pretrain", str(recipe), str(folder / "run")],
        "checkpoint → NetCDF": ["predict", str(folder / "run"), str(folder / "burgers_1d")],
        "equation → file": ["data", "simulate", "burgers_1d", "--out", f"{folder}/again", *SMALL],
    }
    print(f"{'trip':24}{'files':>7}{'wings':>7}{'returns':>9}")
    for name, words in trips.items():
        files = traced(lambda words=words: command(words))
        print(f"{name:24}{len({*files}):7}{len({*map(wing, files)}):7}{returns(files):9}")


def command(words: list[str]) -> None:
    """Run the command line in this process."""
    from pelagos.finetune.cli.console import main as console

    try:
        console(words)
    except SystemExit as stop:
        if stop.code:
            raise


SMALL = ["--train", "4", "--valid", "2", "--test", "2", "--resolution", "32", "--frames", "11"]
RECIPE = """\
data: [{{path: {data}}}]
operator: {{name: dymixop, history: 2, hidden: 8, layers: 1, modes: 4}}
steps: 1
batch: 2
micro_batch: 2
validation: {{every: 1, horizon: 2}}
save_every: 1
log_every: 1
"""

if __name__ == "__main__":
    main()
