"""Being told to stop: SIGTERM is noted, and the loop saves before it leaves."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(SystemExit):
    """Training was told to stop (SIGTERM) and has saved its state."""


class Stop:
    """Set by the signal handler, read by the loop."""

    is_set = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Of the signal."""
        self.is_set = True


@contextmanager
def stop_signal() -> Iterator[Stop]:
    """Note SIGTERM instead of dying of it; the old handler is put back afterwards."""
    stop = Stop()
    previous = signal.signal(signal.SIGTERM, stop.handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, previous)
