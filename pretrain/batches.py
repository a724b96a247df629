"""Micro-batches of a run as each process reads them, from any step on."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset

from ..datasets.fields.window import Window
from ..datasets.sampling.mixture import Mixture
from .recipe import TrainRecipe


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
) -> Iterator[tuple[int, Window]]:
    """This process's micro-batches with their global numbers, in order, after `step` steps."""
    share = micro_batches_per_process(recipe, accelerator.num_processes)
    sampler = _Share(recipe, step, accelerator.process_index, share)
    return iter(
        DataLoader(
            _MicroBatches(mixture),
            batch_size=None,
            sampler=sampler,
            num_workers=recipe.workers,
            worker_init_fn=_outlive_stop_signal,
            pin_memory=accelerator.device.type == "cuda",
        )
    )


def _outlive_stop_signal(worker: int) -> None:
    """In a data-loading process: launchers signal whole groups, and the state is yet to be saved.

    It ends with the process that it works for.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class _MicroBatches(Dataset[tuple[int, Window]]):
    """Micro-batches of a mixture by their global number."""

    def __init__(self, mixture: Mixture) -> None:
        self.mixture = mixture

    def __getitem__(self, number: int) -> tuple[int, Window]:
        return number, self.mixture.batch(number)


class _Share(torch.utils.data.Sampler[int]):
    """Global numbers of one process's micro-batches, in order, from a step on."""

    def __init__(self, recipe: TrainRecipe, step: int, rank: int, share: int) -> None:
        self.first, self.steps = rank * share, range(step, recipe.steps)
        self.share, self.per_step = share, recipe.micro_batches

    def __iter__(self) -> Iterator[int]:
        for step in self.steps:
            start = step * self.per_step + self.first
            yield from range(start, start + self.share)

    def __len__(self) -> int:
        return len(self.steps) * self.share
