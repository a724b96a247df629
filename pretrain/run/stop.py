"""Being told to stop: a signal is noted, and the loop saves before it leaves.

SIGTERM, SIGUSR1 and SIGUSR2 mean the same: schedulers send one of them before they take a machine
away. The job then exits with `REQUEUE`, by which a script can tell that it should start it again.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

REQUEUE = 75  # EX_TEMPFAIL of sysexits.h: nothing is wrong, try again
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Stopped(SystemExit):
    """Training was told to stop; what had been trained is saved.

    Attributes:
        agreed: whether all processes leave.
    """

    def __init__(self, agreed: bool) -> None:
        super().__init__(REQUEUE)
        self.agreed = agreed


class Stop:
    """Set by the signal handler, read by the loop.

    Attributes:
        is_set: whether a signal came.
        waits: whether the loop will look; until it does, there is nothing to save.
    """

    is_set = False
    waits = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Of the signals."""
        self.is_set = True
        if not self.waits:
            raise Stopped(agreed=False)


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Note `SIGNALS` instead of dying of them; the old handlers are put back afterwards.

    Python has handlers in the main thread only: in another one, signals do what they did before.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {number: signal.signal(number, stop.handle) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
