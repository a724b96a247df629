"""Command lines: functions called with what was typed, mistakes told in one line.

A command is a function. Its parameters are the arguments and options of the command, its
docstring is their help: what it does, `Args:` and `Examples:`.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn


def run_command(
    command: Callable[[Sequence[str]], None], argv: Sequence[str] | None = None
) -> None:
    """Run a command; exits with 2 and one line on a user's mistake, with 130 on Ctrl-C.

    A user's mistake is a `ValueError` or an `OSError`; other exceptions keep their traceback,
    unless a package is missing or too old, which explains them. Of several processes, those above
    RANK 0 name themselves: one may miss a file that others have. With PELAGOS_TRACEBACK=1 in the
    environment, mistakes keep their traceback too.
    """
    try:
        with _warnings_in_a_line():
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
    except Exception:
        from .requirements import unmet

        if os.environ.get("PELAGOS_TRACEBACK") != "1":
            for name, told in unmet():
                _stop(f"pelagos: error: {name} {told}", 2)
        raise


@contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    """Print warnings as the command's own words, without file names and source code."""

    def plainly(message: Warning | str, *place: object) -> str:
        return f"pelagos: warning: {' '.join(str(message).split())}\n"

    usual = warnings.formatwarning
    warnings.formatwarning = plainly
    try:
        yield
    finally:
        warnings.formatwarning = usual


def call(function: Callable[..., None], argv: Sequence[str], name: str) -> None:
    """Call a function with the arguments that were typed, or print its help.

    Args:
        function: the command; see the module's docstring.
        argv: what was typed after the command's name.
        name: of the command, such as "data simulate".

    Raises:
        ValueError: as `parsing.parse`, or as the function.
    """
    from .parsing import app_of, before_dashes, parse  # slow to import; the overview needs none

    if {"-h", "--help"} & {*before_dashes(argv)}:
        from .helping import page

        arguments = app_of(function, name).assemble_argument_collection(parse_docstring=True)
        print(page(name, function, arguments))
        sys.stdout.flush()
        raise SystemExit(0)
    bound = parse(function, argv, name)
    function(*bound.args, **bound.kwargs)


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
