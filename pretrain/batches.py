"""Micro-batches of a run as each process reads them, from any step on."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from multiprocessing import active_children

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset

from ..datasets.fields.window import Window
from ..datasets.sampling.dealing import deal
from ..datasets.sampling.mixture import Mixture
from .recipe import TrainRecipe
from .run.stop import SIGNALS


def micro_batches_per_process(recipe: TrainRecipe, processes: int) -> int:
    """How many micro-batches of a step each process computes.

    Raises:
        ValueError: they cannot be shared equally.
    """
    if recipe.micro_batches % processes:
        raise ValueError(
            f"batch / micro_batch = {recipe.batch} / {recipe.micro_batch} = "
            f"{recipe.micro_batches} micro-batches per step cannot be shared by {processes} "
            "processes; make it a multiple"
        )
    return recipe.micro_batches // processes


def micro_batches(
    mixture: Mixture, recipe: TrainRecipe, accelerator: Accelerator, step: int
) -> Generator[tuple[int, Window]]:
    """This process's micro-batches with their global numbers, in order, after `step` steps.

    Those of a step are the same for every number of processes, and dealt so that all are done at
    about the same time (see `dealing`).

    Raises:
        ValueError: the data of the next one cannot be read; as without data-loading processes.
    """
    micro_batches_per_process(recipe, accelerator.num_processes)
    sampler = _Share(mixture, recipe, step, accelerator)
    loader = DataLoader(
        _MicroBatches(mixture),
        batch_size=None,
        sampler=sampler,
        num_workers=recipe.workers,
        worker_init_fn=_leave_with_the_trainer,
        pin_memory=accelerator.device.type == "cuda",
    )
    others = set(active_children())
    with _signals_waiting():
        read = iter(loader)
    workers = set(active_children()) - others
    try:
        for number, window in read:
            if isinstance(window, Exception):
                raise window
            yield number, window
    finally:
        for worker in workers:
            worker.terminate()


@contextmanager
def _signals_waiting() -> Iterator[None]:
    """What starts here hears of the job's end only when it can (see `_leave_with_the_trainer`)."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave_with_the_trainer(worker: int) -> None:
    """In a data-loading process: only the process that it works for may end it.

    Launchers and schedulers signal every process of a job, and the state is yet to be saved. So
    their signals wait for a thread that looks who sent them.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    threading.Thread(target=_heed, args=(os.getppid(),), daemon=True).start()


def _heed(trainer: int) -> None:
    while True:
        told = signal.sigwaitinfo(SIGNALS)
        if told.si_signo == signal.SIGTERM and told.si_pid == trainer:
            os._exit(0)


class _MicroBatches(Dataset[tuple[int, Window | Exception]]):
    """Micro-batches of a mixture by their global number, or why one cannot be read.

    An exception that a loader raises carries the traceback of its process; this one is the reason
    alone.
    """

    def __init__(self, mixture: Mixture) -> None:
        self.mixture = mixture

    def __getitem__(self, number: int) -> tuple[int, Window | Exception]:
        try:
            return number, self.mixture.batch(number)
        except (ValueError, OSError) as error:
            return number, error


class _Share(torch.utils.data.Sampler[int]):
    """Global numbers of one process's micro-batches, in order, from a step on."""

    def __init__(
        self, mixture: Mixture, recipe: TrainRecipe, step: int, accelerator: Accelerator
    ) -> None:
        self.mixture, self.steps = mixture, range(step, recipe.steps)
        self.per_step = recipe.micro_batches
        self.rank, self.processes = accelerator.process_index, accelerator.num_processes

    def __iter__(self) -> Iterator[int]:
        for step in self.steps:
            start = step * self.per_step
            numbers = range(start, start + self.per_step)
            dealt = deal(self.mixture.costs(numbers), self.processes)
            yield from (numbers[place] for place in dealt[self.rank])

    def __len__(self) -> int:
        return len(self.steps) * (self.per_step // self.processes)
