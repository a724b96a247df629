"""`pelagos pretrain`: the command line of `pretrain`, and the options that it shares."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..datasets.base.cli import Parser
from .training import Launch, pretrain

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
    recipe, launch, overrides = training_arguments(
        "pretrain", "Train one operator on a mixture of datasets.", EXAMPLES, argv
    )
    pretrain(
        recipe,
        launch.run,
        overrides,
        resume=launch.resume,
        processes=launch.processes,
        dry_run=launch.dry_run,
    )


def training_arguments(
    command: str, description: str, examples: Sequence[str], argv: Sequence[str]
) -> tuple[str, Launch, list[str]]:
    """What all training commands are given: recipe, launch, and overrides of the recipe."""
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
    given, overrides = parser.parse_known_args(list(argv))
    launch = Launch(
        given.run, given.resume == "auto", given.processes, given.dry_run, given.run.name
    )
    return given.recipe, launch, overrides
