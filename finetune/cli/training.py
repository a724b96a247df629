"""`pelagos finetune`: what is typed; it does `adapt.command.finetune`."""

from __future__ import annotations

from collections.abc import Sequence

from ...datasets.base.cli import call
from ...datasets.base.options import File, Overrides, Source
from ...pretrain.command import Launch


def main(argv: Sequence[str]) -> None:
    """Run `pelagos finetune`; see `cli.call`."""
    call(finetune, argv, "finetune")


def finetune(
    recipe: Source,
    run: File,
    /,
    *,
    launch: Launch = Launch(),  # noqa: B008  frozen
    overrides: Overrides = (),
) -> None:
    """Train on a new PDE, from a checkpoint or from scratch.

    Every key of the recipe can be overridden by its dotted name, as in --optimizer.learning-rate
    3e-4. `pelagos recipe list` names the recipes that ship, `pelagos recipe schema finetune` all
    keys.

    Args:
        recipe: a YAML file, or the name of a recipe that ships.
        run: directory of the run.

    Examples:
        pelagos finetune quickstart runs/finetuned --init-from runs/pretrain
        pelagos finetune my.yaml runs/scratch --init-from null
        torchrun --nproc_per_node 2 -m pelagos.finetune my.yaml runs/mine
    """
    from ..adapt import command

    command.finetune(
        recipe,
        run,
        overrides,
        resume=launch.resume == "auto",
        processes=launch.processes,
        dry_run=launch.dry_run,
        timeout=launch.timeout,
        verify=not launch.no_verify,
    )
