"""Command lines: arguments that are checked, and mistakes that are told in one line."""

from __future__ import annotations

import argparse
import itertools
import math
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from .config import nearest

if TYPE_CHECKING:
    import torch


def run_command(
    command: Callable[[Sequence[str]], None], argv: Sequence[str] | None = None
) -> None:
    """Run a command; exits with 2 and one line on a user's mistake, with 130 on Ctrl-C.

    A user's mistake is a `ValueError` or an `OSError`; other exceptions keep their traceback. Of
    several processes, those above RANK 0 name themselves: one may miss a file that others have.
    With PELAGOS_TRACEBACK=1 in the environment, mistakes keep their traceback too.
    """
    try:
        command(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        # A second one while Python shuts down would end it by a signal, or abort in some library.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _stop("pelagos: interrupted", 130)
    except BrokenPipeError:
        # Whoever read our output left (as `| head` does). Python's own flush at exit must not
        # complain about it either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except (ValueError, OSError) as error:
        if os.environ.get("PELAGOS_TRACEBACK") == "1":
            raise
        _stop(f"pelagos: error: {_one_line(error)}", 2)


class Parser(argparse.ArgumentParser):
    """A parser for one subcommand; `examples` are shown below the help."""

    def __init__(self, command: str, description: str, examples: Sequence[str]) -> None:
        super().__init__(
            prog=f"pelagos {command}",
            description=description,
            epilog="examples:\n" + "\n".join(f"  {line}" for line in examples),
            formatter_class=_Help,
            allow_abbrev=False,
        )

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """The parsed arguments.

        Raises:
            ValueError: an option is unknown, missing or malformed.
        """
        # Checked first: argparse would rather name a missing option than the misspelt one.
        for word in argv[: argv.index("--")] if "--" in argv else argv:
            option = word.partition("=")[0]
            if word.startswith("--") and option not in self._option_string_actions:
                known = [name for name in self._option_string_actions if name.startswith("--")]
                self.error(f"unknown option {option}{nearest(option, known)}")
        return self.parse_args(list(argv))

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and exiting."""
        choice = re.search(r"argument (\S+): invalid choice: '(.*?)' \(choose from (.*)\)", message)
        if choice:
            valid = re.findall(r"[\w.-]+", choice[3])
            message = f"{choice[1]} cannot be {choice[2]!r}{nearest(choice[2], valid)}"
        raise ValueError(f"{message} (see {self.prog} --help)")


class _Help(argparse.HelpFormatter):
    """Wraps the description, but leaves the lines of the examples alone."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("examples:"):
            return text
        return super()._fill_text(text, width, indent)


def count(text: str) -> int:
    """A positive whole number."""
    return _whole(text, 1)


def index(text: str) -> int:
    """A whole number from 0 on."""
    return _whole(text, 0)


def positive(text: str) -> float:
    """A positive finite number."""
    value = _number(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"needs a positive number; got {text!r}")
    return value


def counts(text: str) -> tuple[int, ...]:
    """Positive whole numbers separated by commas, one per axis: `128` or `64,64`."""
    return tuple(count(part) for part in text.split(","))


def lengths(text: str) -> tuple[float, ...]:
    """Positive numbers separated by commas, one per axis: `32` or `1,2`."""
    return tuple(positive(part) for part in text.split(","))


def increasing(text: str) -> tuple[float, ...]:
    """Positive increasing numbers separated by commas: `0.35,0.7`."""
    values = tuple(positive(part) for part in text.split(","))
    if any(a >= b for a, b in itertools.pairwise(values)):
        raise argparse.ArgumentTypeError(f"needs increasing numbers; got {text!r}")
    return values


def parameter(text: str) -> tuple[str, float | tuple[float, float]]:
    """`name=value`, or `name=low:high` for a value drawn per trajectory."""
    name, equals, value = text.partition("=")
    low, colon, high = value.partition(":")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"needs name=value or name=low:high; got {text!r}")
    if not colon:
        return name, _number(low)
    interval = _number(low), _number(high)
    if interval[0] > interval[1]:
        raise argparse.ArgumentTypeError(f"needs low ≤ high; got {text!r}")
    return name, interval


def device(text: str) -> torch.device:
    """A torch device; `auto` is the first GPU where there is one."""
    import torch  # slow to import, and `--help` needs none of it

    if text == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=text)
        return torch.device(text)
    except (RuntimeError, AssertionError):
        available = "cpu, cuda" if torch.cuda.is_available() else "cpu"
        raise argparse.ArgumentTypeError(
            f"no device {text!r} on this machine; available: {available}"
        ) from None


def add_layout(parser: argparse.ArgumentParser) -> None:
    """`--layout`, of commands that read a dataset."""
    parser.add_argument(
        "--layout",
        help="what contents cannot tell, as in Poseidon:CE-KH or PDEBench:open, or the path of a "
        "description.yaml",
    )


def _whole(text: str, smallest: int) -> int:
    if not re.fullmatch(r"\d+", text) or int(text) < smallest:
        raise argparse.ArgumentTypeError(
            f"needs a whole number of at least {smallest}; got {text!r}"
        )
    return int(text)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"needs a finite number; got {text!r}")
    return value


def _one_line(error: Exception) -> str:
    """What happened, and to which file."""
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return " ".join(text.split())


def _stop(message: str, code: int) -> NoReturn:
    rank = os.environ.get("RANK", "0")
    where = "" if rank == "0" else f" (process {rank})"
    print(f"{message}{where}", file=sys.stderr)
    sys.exit(code)
