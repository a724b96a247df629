"""What is to be trained and where, from what people say: a recipe, or a checkpoint and data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...datasets.base.config import build, read
from ...datasets.base.overrides import apply, split
from ...datasets.base.texts import parse_yaml
from ...operators.core.checkpoint import HUB, OF_A_RUN
from ...operators.core.shipped import NAMED
from ...pretrain.recipe import find_recipe
from .donor import donor_of
from .draft import Asked, draft
from .recipe import FinetuneRecipe

RECIPES = Path(__file__).parents[1] / "recipes"
RUNS = Path("runs")  # where a run lies that was given no name


@dataclass(frozen=True)
class Plan:
    """A fine-tuning that can begin.

    Attributes:
        recipe: complete.
        run: its directory.
        notes: why the recipe is as it is, where it was drafted.
    """

    recipe: FinetuneRecipe
    run: Path
    notes: tuple[str, ...] = ()


def plan_of(
    start: FinetuneRecipe | str | Path, run: Path | None, overrides: Sequence[str], resume: bool
) -> Plan:
    """The plan that `finetune` follows; arguments as there.

    Raises:
        ValueError: there is no such recipe, a key is wrong, or a checkpoint comes without data.
    """
    if not isinstance(start, FinetuneRecipe) and names_checkpoint(str(start)):
        return _drafted(str(start), run, overrides, resume)
    if not isinstance(start, FinetuneRecipe):
        path = find_recipe(str(start), RECIPES)
        if run is None:
            raise ValueError(f"a recipe needs a run directory: pelagos finetune {start} RUN")
        recipe = read(FinetuneRecipe, path, overrides)
    elif run is None:
        raise ValueError("a recipe needs a run directory")
    elif overrides:
        raise ValueError("overrides are of a recipe's file; use dataclasses.replace on a recipe")
    else:
        recipe = start
    return Plan(_with_operator(recipe, run), run)


def names_checkpoint(text: str) -> bool:
    """Whether people mean a checkpoint or run, and no recipe."""
    return text.startswith((NAMED, HUB)) or Path(text).is_dir()


def _drafted(start: str, run: Path | None, overrides: Sequence[str], resume: bool) -> Plan:
    pairs = split(overrides)
    given, rest = dict(pairs), [f"--{key}={value}" for key, value in pairs if key != "data"]
    if run is None and "data" in given:
        run = RUNS / f"{_word(given['data'])}_from_{_word(start)}"
    if run is not None and resume and (run / "recipe.yaml").is_file():
        return Plan(read(FinetuneRecipe, run / "recipe.yaml", rest), run)
    if run is None or "data" not in given:
        raise ValueError(
            f"fine-tuning {start} needs data: --data PATH, or --data '[{{path: …, stride: 2}}]'"
        )
    data = given["data"]
    entries = parse_yaml(data) if data.lstrip().startswith("[") else data
    if not isinstance(entries, str) and not all(isinstance(each, dict) for each in entries):
        raise ValueError(f"--data must be a path, or a list of mappings; got {data}")
    found = draft(donor_of(start), entries, _asked(given))
    recipe = build(FinetuneRecipe, apply(found.values, FinetuneRecipe, rest, parse_yaml))
    return Plan(recipe, run, (*found.notes, f"the whole recipe is {run / 'recipe.yaml'}"))


def _asked(given: dict[str, str]) -> Asked:
    """What other settings follow from; what is no number is refused with the other overrides."""
    asked = {key: given.get(key, "") for key in ("steps", "batch", "log_every")}
    numbers = {key: int(text) for key, text in asked.items() if text.isdecimal() and int(text)}
    return Asked(fields="fields" in given, conditions="conditions" in given, **numbers)


def _word(text: str) -> str:
    """The last part of a path or name that says what it is."""
    parts = [part for part in re.split(r"[/:\\]", text) if part not in ("", OF_A_RUN)]
    return re.sub(r"\W+", "_", Path(parts[-1]).stem if parts else "data").strip("_") or "data"


def _with_operator(recipe: FinetuneRecipe, run: Path) -> FinetuneRecipe:
    """The recipe with its operator by name: that of the run, or of the checkpoint to start from.

    Raises:
        ValueError: the checkpoint cannot be opened.
    """
    if recipe.init_from is None or "name" in recipe.operator:
        return recipe
    if (run / "recipe.yaml").is_file():  # going on needs no checkpoint
        stored = read(FinetuneRecipe, run / "recipe.yaml").operator
        return replace(recipe, operator={**stored, **recipe.operator})
    donor = donor_of(recipe.init_from)
    own = {"history": donor.config["history"]} if "history" in donor.config else {}
    return replace(recipe, operator={"name": donor.operator, **own, **recipe.operator})
