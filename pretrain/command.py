"""`pelagos pretrain`: the command line of `pretrain`, and the options that it shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..datasets.base.cli import Parser

RECIPES = Path(__file__).parent / "recipes"  # that ship
EXAMPLES = (
    "pelagos pretrain quickstart runs/pretrain",
    "pelagos pretrain my.yaml runs/mine --optimizer.learning_rate 3e-4 --steps 5000",
    "torchrun --nproc_per_node 2 -m pelagos.pretrain my.yaml runs/mine --resume auto",
    "accelerate launch -m pelagos.pretrain my.yaml runs/mine",
)


@dataclass(frozen=True)
class Launch:
    """How a training starts; the options that all training commands share.

    Attributes:
        resume: auto: continue the run if it exists; never: refuse to touch it.
        processes: fail unless exactly so many processes take part.
        dry_run: say what would be trained, and write nothing.
    """

    resume: Literal["auto", "never"] = "never"
    processes: int | None = None
    dry_run: bool = False


def main(argv: Sequence[str]) -> None:
    """Run `pelagos pretrain`.

    Raises:
        ValueError: anything in the arguments, the recipe or the data is wrong.
    """
    recipe, run, launch, overrides = training_arguments(
        "pretrain", "Train one operator on a mixture of datasets.", EXAMPLES, argv
    )
    from .training import pretrain  # slow to import, and help needs none of it

    pretrain(
        recipe,
        run,
        overrides,
        resume=launch.resume == "auto",
        processes=launch.processes,
        dry_run=launch.dry_run,
    )


def training_arguments(
    command: str, description: str, examples: Sequence[str], argv: Sequence[str]
) -> tuple[str, Path, Launch, list[str]]:
    """What all training commands are given: recipe, run, launch, overrides of the recipe."""
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
    launch = Launch(given.resume, given.processes, given.dry_run)
    return given.recipe, given.run, launch, overrides
