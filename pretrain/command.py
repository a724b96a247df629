"""`pelagos pretrain`: what is typed; it does `training.pretrain`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ..datasets.base.cli import call
from ..datasets.base.options import Count, File, Overrides, Source

RECIPES = Path(__file__).parent / "recipes"  # that ship


@Parameter(name="*")
@dataclass(frozen=True)
class Launch:
    """How a training starts; the options that all training commands share.

    Attributes:
        resume: auto: continue the run if it exists; never: refuse to touch it.
        processes: fail unless exactly so many processes take part.
        dry_run: try some steps; say what the job would take, and write nothing.
        timeout: seconds that processes wait for each other, where PyTorch's limits are too short.
        no_verify: use saved states and checkpoints without checking their SHA-256, and go on
            with data that are not those of the run.
        price: of an hour of one process, by which a dry run says what the job would cost.
    """

    resume: Literal["auto", "never"] = "never"
    processes: Count | None = None
    dry_run: bool = False
    timeout: float | None = None
    no_verify: bool = False
    price: Annotated[float | None, Parameter(parse=False)] = None


def main(argv: Sequence[str]) -> None:
    """Run `pelagos pretrain`; see `cli.call`."""
    call(pretrain, argv, "pretrain")


# The run is a position: torchrun would take `--run` for an abbreviation of its own `--run-path`.
def pretrain(
    recipe: Source,
    run: File,
    /,
    *,
    launch: Launch = Launch(),
    price: float | None = None,
    overrides: Overrides = (),
) -> None:
    """Train one operator on a mixture of datasets.

    Every key of the recipe can be overridden by its dotted name, as in --optimizer.learning-rate
    3e-4. `pelagos recipe list` names the recipes that ship; `pelagos recipe new DATA` prints one
    for data of your own, with all keys.

    Args:
        recipe: a YAML file, or the name of a recipe that ships.
        run: directory of the run.
        price: of an hour of one process (of a GPU): a dry run says what the job would cost.

    Examples:
        pelagos pretrain quickstart runs/pretrain
        pelagos pretrain my.yaml runs/mine --optimizer.learning-rate 3e-4 --steps 5000
        pelagos pretrain my.yaml runs/tried --dry-run --price 2.5
        pelagos pretrain my.yaml runs/tried --steps 20 --profile 5
        torchrun --nproc_per_node 2 -m pelagos.pretrain my.yaml runs/mine --resume auto
        accelerate launch -m pelagos.pretrain my.yaml runs/mine
    """
    from . import training  # slow to import, and help needs none of it

    if price is not None and not launch.dry_run:
        raise ValueError("--price is what a dry run computes with; add --dry-run")
    training.launched(recipe, run, overrides, replace(launch, price=price))
