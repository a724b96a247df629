"""How straight three trips through the code are: files entered, and returns to a wing left before.

A window's way from file to loss, a checkpoint's way to a NetCDF file, and an equation's way to a
file run once; a file counts when its first function is called, helpers included. A wing is a folder
of the tree, and a return is a step into a wing that was left before, by a new file.

What everything uses, `base` and `fields`, is left out in the second pair of columns.

    python benchmarks/trips.py [FOLDER]     # FOLDER: for data and runs, a temporary one by default
    python benchmarks/trips.py --show       # these files, too, in order; `<` marks a return
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
from pelagos.datasets import open_store, simulate
from pelagos.datasets.base.config import read
from pelagos.finetune.forecast.predict import predict, write_prediction
from pelagos.operators import from_pretrained
from pelagos.pretrain import pretrain
from pelagos.pretrain.data import build_mixture, open_stores
from pelagos.pretrain.objectives.registry import objective_of
from pelagos.pretrain.recipe import TrainRecipe
from pelagos.pretrain.start import create_operator

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


def marked(files: list[str]) -> list[tuple[str, bool]]:
    """The files, and whether the path enters a wing there that it has left before."""
    left, now, found = set(), "", []
    for file in files:
        here = wing(file)
        found.append((file, here != now and here in left))
        left.add(here)
        now = here
    return found


def counts(files: list[str]) -> tuple[int, int, int]:
    """Files, wings and returns of a trip."""
    return len(files), len({*map(wing, files)}), sum(again for _, again in marked(files))


def window_to_loss(folder: Path) -> Callable[[], object]:
    """A window's way from its file to the loss."""
    recipe = read(TrainRecipe, folder / "recipe.yaml")

    def trip() -> object:
        stores = open_stores(recipe)
        operator = create_operator(recipe, stores)
        objective = objective_of(recipe.objective)
        window = build_mixture(recipe, stores, operator, objective).batch(0)
        [phase] = objective.phases(operator, 1)
        return phase.loss(operator, window, operator.description.normalizer, 0)

    return trip


def checkpoint_to_netcdf(folder: Path) -> Callable[[], object]:
    """A checkpoint's way to a NetCDF file."""

    def trip() -> object:
        operator = from_pretrained(folder / "run" / "checkpoint")
        prediction = predict(operator, open_store(folder / "burgers_1d"), steps=2)
        return write_prediction(prediction, folder / "prediction.nc")

    return trip


def equation_to_file(folder: Path) -> Callable[[], object]:
    """An equation's way to a file."""
    return lambda: simulate("burgers_1d", folder / "again", **SMALL)


def main() -> None:
    """Prepare data and a checkpoint, then run the three trips and print their table."""
    given = [word for word in sys.argv[1:] if word != "--show"]
    folder = Path(given[0] if given else tempfile.mkdtemp())
    simulate("burgers_1d", folder, **SMALL)
    (folder / "recipe.yaml").write_text(RECIPE.format(data=folder / "burgers_1d"))
    pretrain(folder / "recipe.yaml", folder / "run")
    columns = "".join(f"{name:>9}" for name in ("files", "wings", "returns"))
    print(f"{'trip':24}{columns}   without base and fields:{columns}")
    for make in (window_to_loss, checkpoint_to_netcdf, equation_to_file):
        files = list(dict.fromkeys(traced(make(folder))))
        own = [file for file in files if wing(file) not in EVERYWHERE]
        cells = ["".join(f"{n:9}" for n in counts(each)) for each in (files, own)]
        print(f"{make.__name__.replace('_', ' '):24}{cells[0]}{'':27}{cells[1]}")
        if "--show" in sys.argv:
            print(*(f"    {' <'[again]} {file}" for file, again in marked(own)), sep="\n")


EVERYWHERE = ("datasets/base", "datasets/fields")
SMALL: Any = {"trajectories": {"train": 4, "valid": 2, "test": 2}, "resolution": 32, "frames": 11}
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
