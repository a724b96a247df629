"""One failure ends all processes of a run, with one message.

A process that fails leaves word in the store at which the processes met (at MASTER_ADDR), and says
what happened. The others look there every half second: most of them wait for the failed one inside
a collective, where no exception and no signal reaches them.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from torch.distributed import (
    DistNetworkError,
    DistStoreError,
    TCPStore,  # pyright: ignore[reportPrivateImportUsage]
)

from .ranks import Ranks
from .run.stop import Stopped

_LOOK = 0.5  # seconds between two looks
_GRACE = 4.0  # seconds in which a process may leave by itself
_GONE = (
    "pelagos: error: another process of this job is gone without a word: killed, perhaps for "
    "memory (logs of the launcher and of the system tell), or cut off"
)
_SIGNS = ("closed by peer", "reset by peer", "likely closed", "remote process exited", "roken pipe")
_calls = itertools.count()  # runs of this process: each has words of its own


@contextmanager
def failing_together(ranks: Ranks) -> Iterator[None]:
    """End all processes if one of them fails in this block.

    The first one to fail raises what happened. On the others, what follows from that becomes a
    silent `SystemExit`, and those that do not come back are ended. Where one was killed, and left
    no word, the first to notice says so in a line, and exits with 1.
    """
    store = _meeting_point() if ranks.count > 1 else None
    if store is None:
        yield
        return
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    key, over = f"pelagos/{attempt}/{next(_calls)}", threading.Event()
    threading.Thread(target=_watch, args=(store, key, over), daemon=True).start()
    try:
        yield
    except Stopped as stopped:
        if stopped.agreed:
            raise
        _leave(store, key, stopped)
        raise
    except BaseException as error:
        if not _leave(store, key, error):
            sys.exit(_code_of(error))
        if _is_of_others(error):
            sys.exit(f"{_GONE} ({str(error).partition('. ')[0]})")
        raise
    finally:
        over.set()


@contextmanager
def meeting_others() -> Iterator[None]:
    """In this block the processes of a job find each other.

    Raises:
        ValueError: some did not come.
    """
    try:
        yield
    except (DistNetworkError, DistStoreError) as error:
        place = ":".join(os.environ.get(name, "?") for name in ("MASTER_ADDR", "MASTER_PORT"))
        count, rank = os.environ.get("WORLD_SIZE", "?"), os.environ.get("RANK", "?")
        raise ValueError(
            f"process {rank} of {count} did not meet the others at {place}: {error} Start all of "
            "them at about the same time, with that address open between their machines, or let "
            "them wait longer with --timeout"
        ) from error


def _meeting_point() -> TCPStore | None:
    """The store of the launcher, by a connection of its own; None if there is none."""
    host, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    if not (host and port):
        return None
    patience = timedelta(seconds=10)
    try:
        return TCPStore(host, int(port), timeout=patience, wait_for_workers=False)
    except (RuntimeError, ValueError):
        return None


def _watch(store: TCPStore, key: str, over: threading.Event) -> None:
    """End this process a moment after another one has failed."""
    while not over.wait(_LOOK):
        try:
            failed = store.check([f"{key}/code"])
            code = int(store.get(f"{key}/code")) if failed else 0
        except RuntimeError:  # the process that kept the store has ended
            failed, code = True, 1
        if failed:
            if not over.wait(_GRACE):
                os._exit(code)
            return


def _leave(store: TCPStore, key: str, error: BaseException) -> bool:
    """Leave word of a failure, and see to it that this process ends; whether it is the first."""
    code = _code_of(error)
    try:
        first = store.add(f"{key}/failures", 1) == 1
        if first:
            store.set(f"{key}/code", str(code))
    except RuntimeError:
        first = False  # the process that kept the store has ended before
    # Libraries may wait for other processes as Python shuts down.
    timer = threading.Timer(_GRACE, os._exit, (code,))
    timer.daemon = True
    timer.start()
    return first


def _is_of_others(error: BaseException) -> bool:
    """Whether an error says that another process has gone; libraries have no class for that.

    One that only takes too long, or a library that is set up wrongly, is something else.
    """
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def _code_of(error: BaseException) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, KeyboardInterrupt):
        return 130
    return 2 if isinstance(error, (ValueError, OSError)) else 1
