"""Fine-tuning as a whole: train on a new PDE, from a checkpoint or from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from accelerate import PartialState
from rich.console import Console

from ...datasets.base.processes import ALONE, Processes
from ...datasets.stores.store import Store
from ...operators.core import checkpoint
from ...operators.core.description import Description
from ...operators.core.operator import Operator
from ...pretrain.command import Launch
from ...pretrain.start import create_operator, describe, fit_to_data
from ...pretrain.training import run_training, start_job
from .adapt import LoadReport, adapt
from .distance import distances
from .donor import donor_of
from .plan import plan_of
from .recipe import FinetuneRecipe
from .trained import require_trained, share_trained
from .tuning import Tuning


def finetune(
    start: FinetuneRecipe | str | Path,
    run: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    processes: int | None = None,
    dry_run: bool = False,
    timeout: float | None = None,
    verify: bool = True,
) -> Path:
    """Train on a new PDE, as `pelagos finetune` does; other arguments and result as of `pretrain`.

    Args:
        start: a recipe; or a checkpoint, whose recipe follows from it and from the data that the
            overrides name, as in `finetune("pelagos:NAME", overrides=["--data", "data/mine"])`.
        run: the directory that is made, or continued; None: with a checkpoint, named after it and
            the data.
        overrides: of keys of the recipe.

    Raises:
        ValueError: anything in the recipe, the checkpoint or the data is wrong.
        SystemExit: when told to stop, after the state was saved; as `pretrain`.
    """
    plan = plan_of(start, None if run is None else Path(run), overrides, resume)
    launch = Launch("auto" if resume else "never", processes, dry_run, timeout, not verify)
    with start_job(plan.recipe, launch) as job:
        for line in plan.notes:
            job.accelerator.print(f"{plan.run.name}: {line}")
        make, tuning = partial(start_operator, verify=verify), Tuning(plan.recipe)
        run_training(
            plan.recipe, make, plan.run, launch, job, title=plan.run.name, adaptation=tuning
        )
    return plan.run / checkpoint.OF_A_RUN


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
    about = donor_of(recipe.init_from)
    about.require_dimension(stores)
    overrides = dict(recipe.operator)
    named = overrides.pop("name", about.operator)
    if named != about.operator:
        raise ValueError(
            f"the recipe names the operator {named!r}, but {about.source} holds {about.operator!r}"
        )
    overrides |= about.changes_for(stores[0], overrides)
    donor = checkpoint.from_pretrained(about.source, verify=verify)
    operator, report = adapt(
        donor,
        describe(recipe, stores, donor.description, processes),
        source=str(about.source),
        overrides=overrides,
        method=recipe.adaptation,
        seed=recipe.seed,
    )
    require_trained(operator, recipe.adaptation.config.name)
    fit_to_data(operator, stores, fresh=False)
    if PartialState().is_main_process:
        _tell(operator, donor.description, stores, report)
    return operator


def _tell(
    operator: Operator, before: Description, stores: Sequence[Store], report: LoadReport
) -> None:
    """What came over, what is trained, and how far the data are from the checkpoint's."""
    console = Console(stderr=True)
    console.print(report.table())
    console.print(share_trained(operator), highlight=False, markup=False, soft_wrap=True)
    for line in distances(before, operator.description, stores):
        console.print(f"warning: {line}", highlight=False, markup=False, soft_wrap=True)
