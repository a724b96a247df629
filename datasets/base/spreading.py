"""The same work on many items: in several processes, and shared by the ranks of a launcher."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler  # by which work travels
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

Item = TypeVar("Item")
PATIENCE = 15  # times, a second apart, that a process is asked to end
SHARES = {  # of a launcher: where it says which share a process has, of how many, from which on
    "torchrun": ("RANK", "WORLD_SIZE", ""),
    "a SLURM array": ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN"),
}


@dataclass(frozen=True)
class Share:
    """Which part of some work a process does: items `index`, `index + count`, …

    Attributes:
        index: which.
        count: how many share the work.
        launcher: who says so.
    """

    index: int = 0
    count: int = 1
    launcher: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"a share is one of 0 to {self.count - 1}; got {self.index}")

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """The items of this share."""
        return items[self.index :: self.count]


@dataclass(frozen=True)
class Spread:
    """How work on many items is done.

    Attributes:
        workers: processes that do it side by side; the result is the same for any number.
        share: the part that this process does.
        progress: show a progress bar on stderr.
    """

    workers: int = 1
    share: Share = Share()
    progress: bool = False


ALONE = Spread()


def refuse_replacing(root: Path, overwrite: bool, spread: Spread) -> None:
    """Refuse to replace what other processes write at the same time.

    Raises:
        ValueError: it is asked for.
    """
    count = spread.share.count
    if overwrite and count > 1:
        raise ValueError(f"{root} cannot be replaced by {count} processes at once; delete it first")


def launched_share() -> Share:
    """The share that torchrun, or a SLURM array, gives this process; the whole without them.

    Raises:
        ValueError: the variables of the environment are no such numbers.
    """
    for launcher, (index, count, least) in SHARES.items():
        if index in os.environ and count in os.environ:
            said = [os.environ[index], os.environ[count], os.environ.get(least, "0")]
            if not all(text.isdecimal() for text in said):
                raise ValueError(f"{index} and {count} must be numbers; got {said[0]}, {said[1]}")
            number, total, first = map(int, said)
            step = int(os.environ.get("SLURM_ARRAY_TASK_STEP", "1")) if least else 1
            return Share((number - first) // step, total, launcher)
    return Share()


def in_processes(
    work: Callable[[Item], object], items: Sequence[Item], workers: int
) -> Iterator[Item]:
    """Do some work on each item in `workers` processes; gives those that are done.

    One worker is no process of its own: it is for the caller to do the work.

    Ctrl-C, or a failure, ends the other processes as well, which leave no half-written file.

    Args:
        work: a function, which travels to the processes with everything that it holds.
        items: what it is called with.
        workers: number of processes.

    Raises:
        ValueError: as the work; or a process was killed.
    """
    if workers == 1 or not items:
        return
    try:
        ForkingPickler.dumps(work)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"this cannot be done in other processes ({reason:.200}); use one worker"
        ) from None
    context = multiprocessing.get_context("spawn")  # threads and GPUs do not survive a fork
    count = min(workers, len(items))
    threads = max(1, (os.cpu_count() or 1) // count)
    pool = ProcessPoolExecutor(count, context, _begin, (threads,))
    running: dict[Future[Any], Item] = {pool.submit(_do, work, item): item for item in items}
    try:
        while running:
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                done.result()
                yield running.pop(done)
    except BrokenProcessPool:
        raise ValueError(
            "a process was killed, perhaps for lack of memory; run the same again with fewer "
            "--workers, which continues"
        ) from None
    finally:
        if running:
            _end(pool)
        pool.shutdown(cancel_futures=True)


def _end(pool: ProcessPoolExecutor) -> None:
    """Stop the processes of a pool, which clean up after themselves."""
    processes = [*(pool._processes or {}).values()]
    for _ in range(PATIENCE):  # a first signal may fall where Python cannot raise
        for process in processes:
            if process.is_alive():
                process.terminate()
        for process in processes:
            process.join(1.0)
    for process in processes:
        process.kill()


def _begin(threads: int) -> None:
    """In a new process: leave Ctrl-C to the one that started it, end cleanly when told so."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _LEAVING)
    os.environ["OMP_NUM_THREADS"] = str(threads)


def _do(work: Callable[[Item], object], item: Item) -> None:
    """Some work in a new process, which ends here when told so.

    A pool takes the exit for the result of this item, and would hand out the next one.
    """
    try:
        if not _LEAVING.under_way:
            work(item)
    finally:
        if _LEAVING.under_way:
            os._exit(128 + signal.SIGTERM)


class _Leaving:
    """Ends a process by one exception: another signal must not cut its cleaning up short."""

    def __init__(self) -> None:
        self.under_way = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.under_way:
            return
        self.under_way = True
        sys.unraisablehook = self._lost
        sys.exit(128 + number)

    def _lost(self, _: object) -> None:
        """It was raised where Python cannot pass it on: the next signal counts."""
        self.under_way = False


_LEAVING = _Leaving()  # of this process
