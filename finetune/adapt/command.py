"""Fine-tuning as a whole: train on a new PDE, from a checkpoint or from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from accelerate import PartialState
from rich.console import Console

from ...datasets.base.config import read
from ...datasets.base.paths import expanded
from ...datasets.base.processes import ALONE, Processes
from ...datasets.stores.store import Store
from ...operators.core import checkpoint
from ...operators.core.operator import Operator
from ...pretrain.command import Launch
from ...pretrain.recipe import find_recipe
from ...pretrain.start import create_operator, describe, fit_to_data
from ...pretrain.training import run_training, start_job
from .adapt import adapt
from .recipe import FinetuneRecipe

RECIPES = Path(__file__).parents[1] / "recipes"


def finetune(
    recipe: FinetuneRecipe | str | Path,
    run: str | Path,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    processes: int | None = None,
    dry_run: bool = False,
    timeout: float | None = None,
    verify: bool = True,
) -> Path:
    """Train on a new PDE, as `pelagos finetune` does; arguments and result as of `pretrain`.

    Raises:
        ValueError: anything in the recipe, the checkpoint or the data is wrong.
        SystemExit: when told to stop, after the state was saved; as `pretrain`.
    """
    if not isinstance(recipe, FinetuneRecipe):
        recipe = read(FinetuneRecipe, find_recipe(str(recipe), RECIPES), overrides)
    elif overrides:
        raise ValueError("overrides are of a recipe's file; use dataclasses.replace on a recipe")
    run = Path(run)
    launch = Launch("auto" if resume else "never", processes, dry_run, timeout, not verify)
    with start_job(recipe, launch) as job:
        run_training(
            recipe,
            partial(start_operator, verify=verify),
            run,
            launch,
            job,
            title=run.name,
            rates=recipe.learning_rates,
            adaptation=recipe.adaptation,
        )
    return run / checkpoint.OF_A_RUN


def start_operator(
    recipe: FinetuneRecipe,
    stores: list[Store],
    processes: Processes = ALONE,
    *,
    verify: bool = True,
) -> Operator:
    """The operator that a fine-tuning recipe starts from; prints the load report.

    Args:
        recipe: of the fine-tuning.
        stores: its data.
        processes: those that compute statistics together.
        verify: whether the checkpoint's files must be those that were saved.

    Raises:
        ValueError: the checkpoint cannot be opened, or does not fit the recipe.
    """
    if recipe.init_from is None:
        if not recipe.adaptation.from_scratch:
            name = recipe.adaptation.config.name
            raise ValueError(f"{name} needs init_from: fresh weights must be trained")
        return create_operator(recipe, stores, processes)
    source = checkpoint.locate(expanded(recipe.init_from, "init_from"))
    donor = checkpoint.from_pretrained(source, verify=verify)
    overrides = dict(recipe.operator)
    named = overrides.pop("name", donor.name)
    if named != donor.name:
        raise ValueError(
            f"the recipe names the operator {named!r}, but {source} holds {donor.name!r}"
        )
    operator, report = adapt(
        donor,
        describe(recipe, stores, donor.description, processes),
        source=str(source),
        overrides=overrides,
        method=recipe.adaptation,
        seed=recipe.seed,
    )
    fit_to_data(operator, stores, fresh=False)
    if PartialState().is_main_process:
        Console(stderr=True).print(report.table())
    return operator
