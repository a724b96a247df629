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

from ..datasets.base.config import read
from ..datasets.base.processes import Processes
from ..datasets.stores.store import Store
from ..operators.core import checkpoint
from ..operators.core.operator import Operator
from .accelerating import tf32
from .adaptation import Adaptation
from .batches import micro_batches_per_process
from .command import RECIPES, Launch
from .data import fingerprints
from .environment import check_environment, require_all_processes, shards_are_ours
from .failing import meeting_others
from .job import Job, job_of
from .loop import train
from .prepared import Prepared, prepare
from .ranks import Ranks
from .recipe import TrainRecipe, find_recipe
from .run.directory import Status, as_begun, create_run, inspect_run
from .run.fingerprints import REMEDY, Seen, agreed, keep_fingerprints, other_data
from .run.owning import owned
from .run.shared import require_shared
from .run.state import knew_data, latest
from .run.tracking import require_trackers
from .start import create_operator
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
        verify: whether a saved state must be as it was saved (by its SHA-256) to go on from it,
            and the data those that the run began with (by their fingerprint).

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
    with shards_are_ours() as shards, meeting_others():
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
    say, ranks, tries = job.accelerator.print, job.ranks, launch.dry_run
    resumes = launch.resume == "auto"
    if resumes:
        recipe = ranks.once(lambda: as_begun(run, recipe))
    status = ranks.once(lambda: inspect_run(run, recipe, resumes))
    if status is Status.FINISHED:
        say(f"{title}: {run} is finished already; its checkpoint is {run / checkpoint.OF_A_RUN}")
        return
    require_trackers(recipe.tracked_by)
    with ExitStack() as held:

        def take() -> None:  # on the main process: the run is this job's from here on
            held.enter_context(
                owned(run, status, say, keep=recipe.keep, verify=not launch.no_verify)
            )

        if status is Status.STARTED and not tries:
            ranks.once(take)
        saved = latest(run)
        ready = prepare(recipe, make_operator, saved, job, adaptation)
        seen, warnings = _look_at_data(run, ready, saved, ranks, verify=not launch.no_verify)
        lines = [*ready.lines, *warnings]
        trained = ready.operator, ready.optimizer, ready.data
        if tries:
            lines += foretell(*trained, recipe, job, launch.price)
        say("\n".join(f"{title}: {line}" for line in lines))
        if tries:
            return
        if status is Status.NEW:
            ranks.once(take)
        ranks.once(lambda: _put_on_record(run, recipe, status, seen))
        require_shared(run, ranks)
        train(*trained, recipe, run, job, title=title, adaptation=adaptation)
    say(f"{title}: done; the checkpoint is {run / checkpoint.OF_A_RUN}")
    job.accelerator.end_training()  # leaves the process group, so that no process aborts another


def _look_at_data(
    run: Path, ready: Prepared, saved: Path | None, ranks: Ranks, *, verify: bool
) -> tuple[Seen, list[str]]:
    """By what the data are known, on all machines, and what is said of them.

    Raises:
        ValueError: they are not those of the run.
    """
    seen = agreed(lambda: fingerprints(ready.stores, ready.data), ranks)
    recorded = saved is not None and knew_data(saved)
    other = ranks.once(lambda: other_data(run, seen, recorded))
    if other and verify:
        raise ValueError(f"{other}; {REMEDY}")
    return seen, [f"warning: {other}; going on all the same"] if other else []


def _put_on_record(run: Path, recipe: TrainRecipe, status: Status, seen: Seen) -> None:
    """Of the main process, which holds the run: its data, and its recipe where it is new."""
    keep_fingerprints(run, seen)
    if status is Status.NEW:
        create_run(run, recipe)
