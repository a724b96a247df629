"""`pelagos study`: what is typed; it does `study.command.study`."""

from __future__ import annotations

import sys

from ...datasets.base.options import Count, File, Overrides, Source


def study(
    recipe: Source,
    folder: File,
    /,
    *,
    workers: Count | None = None,
    overrides: Overrides = (),
) -> None:
    """Find out how much data a checkpoint saves on a new PDE: fine-tune it, and train the same
    operator from scratch (and a peer), on 1, 2, 4, … trajectories, over budgets and seeds.

    Every training is a run directory in the study's folder. The same command goes on with a study
    that was stopped. Every key of the recipe can be overridden by its dotted name.

    Args:
        recipe: a YAML file, or the name of a recipe that ships (study).
        folder: directory of the study.
        workers: trainings side by side (default: as many as there are GPUs, else cores).

    Examples:
        pelagos study study runs/study --init-from runs/pretrain --data '[{path: data/mine}]'
        pelagos study my.yaml runs/study --study.seeds 5 --workers 2
        pelagos report runs/study --out study.html
    """
    from rich.console import Console

    from ..study import command
    from ..study.table import tables

    result = command.study(recipe, folder, overrides, workers=workers, progress=True)
    console = Console()
    for table in tables(result):
        console.print(table)
    for line in result["warnings"]:
        print(f"pelagos: warning: {line}", file=sys.stderr)
    print(f"study: {folder / command.FILE}, {folder / command.FIGURE}")
