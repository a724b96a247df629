"""A study as a whole: every cell is trained and scored, and what they say is written down.

STUDY/recipe.yaml     the resolved recipe
STUDY/study.json      what was found so far; rewritten after every cell
STUDY/study.svg       the curves
STUDY/cells/…         a run directory for every training, with `score.json`
STUDY/workers/…       what the workers printed
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ...datasets.base.appearing import appearing_file, require_writable
from ...datasets.base.config import plain, read
from ...datasets.base.paths import require_text
from ...datasets.base.progress import Bar
from ...datasets.stores.store import Store
from ...operators.core import checkpoint
from ...operators.core.operator import Operator
from ...pretrain.data import open_split
from ...pretrain.recipe import find_recipe
from ...pretrain.run.jobs import held
from ...pretrain.run.stop import stop_signals
from ..adapt.donor import donor_of
from .cells import Cell, Plan, Recipes
from .figure import write_figure
from .peer import require_peer
from .recipe import StudyRecipe
from .result import CONVENTIONS, FILE, SCHEMA, Found, read_result, warnings_of, write_result
from .scores import FILE as SCORE
from .scores import Levels, read_score
from .worker import Task
from .workers import Workers, usual

RECIPES = Path(__file__).parent / "recipes"
FIGURE = "study.svg"
# What may change between two attempts: it adds cells, or leaves some out.
_MAY_CHANGE = ("trajectories", "seeds", "steps", "learning_rates", "tuned_at", "peer")


def study(
    recipe: StudyRecipe | str | Path,
    folder: str | Path,
    overrides: Sequence[str] = (),
    *,
    workers: int | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """How much data a checkpoint saves, as `pelagos study` finds it; goes on with what is there.

    Args:
        recipe: what is varied: a recipe, a YAML file, or the name of one that ships.
        folder: of the study.
        overrides: of keys of a file, as in `["--init_from", "runs/pretrain"]`.
        workers: trainings side by side; None: as many as there are GPUs, else cores.
        progress: show a bar on the error stream.

    Returns:
        What `study.json` holds; `result.CONVENTIONS` (which it contains) says what it means.

    Raises:
        ValueError: anything in the recipe, the checkpoint or the data is wrong, a training fails,
            or the folder holds another study.
        SystemExit: on SIGTERM, SIGUSR1 or SIGUSR2, after the states of all cells were saved.
    """
    if not isinstance(recipe, StudyRecipe):
        recipe = read(StudyRecipe, find_recipe(str(recipe), RECIPES), overrides)
    elif overrides:
        raise ValueError("overrides are of a recipe's file; use dataclasses.replace on a recipe")
    folder = Path(folder)
    subject = _subject(recipe)
    changes = _changes(folder, recipe, subject)
    with stop_signals(), held(folder):
        _write_recipe(folder, recipe)
        running = _Running(recipe, folder, subject, changes)
        running.report()
        with Workers(workers or usual(), folder / "workers") as pool:
            running.run(pool, progress)
    return running.report()


@dataclass(frozen=True)
class _Subject:
    """What is studied.

    Attributes:
        recipes: of the cells.
        about: the checkpoint and the dataset, for `study.json`.
        plan: the cells.
        levels: of the train split.
    """

    recipes: Recipes
    about: dict[str, Any]
    plan: Plan
    levels: Levels


def _subject(recipe: StudyRecipe) -> _Subject:
    """Open everything, and refuse what cannot work before any work is done."""
    if recipe.study.peer is not None:
        require_peer()
    assert recipe.init_from is not None, "the recipe has been checked"
    start = donor_of(recipe.init_from)
    donor = checkpoint.from_pretrained(start.source)
    first = open_split(recipe, recipe.data[0], "train")
    start.require_dimension([first])
    recipes = Recipes(recipe, donor, first, start.changes_for(first, recipe.operator))
    splits = {
        name: open_split(recipes.recipe, recipe.data[0], name)
        for name in ("train", "valid", "test")
    }
    train, test = splits["train"], splits["test"]
    _require_shared(donor, train, recipe.init_from)
    wanted = recipe.study.test.trajectories
    if wanted is not None and wanted > len(test):
        raise ValueError(
            f"study.test.trajectories asks for {wanted}, but {test.name!r} has {len(test)} in its "
            f"test split; leave it out, or say {len(test)}"
        )
    about = {
        "checkpoint": {
            "path": recipe.init_from,
            "sha256": _digest(checkpoint.locate(checkpoint.directory_of(start.source))),
            "operator": donor.name,
            "parameters": sum(p.numel() for p in donor.parameters()),
        },
        "dataset": {
            "name": train.name,
            "fields": list(train.fields),
            "grid": plain(train.grid),
            "steady": train.steady,
            "units": train.units,
            "trajectories": {name: len(store) for name, store in splits.items()},
        },
    }
    counts = recipe.study.counts(len(train), train.name)
    return _Subject(recipes, about, Plan(recipe.study, counts), Levels.of(train))


def _require_shared(donor: Operator, store: Store, source: str) -> None:
    known, own = donor.description.channels, (*store.fields, *store.inputs)
    if not {*known} & {*own}:
        raise ValueError(
            f"{source} knows no field of {store.name!r} ({', '.join(own)}); it knows "
            f"{', '.join(known)}. Say which is which, as in data: [{{path: …, rename: "
            f"{{{own[0]}: {known[0]}}}}}]"
        )


def _digest(directory: Path) -> str:
    """Of all weights."""
    digest = hashlib.sha256()
    for path in sorted(directory.glob("*.safetensors")):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


class _Running:
    """A study under way.

    Args:
        recipe: of the study.
        folder: of the study.
        subject: what is studied.
        changes: what attempts before, and this one, changed of the recipe.
    """

    def __init__(
        self, recipe: StudyRecipe, folder: Path, subject: _Subject, changes: list[str]
    ) -> None:
        self.recipe, self.folder, self.subject, self.changes = recipe, folder, subject, changes
        self.plan = subject.plan
        self.scores: dict[Cell, dict[str, Any]] = {}
        self.given: set[Cell] = set()

    @property
    def found(self) -> Found:
        """What is known so far."""
        return Found(self.plan, self.scores)

    def open_cells(self) -> list[Cell]:
        """Cells that may be trained now; scores that are there already are read on the way."""
        while True:
            validation = self.found.validation
            cells = [c for at in self.plan.places() for c in self.plan.cells(at, validation)]
            missing = [cell for cell in cells if cell not in self.scores]
            read = [(c, read_score(self.folder / c.path / SCORE)) for c in missing]
            fresh = {cell: values for cell, values in read if values is not None}
            if not fresh:
                return [cell for cell in missing if cell not in self.given]
            self.scores |= {c: {"failed": "", **values} for c, values in fresh.items()}

    def run(self, pool: Workers, progress: bool) -> None:
        """Train and score all cells, as far as possible side by side."""
        waiting, total = self.open_cells(), self.plan.work()
        done = sum(cell.place.steps for cell in self.scores)
        with Bar("study", total, min(done, total), "steps", active=progress) as bar:
            while waiting or pool.running:
                for cell in waiting[: pool.free]:
                    self.given.add(cell)
                    pool.give(self._task(cell))
                for task in pool.finished():
                    bar.advance(float(task.recipe.steps))
                waiting = self.open_cells()
                self.report()

    def report(self) -> dict[str, Any]:
        """Write down what is known so far."""
        waiting = self.open_cells()
        result: dict[str, Any] = {
            "schema": SCHEMA,
            "complete": not waiting and self.given <= self.scores.keys(),
            **self.subject.about,
            "trajectories": list(self.plan.counts),
            "seeds": list(range(self.recipe.study.seeds)),
            "starts": list(self.recipe.study.starts),
            "persistence": self.found.persistence(),
            "budgets": [self.found.budget(steps) for steps in self.recipe.study.steps],
            "changes": self.changes,
            "recipe": plain(self.recipe),
            "conventions": CONVENTIONS,
        }
        result["warnings"] = warnings_of(result)
        write_result(self.folder / FILE, result)
        write_figure(result, self.folder / FIGURE)
        return result

    def _task(self, cell: Cell) -> Task:
        levels, run = self.subject.levels, str(self.folder / cell.path)
        test = self.recipe.study.test
        return Task(run, self.subject.recipes.of(cell), test, {**levels.mean}, {**levels.std})


def _write_recipe(folder: Path, recipe: StudyRecipe) -> None:
    with appearing_file(folder / "recipe.yaml", overwrite=True) as draft:
        draft.write_text(yaml.safe_dump(plain(recipe), sort_keys=False, allow_unicode=True))


def _changes(folder: Path, recipe: StudyRecipe, subject: _Subject) -> list[str]:
    """What was changed of a study's recipe, in words.

    Raises:
        ValueError: the folder is something else's, or the change would mix two studies.
    """
    require_text(folder, "choose another directory")
    path = folder / "recipe.yaml"
    require_writable(path)
    if not path.is_file():
        left = [p.name for p in folder.iterdir() if p.name != "jobs"] if folder.is_dir() else []
        if left:
            raise ValueError(f"{folder} exists and is no study; choose another directory")
        return []
    before, now = plain(read(StudyRecipe, path)), plain(recipe)
    varied = [(before.pop("study"), now.pop("study"))]
    different = [key for key in now if now[key] != before.get(key)]
    for old, new in varied:
        different += [f"study.{k}" for k in new if k not in _MAY_CHANGE and new[k] != old.get(k)]
    if different:
        key = different[0]
        raise ValueError(
            f"{folder} is a study with another {key}; choose another directory, or restore it "
            f"(its recipe is {path})"
        )
    return _recorded(folder, subject, varied[0])


def _recorded(
    folder: Path, subject: _Subject, varied: tuple[dict[str, Any], dict[str, Any]]
) -> list[str]:
    """Changes of before, and those of now, of what may change."""
    known: dict[str, Any] = read_result(folder) if (folder / FILE).is_file() else {}
    sha = subject.about["checkpoint"]["sha256"]
    if known and known["checkpoint"]["sha256"] != sha:
        raise ValueError(
            f"{subject.about['checkpoint']['path']} is not the checkpoint any more that {folder} "
            "studies; choose another directory, or restore it"
        )
    old, new = varied
    fresh = [
        f"study.{key} was {old.get(key)!r}, now {new[key]!r}"
        for key in new
        if new[key] != old.get(key)
    ]
    return [*known.get("changes", []), *fresh]
