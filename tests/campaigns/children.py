"""Children that do one thing each: of libraries, all is imported already."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pelagos.finetune.cli.console import main

PATIENCE = 600.0  # seconds after which a child hangs
_HUNG = -signal.SIGALRM


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit status (less than 0: the signal that killed it), and words."""

    status: int
    said: str

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL

    @property
    def wrong(self) -> str:
        """Why it did not end as a command does: a traceback, a crash, a hang; empty: it did."""
        if self.status == _HUNG:
            return f"hangs: {self.said[:600]!r}"
        if self.status < 0 and not self.killed:
            return f"signal {-self.status}: {self.said[-300:]!r}"
        if "Traceback" in self.said:
            return f"traceback: {self.said[-600:]!r}"
        if self.status == 1:
            return f"exit status 1: {self.said[-300:]!r}"
        if self.status == 2 and self.last.count("pelagos: error: ") != 1:
            return f"no error in one line: {self.said[-300:]!r}"
        return ""

    @property
    def last(self) -> str:
        """The last line that it said."""
        return self.said.strip().rpartition("\n")[2]


@dataclass(frozen=True)
class Child:
    """A child that runs."""

    process: int
    words: Path

    def wait(self, patience: float = PATIENCE) -> Ended:
        """Until it has ended; one that hangs is ended, and says where it was."""
        end, pause = time.monotonic() + patience, 0.002
        while True:
            process, status = os.waitpid(self.process, os.WNOHANG)
            if process:
                return Ended(os.waitstatus_to_exitcode(status), self._said())
            if time.monotonic() > end:
                os.kill(self.process, signal.SIGABRT)
                os.waitpid(self.process, 0)
                return Ended(_HUNG, self._said())
            time.sleep(pause)
            pause = min(0.05, 1.2 * pause)

    def kill(self) -> None:
        """At once."""
        os.kill(self.process, signal.SIGKILL)

    def _said(self) -> str:
        return self.words.read_text(errors="replace")


def start(call: Callable[[], Any], words: Path) -> Child:
    """A child that does it; what it says goes into a file."""
    words.write_text("")
    process = os.fork()
    if process:
        return Child(process, words)
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        file = os.open(words, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        faulthandler.enable()
        call()
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def command(
    words: Path,
    argv: Sequence[str],
    *,
    before: Callable[[], Any] = lambda: None,
    environment: dict[str, str] | None = None,
    folder: Path | None = None,
) -> Child:
    """A child that runs `pelagos`."""

    def call() -> None:
        os.environ.update(environment or {})
        if folder is not None:
            os.chdir(folder)
        before()
        main(argv)

    return start(call, words)
