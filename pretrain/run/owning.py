"""A run is this job's: nobody else writes into it, and what earlier jobs left is in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .directory import Status, remove_leftovers, require_unchanged
from .history import require_record
from .jobs import held
from .state import latest, recorded_in, remove_older, set_damaged_aside


@contextmanager
def owned(
    run: Path, status: Status, say: Callable[[str], None], *, keep: int, verify: bool
) -> Iterator[None]:
    """Keep a run for this job; of the main process.

    Args:
        run: the run directory.
        status: what `inspect_run` found there.
        say: told what was damaged.
        keep: how many states, the newest, stay.
        verify: whether saved states must be as they were saved, to go on from them.

    Raises:
        ValueError: another job trains there, or did meanwhile; or no saved state is
            intact, or the log is not what it was when the state was saved.
    """
    with held(run):
        require_unchanged(run, status)
        remove_leftovers(run)
        if verify:
            set_damaged_aside(run, say)
            state = latest(run)
            if state is not None:
                require_record(run, recorded_in(state))
                remove_older(run, keep)
        yield
