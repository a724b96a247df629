"""`pelagos recipe …`: the recipes that ship, and what a recipe may say."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Literal

from ...datasets.base.config import nearest
from ...datasets.base.options import Source
from ...pretrain.command import RECIPES as PRETRAINING

FINETUNING = Path(__file__).parents[1] / "recipes"
STUDIES = Path(__file__).parents[1] / "study" / "recipes"
SHIPPED = {"pretrain": PRETRAINING, "finetune": FINETUNING, "study": STUDIES}


def names() -> None:
    """Name the recipes that ship.

    Examples:
        pelagos recipe list
    """
    for command, folder in SHIPPED.items():
        files = sorted(folder.glob("*.yaml"))
        width = max(len(file.stem) for file in files)
        print(f"pelagos {command} NAME RUN:")
        for file in files:
            print(f"  {file.stem:{width}}  {_about(file)}")


def show(name: str, command: Literal["pretrain", "finetune", "study"] | None = None, /) -> None:
    """Print a recipe that ships, as a start for one of your own.

    Args:
        name: of the recipe, from pelagos recipe list.
        command: which command it is for, where both have one of that name (default: pretrain).

    Examples:
        pelagos recipe show quickstart > my.yaml
        pelagos recipe show quickstart finetune
    """
    folders = SHIPPED.values() if command is None else [SHIPPED[command]]
    found = {file.stem: file for folder in reversed([*folders]) for file in folder.glob("*.yaml")}
    if name not in found:
        raise ValueError(f"no recipe {name!r}{nearest(name, [*found])}")
    print(found[name].read_text(encoding="utf-8"), end="")


def new(*data: Source, operator: str = "dymixop") -> None:
    """Print a recipe for data of your own: every key, with what it means.

    What is set follows from the data; sizes are to start from. A key after `#` has its default.

    Args:
        data: datasets, in any layout.
        operator: which operator is trained.

    Examples:
        pelagos recipe new data/burgers_1d > my.yaml
        pelagos recipe new data/heat_1d data/burgers_1d --operator observer > my.yaml
    """
    from ...datasets.base.commented import commented
    from ...pretrain.draft import draft
    from ...pretrain.recipe import TrainRecipe

    if not data:
        raise ValueError("missing but required: DATA, one dataset or several")
    paths = [*data]
    text = commented(TrainRecipe, draft(paths, operator))
    print(f"# A recipe for {', '.join(paths)}; try it with: pelagos pretrain FILE RUN --dry-run")
    print(f"\n{text}", end="")


def schema(command: Literal["pretrain", "finetune", "study"] = "pretrain", /) -> None:
    """Print the JSON schema of a recipe, with which an editor completes and checks it.

    In an editor with the YAML language server, a recipe's first line names the file:
    `# yaml-language-server: $schema=recipe.json`.

    Args:
        command: which command's recipes.

    Examples:
        pelagos recipe schema > recipe.json
        pelagos recipe schema finetune > finetune.json
    """
    from ...datasets.base.schema import schema as schema_of
    from ...pretrain.recipe import TrainRecipe
    from ..adapt.recipe import FinetuneRecipe
    from ..study.recipe import StudyRecipe

    recipes = {"pretrain": TrainRecipe, "finetune": FinetuneRecipe, "study": StudyRecipe}
    recipe = recipes[command]
    print(json.dumps(schema_of(recipe), indent=2, ensure_ascii=False))


def _about(file: Path) -> str:
    """What a recipe says of itself: the beginning of its first comment."""
    lines = file.read_text(encoding="utf-8").splitlines()
    comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
    return re.split(r"[.:;](?:\s|$)", " ".join(line.lstrip("# ") for line in comment))[0]
