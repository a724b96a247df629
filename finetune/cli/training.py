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
    start: Source,
    run: File | None = None,
    /,
    *,
    launch: Launch = Launch(),  # noqa: B008  frozen
    overrides: Overrides = (),
) -> None:
    """Train on a new PDE, from a checkpoint or from scratch.

    With a checkpoint and --data the recipe follows from both: fields are matched by name, the
    normaliser is kept, learning rates and steps go by the size of the data, and a validation part
    is split off where there is none. What was decided is printed, and written into the run.

    Every key of the recipe can be overridden by its dotted name, as in --optimizer.learning-rate
    3e-4 or --method.name lora. `pelagos recipe list` names the recipes that ship, `pelagos recipe
    schema finetune` all keys.

    Args:
        start: a checkpoint or run, pelagos:NAME, hf:owner/model; or a YAML file, or the name of a
            recipe that ships.
        run: directory of the run (default, with a checkpoint: runs/DATA_from_CHECKPOINT).

    Examples:
        pelagos finetune runs/pretrain --data data/mine
        pelagos finetune pelagos:NAME runs/mine --data data/mine --method.name lora
        pelagos finetune quickstart runs/finetuned --init-from runs/pretrain
        pelagos finetune my.yaml runs/scratch --init-from null
        torchrun --nproc_per_node 2 -m pelagos.finetune my.yaml runs/mine
    """
    from ..adapt import command

    command.finetune(
        start,
        run,
        overrides,
        resume=launch.resume == "auto",
        processes=launch.processes,
        dry_run=launch.dry_run,
        timeout=launch.timeout,
        verify=not launch.no_verify,
    )
