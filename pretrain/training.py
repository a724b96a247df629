"""A run from start to end: check everything, then train. Shared by pretraining and fine-tuning."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from torch.optim import Optimizer

from ..datasets.base.config import read
from ..datasets.base.processes import Processes
from ..datasets.fields.window import collate
from ..datasets.stores.store import Store
from ..operators.core import checkpoint
from ..operators.core.operator import Operator
from .accelerating import compile_blocks, tf32
from .adaptation import Adaptation
from .batches import micro_batches_per_process
from .command import RECIPES, Launch
from .data import TrainingData, open_stores, training_data
from .environment import check_environment, require_all_processes, shards_are_ours
from .job import Job, job_of
from .loop import train
from .optimizer import build_optimizer
from .recipe import TrainRecipe, find_recipe
from .run.directory import Status, create_run, inspect_run
from .run.owning import owned
from .run.shared import require_shared
from .run.state import latest
from .run.tracking import require_trackers
from .start import create_operator, left_out
from .trial import foretell

R = TypeVar("R", bound=TrainRecipe)


def pretrain(
    recipe: TrainRecipe | str | Path,
    run: str | Path,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    processes: int | None = None,
    dry_run: bool = False,
    timeout: float | None = None,
    verify: bool = True,
) -> Path:
    """Train one operator on a mixture of datasets, as `pelagos pretrain` does.

    With several processes (torchrun, accelerate launch), each calls it; a failure of one ends all.

    Args:
        recipe: what to train: a recipe, a YAML file, or the name of a recipe that ships.
        run: the directory that is made, or continued.
        overrides: of keys of a file, as in `["--optimizer.learning_rate", "3e-4"]`.
        resume: continue the run if it exists; else it must not exist.
        processes: fail unless exactly so many take part; None: any number.
        dry_run: try some steps; say what the job would take, and write nothing.
        timeout: seconds that processes wait for each other, where PyTorch's limits are too short.
        verify: whether a saved state must be as it was saved (by its SHA-256) to go on from it.

    Returns:
        The directory of the trained operator's checkpoint (of a dry run: where it would be).

    Raises:
        ValueError: anything in the recipe, the run directory or the data is wrong.
        SystemExit: on SIGTERM, SIGUSR1 or SIGUSR2, after the state was saved. Its code is 75. In
            another thread than the main one, these signals are not looked at.
    """
    launch = Launch("auto" if resume else "never", processes, dry_run, timeout, not verify)
    return launched(recipe, run, overrides, launch)


def launched(
    recipe: TrainRecipe | str | Path, run: str | Path, overrides: Sequence[str], launch: Launch
) -> Path:
    """As `pretrain`, with the options of the command line.

    Raises:
        ValueError, SystemExit: as `pretrain`.
    """
    if not isinstance(recipe, TrainRecipe):
        recipe = read(TrainRecipe, find_recipe(str(recipe), RECIPES), overrides)
    elif overrides:
        raise ValueError("overrides are of a recipe's file; use dataclasses.replace on a recipe")
    run = Path(run)
    with start_job(recipe, launch) as job:
        run_training(recipe, create_operator, run, launch, job, title="pretrain")
    return run / checkpoint.OF_A_RUN


@contextmanager
def start_job(recipe: TrainRecipe, launch: Launch) -> Iterator[Job]:
    """The processes of a run: on CUDA where there is some, else on the CPU. A failure ends all.

    Raises:
        ValueError: the number of processes is not the one asked for, or does not fit the batch or
            the GPUs; or the launcher asks for what the recipe does not.
    """
    check_environment(recipe)
    limits = []
    if launch.timeout is not None:
        limits.append(InitProcessGroupKwargs(timeout=timedelta(seconds=launch.timeout)))
    with shards_are_ours() as shards:
        accelerator = Accelerator(
            # Without this, Accelerate ignores torchrun's processes where there is no accelerator.
            cpu=not torch.cuda.is_available(),
            mixed_precision="bf16" if recipe.precision == "bf16" else "no",
            kwargs_handlers=limits,
        )
    sketch = launch.dry_run
    with job_of(accelerator, launch.timeout, sketch=sketch, shards=shards) as job:
        found, local = accelerator.num_processes, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        require_all_processes(found, launch.processes)
        if accelerator.device.type == "cuda" and local > torch.cuda.device_count():
            raise ValueError(
                f"{local} processes on this machine share {torch.cuda.device_count()} GPU(s); "
                "start one per GPU, or set ACCELERATE_USE_CPU=1"
            )
        micro_batches_per_process(recipe, found)
        with tf32(recipe.tf32, accelerator.device):
            yield job


def run_training(
    recipe: R,
    make_operator: Callable[[R, list[Store], Processes], Operator],
    run: Path,
    launch: Launch,
    job: Job,
    *,
    title: str,
    adaptation: Adaptation | None = None,
) -> None:
    """Check everything, then train.

    Args:
        recipe: what to train.
        make_operator: what a new run starts from; processes share the reading for its statistics.
        run: directory of the run.
        launch, job: whether it continues, or is only tried; from `start_job`.
        title: shown beside the progress bar.
        adaptation: what fine-tuning changes while training; the operator of a new run is prepared
            already.

    Raises:
        ValueError: anything in the recipe, the run directory or the data is wrong.
        Stopped: on SIGTERM, SIGUSR1 or SIGUSR2, after saving.
    """
    accelerator, ranks = job.accelerator, job.ranks
    say = accelerator.print
    status = ranks.once(lambda: inspect_run(run, recipe, launch.resume == "auto"))
    if status is Status.FINISHED:
        say(f"{title}: {run} is finished already; its checkpoint is {run / checkpoint.OF_A_RUN}")
        return
    require_trackers(recipe.tracked_by)
    with ExitStack() as stack:

        def take() -> None:  # on the main process: the run is this job's from here on
            stack.enter_context(owned(run, status, say, verify=not launch.no_verify))
            if status is Status.NEW:
                create_run(run, recipe)

        if status is Status.STARTED and not launch.dry_run:
            ranks.once(take)
        stores, saved = open_stores(recipe), latest(run)
        if saved is None:
            operator = make_operator(recipe, stores, ranks)
        else:
            operator = _as_saved(saved, adaptation, recipe.seed)
        data = training_data(recipe, stores, operator)
        optimizer = _optimizer(recipe, operator, data, adaptation, accelerator.device)
        _require_whole(data, job)
        looked = _try_out(operator, data, adaptation if saved is None else None)
        compile_blocks(operator, recipe.compile, accelerator.device)
        lines = [_summary(recipe, operator, stores, job), *left_out(operator, stores), *looked]
        if launch.dry_run:
            lines += foretell(operator, optimizer, data, recipe, job, launch.price)
        say("\n".join(f"{title}: {line}" for line in lines))
        if launch.dry_run:
            return
        if status is Status.NEW:
            ranks.once(take)
        require_shared(run, ranks)
        train(operator, optimizer, data, recipe, run, job, title=title, adaptation=adaptation)
    say(f"{title}: done; the checkpoint is {run / checkpoint.OF_A_RUN}")
    accelerator.end_training()  # leaves the process group, so that no process aborts another


def _optimizer(
    recipe: TrainRecipe,
    operator: Operator,
    data: TrainingData,
    adaptation: Adaptation | None,
    device: torch.device,
) -> Optimizer:
    """Over the operator's parameters, at the rates and in the phases of its training."""
    rates = {} if adaptation is None else adaptation.rates(operator)
    phases = recipe.phases(operator, data.objective)
    return build_optimizer(operator, recipe.optimizer, rates, phases, device)


def _as_saved(state: Path, adaptation: Adaptation | None, seed: int) -> Operator:
    """The operator of a training state, changed for its training, before its weights are read."""
    operator = checkpoint.build(checkpoint.read_config(state / "operator"))
    if adaptation is not None:
        adaptation.prepare(operator, seed)
    return operator


def _summary(recipe: TrainRecipe, operator: Operator, stores: Sequence[Store], job: Job) -> str:
    count = sum(p.numel() for p in operator.parameters() if p.requires_grad)
    half = ", gathered in bf16" if recipe.precision == "bf16" else ""
    shards = f", with parameters sharded by block (FSDP2){half}; other --fsdp options do nothing"
    return (
        f"{operator.name} with {count:,} trainable parameters on "
        f"{', '.join(store.name for store in stores)}; {recipe.steps} steps of {recipe.batch} "
        f"windows; {job.ranks.count} process(es) on {job.accelerator.device.type}"
        f"{shards if job.shards else ''}"
    )


def _require_whole(data: TrainingData, job: Job) -> None:
    """Refuse shards of parameters where the objective cannot do with them."""
    if job.shards and data.objective.whole:
        raise ValueError(
            f"objective.kind {data.objective.config.kind} differentiates forwards, as it is set "
            "here, which shards of parameters (FSDP) do not allow; train without shards"
        )


def _try_out(
    operator: Operator, data: TrainingData, adaptation: Adaptation | None
) -> Sequence[str]:
    """Predict one window of every dataset, so that what cannot work fails before any work.

    In evaluation mode, in which no statistics are learned; training sets its own. Gives what
    fine-tuning says of its start.
    """
    operator.eval()
    for windows in data.mixture.parts:
        window = collate([windows[0]])
        with torch.no_grad():
            finite = operator(window).isfinite().all()
            data.objective.try_out(operator, window, operator.description.normalizer)
        if not finite:
            raise ValueError(
                f"the first prediction on {windows.store.name} is not finite; normalise its fields"
            )
    return () if adaptation is None else adaptation.look(operator, data.mixture, data.objective)
