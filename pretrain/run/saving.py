"""Training states are written at once, or while training goes on; by one process, or by all.

In the background, a thread writes a copy in host memory, and the next save waits for the one
before. A state counts when it has its name, which it gets when all of it is on disk: a process that
is killed before that goes on from the state before.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.checkpoint import staging
from torch.distributed.checkpoint.staging import AsyncStager
from torch.optim import Optimizer

from ...datasets.base.appearing import naming_full_disk
from ...datasets.base.manifest import seal
from ...operators.core import checkpoint
from ...operators.core.operator import Operator
from ..average import Average
from ..ranks import Ranks
from ..recipe import StatesConfig
from . import shards
from . import state as resume
from .stop import Stopped


@dataclass(frozen=True)
class Trained:
    """What a training state holds.

    Attributes:
        operator: in training.
        model: the operator as it is prepared for its processes.
        optimizer: over its parameters.
        average: of its weights.
    """

    operator: Operator
    model: nn.Module
    optimizer: Optimizer
    average: Average | None


class Saver:
    """Writes the training states of a run; every process has one, and calls the same methods.

    Args:
        config: by whom and when.
        keep: how many states, the newest, stay.
        accelerator: the only distribution layer.
        sharded: whether parameters are.
    """

    def __init__(
        self, config: StatesConfig, keep: int, accelerator: Accelerator, *, sharded: bool
    ) -> None:
        self.keep, self.accelerator = keep, accelerator
        self.ranks = Ranks(accelerator)  # a group of its own: training talks meanwhile
        self.sharded = shards.wanted(config.sharded, sharded) and self.ranks.count > 1
        self._pool = ThreadPoolExecutor(1, "state") if config.background else None
        self._stager = _stager() if config.background else None
        self._written: Future[None] | None = None

    def __enter__(self) -> Saver:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """What is under way is finished, unless other processes fail."""
        if error is None or (isinstance(error, Stopped) and error.agreed):
            self.wait()
        elif self._written is not None and self.ranks.count == 1:
            self._written.exception()
        if self._pool is not None:
            self._pool.shutdown(wait=False)

    def save(self, run: Path, trained: Trained, progress: resume.Progress) -> None:
        """Write a training state, or begin to."""
        if self._pool is None and not self.sharded:
            about = trained.operator, trained.model, trained.optimizer
            resume.save_state(run, *about, progress, self.accelerator, self.keep, trained.average)
            return
        self.wait()
        write = self._prepared(run, trained, progress)
        if self._pool is not None:
            self._written = self._pool.submit(write)
        else:
            write()
            self.accelerator.wait_for_everyone()

    def check(self) -> None:
        """Raise what failed in the background, if anything has."""
        if self._written is not None and self._written.done():
            self._written.result()

    def wait(self) -> None:
        """Until what was begun is on disk, on all processes."""
        if self._written is None:
            return
        written, self._written = self._written, None
        written.result()
        self.accelerator.wait_for_everyone()

    def _prepared(
        self, run: Path, trained: Trained, progress: resume.Progress
    ) -> Callable[[], None]:
        """What writes a state; it needs nothing that goes on changing."""
        whole, main = not self.sharded, self.accelerator.is_main_process
        tensors = resume.tensors_of(trained.model, trained.optimizer, trained.average, whole=whole)
        if self._stager is not None and (self.sharded or main):
            staged = self._stager.stage(tensors)
            assert isinstance(staged, dict)
            tensors = staged
        config = checkpoint.config_of(trained.operator)
        if self.sharded:
            return lambda: self._write_shards(run, config, tensors, progress)
        if main:
            return lambda: resume.write_whole(run, config, tensors, progress, self.keep)
        return _nothing

    def _write_shards(
        self,
        run: Path,
        config: dict[str, Any],
        tensors: dict[str, Tensor],
        progress: resume.Progress,
    ) -> None:
        """On all processes; the main one makes the state of it."""
        main = self.ranks.rank == 0
        appearing = resume.appearing_state(run, progress, self.keep) if main else nullcontext()
        with naming_full_disk(run / "state"), appearing as own:
            draft = self.ranks.once(lambda: own)
            assert draft is not None
            digests = shards.write(draft, tensors, self.ranks)
            if main:
                checkpoint.write_config(draft / "operator", config)
                seal(draft, digests)


def _stager() -> AsyncStager:
    """Copies tensors to host memory, which is pinned where there is a device, and kept."""
    device = torch.cuda.is_available()
    if not hasattr(staging, "DefaultStager"):  # torch 2.8
        return staging.BlockingAsyncStager(cache_staged_state_dict=device)
    return staging.DefaultStager(
        staging.StagingOptions(
            use_pinned_memory=device,
            use_shared_memory=False,
            use_async_staging=False,
            use_non_blocking_copy=device,
        )
    )


def _nothing() -> None:
    pass
