"""Progress on stderr: a live bar on a terminal, a few lines elsewhere."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

_LINES = 10  # written where there is no terminal,
_PAUSE = 2.0  # with at least so many seconds between them


class Bar:
    """How far a long task has come, and the time left.

    Args:
        title: what is being done.
        total: amount of work, in `unit`s.
        completed: amount done before.
        unit: what is counted.
        active: False to show nothing.
    """

    def __init__(
        self, title: str, total: int, completed: int = 0, unit: str = "", active: bool = True
    ) -> None:
        self.console = Console(stderr=True)
        self.live = active and self.console.is_terminal
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[count]}"),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self.console,
            disable=not self.live,
            speed_estimate_period=60,
        )
        self.unit, self.sparse = unit, active and not self.live
        self.lock = threading.Lock()
        self.task = self.progress.add_task(
            title, total=total, completed=completed, count="", note=""
        )
        self.lines = self._fraction()
        self.printed = time.monotonic()

    def __enter__(self) -> Bar:
        if self.live:
            self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:  # fractions may not have summed exactly
            total = round(self.progress.tasks[0].completed)
            self.progress.update(self.task, completed=total, count=self._count())
            if self.sparse and self._fraction() > self.lines:
                self._print_line()
        if self.live:  # before rich 14, one that shows nothing ends with an empty line
            self.progress.stop()

    def note(self, text: str) -> None:
        """Show `text` beside the bar, from now on."""
        self.progress.update(self.task, note=text)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def advance(self, amount: float) -> None:
        """Add `amount` of finished work; fractions count. Safe to call from several threads."""
        with self.lock:
            self.progress.advance(self.task, amount)
            self.progress.update(self.task, count=self._count())
            quiet = time.monotonic() - self.printed < _PAUSE
            if self.sparse and self._fraction() > self.lines and not quiet:
                self._print_line()

    def _print_line(self) -> None:
        self.lines, self.printed = self._fraction(), time.monotonic()
        task = self.progress.tasks[0]
        left = "" if task.time_remaining is None else f", {task.time_remaining:.0f} s left"
        note = f", {task.fields['note']}" if task.fields["note"] else ""
        self.say(f"{task.description}: {self._count()}{note}{left}")

    def _count(self) -> str:
        task = self.progress.tasks[0]
        return f"{int(task.completed + 1e-6)}/{task.total:.0f} {self.unit}"

    def _fraction(self) -> int:
        """Finished parts of the work, of `_LINES`."""
        task = self.progress.tasks[0]
        return int(_LINES * (task.completed + 1e-6) / max(task.total or 0, 1))
