"""`pelagos completion`: what a shell needs to complete commands, options and their choices."""

from __future__ import annotations

from typing import Literal

from cyclopts import App

from ...datasets.base.parsing import app_of
from .console import COMMANDS


def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print a script by which a shell completes this command line.

    Write it where the shell looks for such scripts; a new shell then knows commands, options and
    their choices. It stays as it is: write it again after an update.

    Args:
        shell: the shell that reads it.

    Examples:
        pelagos completion bash > ~/.local/share/bash-completion/completions/pelagos
        pelagos completion zsh > ~/.zfunc/_pelagos
        pelagos completion fish > ~/.config/fish/completions/pelagos.fish
    """
    print(_whole().generate_completion(prog_name="pelagos", shell=shell))


def _whole() -> App:
    """One parser of all commands, which the command line itself loads one at a time."""
    whole = App(name="pelagos", help_flags=["--help"], version_flags=["--version"])
    groups: dict[str, App] = {"": whole}
    for name, command in COMMANDS.items():
        group, _, leaf = name.rpartition(" ")
        if group not in groups:
            groups[group] = App(name=group, help_flags=["--help"], version_flags=[])
            whole.command(groups[group])
        groups[group].command(app_of(command.load(), leaf))
    return whole
