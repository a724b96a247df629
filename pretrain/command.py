"""`pelagos pretrain`: train one operator on a mixture of datasets, on any number of processes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import Accelerator

from ..datasets.base.cli import Parser
from ..datasets.base.config import read
from ..datasets.fields.window import collate
from ..datasets.sampling.mixture import Mixture
from ..datasets.stores.store import Store
from ..operators.core import checkpoint
from ..operators.core.operator import Operator
from .assemble import build_mixture, build_validation, create_operator, open_stores
from .loop import micro_batches_per_process, train
from .optimizer import build_optimizer, freeze
from .recipe import TrainRecipe, find_recipe
from .run.directory import Status, create_run, inspect_run, locked
from .run.state import latest

R = TypeVar("R", bound=TrainRecipe)
RECIPES = Path(__file__).parent / "recipes"
EXAMPLES = (
    "pelagos pretrain quickstart runs/pretrain",
    "pelagos pretrain my.yaml runs/mine --optimizer.learning_rate 3e-4 --steps 5000",
    "torchrun --nproc_per_node 2 -m pelagos.pretrain my.yaml runs/mine --resume auto",
    "accelerate launch -m pelagos.pretrain my.yaml runs/mine",
)


def main(argv: Sequence[str]) -> None:
    """Run `pelagos pretrain`.

    Raises:
        ValueError: anything in the arguments, the recipe or the data is wrong.
    """
    arguments, overrides = training_arguments(
        "pretrain", "Train one operator on a mixture of datasets.", EXAMPLES, argv
    )
    recipe = read(TrainRecipe, find_recipe(arguments.recipe, RECIPES), overrides)
    accelerator = start_accelerator(recipe, arguments.processes)
    run_training(recipe, create_operator, arguments, accelerator, title="pretrain")


def training_arguments(
    command: str, description: str, examples: Sequence[str], argv: Sequence[str]
) -> tuple[argparse.Namespace, list[str]]:
    """The options that all training commands share, and the rest: overrides of the recipe."""
    parser = Parser(command, description, examples)
    parser.add_argument("recipe", help="a YAML file, or the name of a recipe that ships")
    # Positional: torchrun would take `--run` for an abbreviation of its own `--run-path`.
    parser.add_argument("run", type=Path, help="directory of the run")
    parser.add_argument(
        "--resume",
        choices=("auto", "never"),
        default="never",
        help="auto: continue the run if it exists; never: refuse to touch it (default)",
    )
    parser.add_argument(
        "--processes", type=int, help="fail unless exactly so many processes take part"
    )
    parser.add_argument(
        "--dry-run",
        "--dry_run",
        action="store_true",
        help="say what would be trained, and write nothing",
    )
    parser.usage = f"pelagos {command} RECIPE RUN [options] [--KEY VALUE …]"
    parser.description = (
        f"{description} Every key of the recipe can be overridden by its dotted name, as in "
        "--optimizer.learning_rate 3e-4."
    )
    return parser.parse_known_args(list(argv))


def start_accelerator(recipe: TrainRecipe, processes: int | None) -> Accelerator:
    """The Accelerate context of this process: CUDA where there is some, else the CPU.

    Raises:
        ValueError: the number of processes is not the one asked for, or does not fit the batch or
            the GPUs.
    """
    accelerator = Accelerator(
        # Without this, Accelerate ignores torchrun's processes where there is no accelerator.
        cpu=not torch.cuda.is_available(),
        mixed_precision="bf16" if recipe.precision == "bf16" else "no",
    )
    found, local = accelerator.num_processes, int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if processes is not None and processes != found:
        raise ValueError(
            f"{found} process(es) take part, not {processes}; launch with "
            f"`torchrun --nproc_per_node {processes} -m pelagos.pretrain …`"
        )
    if accelerator.device.type == "cuda" and local > torch.cuda.device_count():
        raise ValueError(
            f"{local} processes on this machine share {torch.cuda.device_count()} GPU(s); start "
            "one per GPU, or set ACCELERATE_USE_CPU=1"
        )
    micro_batches_per_process(recipe, found)
    return accelerator


@torch.no_grad()
def _try_out(operator: Operator, mixture: Mixture) -> None:
    """Predict one window of every dataset, so that what cannot work fails before any work.

    In evaluation mode, in which no statistics are learned; training sets its own.
    """
    operator.eval()
    for windows in mixture.parts:
        if not operator(collate([windows[0]])).isfinite().all():
            raise ValueError(
                f"the first prediction on {windows.store.name} is not finite; normalise its fields"
            )


def run_training(
    recipe: R,
    make_operator: Callable[[R, list[Store]], Operator],
    arguments: argparse.Namespace,
    accelerator: Accelerator,
    *,
    title: str,
    rates: Mapping[str, float] | None = None,
    frozen: Sequence[str] = (),
) -> None:
    """Check everything, then train: shared by pretraining and fine-tuning.

    Args:
        recipe: what to train.
        make_operator: the operator that a new run starts from; a resumed run needs it no more.
        arguments: of the command line, from `training_arguments`.
        accelerator: from `start_accelerator`.
        title: shown beside the progress bar.
        rates: peak learning rates by name of a module or parameter, where they differ.
        frozen: names of modules and parameters that are not trained.
    """
    run: Path = arguments.run
    status = inspect_run(run, recipe, arguments.resume == "auto")
    accelerator.wait_for_everyone()  # nobody may find what another process is about to create
    say = accelerator.print
    if status is Status.FINISHED:
        say(f"{title}: {run} is finished already; its checkpoint is {run / 'checkpoint'}")
        return
    stores = open_stores(recipe)
    saved = latest(run)
    if saved is None:
        operator = make_operator(recipe, stores)
    else:
        operator = checkpoint.build(checkpoint.read_config(saved / "operator"))
    freeze(operator, frozen)
    optimizer = build_optimizer(operator, recipe.optimizer, rates)
    mixture = build_mixture(recipe, stores, operator)
    validation = build_validation(recipe, operator)
    count = sum(p.numel() for p in operator.parameters() if p.requires_grad)
    say(
        f"{title}: {operator.name} with {count:,} trainable parameters on "
        f"{', '.join(store.name for store in stores)}; {recipe.steps} steps of {recipe.batch} "
        f"windows; {accelerator.num_processes} process(es) on {accelerator.device.type}"
    )
    _try_out(operator, mixture)
    if arguments.dry_run:
        return
    main_process = accelerator.is_main_process
    if main_process and status is Status.NEW:
        create_run(run, recipe)
    accelerator.wait_for_everyone()
    with locked(run) if main_process else nullcontext():
        train(operator, optimizer, mixture, validation, recipe, run, accelerator, title=title)
    say(f"{title}: done; the checkpoint is {run / 'checkpoint'}")
    accelerator.end_training()  # leaves the process group, so that no process aborts another
