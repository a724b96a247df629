"""What a run has of its processes: their devices, their agreements, and being told to stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator

from .failing import failing_together, meeting_others
from .ranks import Ranks
from .run.log import Log
from .run.state import latest
from .run.stop import Stop, stop_signals


@dataclass(frozen=True)
class Job:
    """The processes of a run.

    Attributes:
        accelerator: the only distribution layer.
        ranks: what they agree on beside the training itself.
        stop: set when a signal came.
        shards: whether they share out the parameters.
    """

    accelerator: Accelerator
    ranks: Ranks
    stop: Stop
    shards: bool = False

    def stops(self) -> bool:
        """Whether any of them was told to stop."""
        return self.ranks.any(self.stop.is_set)

    @contextmanager
    def saving(self, log: Log, run: Path) -> Iterator[None]:
        """In this block the loop looks for signals and saves; Ctrl-C says how to go on."""
        self.stop.waits = True
        try:
            yield
        except KeyboardInterrupt:
            state = latest(run)
            kept = f"go on from {state.name} with --resume auto" if state else "nothing is saved"
            log.say(f"interrupted; {kept}")
            raise
        finally:
            self.stop.waits = False


@contextmanager
def job_of(
    accelerator: Accelerator,
    timeout: float | None = None,
    *,
    sketch: bool = False,
    shards: bool = False,
) -> Iterator[Job]:
    """A run's processes: one failure ends all, and signals are noted.

    Args:
        accelerator: the only distribution layer.
        timeout: seconds that processes wait for each other; None: a day.
        sketch: whether rough statistics will do, from little reading.
        shards: whether they share out the parameters, where there are several.
    """
    with meeting_others():
        ranks = Ranks(accelerator, timeout, sketch)
    with failing_together(ranks), stop_signals() as stop:
        yield Job(accelerator, ranks, stop, shards and ranks.count > 1)
