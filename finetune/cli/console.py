"""The `pelagos` command: finds the subcommand and runs it.

A subcommand is imported when it runs, so that help is quick; the command-line library as well,
which is why the subcommands are found here and not by it (it also imports all of them to say that
one is unknown).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from ...datasets.base.cli import call, run_command
from ...datasets.base.config import nearest
from .whats_next import steps


class Command(NamedTuple):
    """A subcommand: what it does, and the function whose signature its options are."""

    summary: str
    module: str
    function: str

    def load(self) -> Callable[..., None]:
        """Import the function."""
        return getattr(import_module(self.module, __package__), self.function)


COMMANDS = {
    "data simulate": Command("simulate a PDE into an HDF5 dataset", ".data", "simulate"),
    "data inspect": Command("say what a dataset holds", ".data", "inspect"),
    "data describe": Command("draft a description of files of your own", ".data", "describe"),
    "data check": Command("say what is wrong with a dataset, and what to do", ".data", "check"),
    "data stats": Command("statistics of every field per split", ".data", "stats"),
    "data convert": Command("rewrite a dataset of any layout in The Well's", ".data", "convert"),
    "data rechunk": Command(
        "rewrite HDF5 files for fast reading, in the same layout", ".data", "rechunk"
    ),
    "data plot": Command("draw fields, time series, an animation", ".data", "plot"),
    "completion": Command(
        "print what a shell needs to complete commands", ".completion", "completion"
    ),
    "doctor": Command("say what this machine has and lacks", ".doctor", "doctor"),
    "help": Command("print a page that explains a subject: data", ".help", "show"),
    "import": Command("published weights into a checkpoint", ".exchange", "import_weights"),
    "export": Command(
        "a checkpoint for the published code, or as a program",
        ".exchange",
        "export_weights",
    ),
    "checkpoints": Command(
        "name the checkpoints that ship, and those of your own folders",
        ".checkpoints",
        "checkpoints",
    ),
    "publish": Command(
        "share the checkpoint of a run by name, with a model card", ".checkpoints", "publish"
    ),
    "adapter export": Command(
        "what fine-tuning learned beside its base, as a small folder",
        ".checkpoints",
        "adapter_export",
    ),
    "adapter merge": Command(
        "an adapter and its base as a plain checkpoint", ".checkpoints", "adapter_merge"
    ),
    "recipe list": Command("name the recipes that ship", ".recipes", "names"),
    "recipe show": Command("print a recipe that ships", ".recipes", "show"),
    "recipe new": Command("print a recipe for data of your own", ".recipes", "new"),
    "recipe schema": Command(
        "print what a recipe may say, as JSON schema for an editor", ".recipes", "schema"
    ),
    "pretrain": Command(
        "train an operator on a mixture of datasets", "pelagos.pretrain.command", "pretrain"
    ),
    "finetune": Command(
        "train on one dataset, from a checkpoint or from scratch",
        ".training",
        "finetune",
    ),
    "study": Command("find out how much data a checkpoint saves", ".study", "study"),
    "predict": Command("roll a checkpoint out from stored initial frames", ".forecast", "predict"),
    "calibrate": Command(
        "give a checkpoint error bands from held-out trajectories", ".calibrate", "calibrate"
    ),
    "assimilate": Command(
        "estimate fields from observations, and forecast", ".assimilate", "assimilate"
    ),
    "evaluate": Command(
        "score a checkpoint against a dataset and persistence", ".forecast", "evaluate"
    ),
    "serve": Command(
        "a page that predicts with checkpoints, and HTTP for programs", ".serve", "serve"
    ),
    "report": Command("write one HTML page about runs", ".forecast", "report"),
}

EXAMPLES = (
    "pelagos data simulate burgers_1d --out data",
    "pelagos data inspect data/burgers_1d",
    "pelagos recipe show quickstart > my.yaml",
    "pelagos pretrain quickstart runs/pretrain",
    "pelagos finetune runs/pretrain --data data/mine",
    "pelagos finetune quickstart runs/finetuned --init-from runs/pretrain",
    "pelagos evaluate runs/finetuned data/burgers_1d",
    "pelagos report runs/finetuned --out report.html",
)

EPILOG = """\
A mistake is told in one line; PELAGOS_TRACEBACK=1 in the environment shows where it came from."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; see `run_command` for how it exits."""
    run_command(dispatch, argv)


def dispatch(argv: Sequence[str], group: str = "") -> None:
    """Run the command that `argv` names, within `group` ("data ") if one was entered already.

    Raises:
        ValueError: there is no such command, or as in `cli.call`.
    """
    names = sorted(
        {key.removeprefix(group).split()[0] for key in COMMANDS if key.startswith(group)}
    )
    if not argv or argv[0] in ("-h", "--help"):
        print(_overview(group))
        if not argv and not group:
            print("\n".join(["", "next, in this folder:", *(f"  {x}" for x in steps(Path.cwd()))]))
    elif argv[0] in ("-V", "--version") and not group:
        print(f"pelagos {version('pelagos')}")
    elif argv[0] not in names:
        raise ValueError(f"unknown command {group + argv[0]!r}{nearest(argv[0], names)}")
    elif group + argv[0] in COMMANDS:
        name = group + argv[0]
        call(COMMANDS[name].load(), argv[1:], name)
    else:
        dispatch(argv[1:], f"{group}{argv[0]} ")


def _overview(group: str) -> str:
    """The help of the whole command, or of one group of subcommands."""
    known = {key: command for key, command in COMMANDS.items() if key.startswith(group)}
    width = max(map(len, known))
    lines = [f"  {key:{width}}  {command.summary}" for key, command in known.items()]
    head = f"usage: pelagos {group}COMMAND … | --help" + ("" if group else " | --version")
    about = "" if group else "\nNeural operators: simulate, pretrain, fine-tune, predict, report.\n"
    examples = [f"  {line}" for line in EXAMPLES if line.startswith(f"pelagos {group}")]
    more = f"`pelagos {group}COMMAND --help` explains a command and its options."
    end = [more] if group else [more, EPILOG]
    return "\n".join([head, about, "commands:", *lines, "", "examples:", *examples, "", *end])
