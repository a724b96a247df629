"""What is trained: an operator with its objective, optimizer and average, on all processes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from ..datasets.fields.window import Window
from ..operators.core.operator import Operator
from .accelerating import begin_pass
from .average import Average
from .batches import micro_batches_per_process
from .held_out import LongWindows
from .job import Job
from .meter import Meter, gradient_norms
from .nonfinite import Watch
from .objectives.base import Objective, Phase
from .optimizer import forget_resting, set_learning_rates
from .recipe import TrainRecipe
from .run import state as resume
from .run.log import Log
from .run.saving import Saver, Trained
from .selection import AVERAGE, LAST
from .sharding import accumulating, shard
from .validation import Validated, validate

_VALIDATION = 2**62  # no micro-batch has this number: validation draws numbers of its own


class Taken(NamedTuple):
    """One optimizer step: this process's mean loss, gradient norm, learning rate, and the norms of
    the gradient's parts where the step is logged."""

    loss: Tensor
    norm: Tensor
    rate: float
    parts: dict[str, float]


@dataclass(frozen=True)
class Feed:
    """The data in one order, and who looks at what is learned from them.

    Attributes:
        batches: this process's micro-batches with their numbers.
        seed: of the order.
        watch: whether losses and gradients are finite.
        meter: how fast it goes.
        samples: windows that all processes have seen after a step; this order may follow another.
    """

    batches: Generator[tuple[int, Window]]
    seed: int
    watch: Watch
    meter: Meter
    samples: Callable[[int], int]


class Trainee:
    """An operator in training: prepared for its processes, with objective and optimizer."""

    def __init__(
        self,
        operator: Operator,
        optimizer: Optimizer,
        recipe: TrainRecipe,
        job: Job,
        objective: Objective[Any],
    ) -> None:
        accelerator = job.accelerator
        self.share = micro_batches_per_process(recipe, accelerator.num_processes)
        self.objective = objective
        self.phases = recipe.phases(operator, objective)
        self.operator, self.optimizer = operator, optimizer
        self.recipe, self.job, self.accelerator = recipe, job, accelerator
        self.normalizer = operator.description.normalizer
        self.model: nn.Module
        if job.shards:
            self.model = shard(operator, optimizer, accelerator)
        else:
            self.model = accelerator.prepare(operator)
        self.model.train()
        config = recipe.average
        self.average = None if config is None else Average(operator, config.decay)
        self.saver = Saver(recipe.states, recipe.keep, accelerator, sharded=job.shards)

    def save(self, run: Path, progress: resume.Progress) -> None:
        """Save the training state, or begin to (see `saver`)."""
        trained = Trained(self.operator, self.model, self.optimizer, self.average)
        learned = replace(progress, objective=self.objective.memory())
        self.saver.save(run, trained, learned)

    def load(self, state: Path) -> resume.Progress:
        """Take a saved training state."""
        progress = resume.load_state(state, self.operator, self.model, self.optimizer, self.average)
        self.objective.recall(progress.objective)
        return progress

    def weights(self, kind: str) -> dict[str, Tensor]:
        """The last weights or the average, as this process has them; not copied."""
        average = self.average if kind == AVERAGE else None
        return resume.weights_in(self.model, average)

    def step(self, step: int, feed: Feed, log: Log, logs: bool) -> Taken:
        """One optimizer step; `logs`: a log line will tell of it."""
        config, accelerator = self.recipe.optimizer, self.accelerator
        rate = set_learning_rates(self.optimizer, step - 1, self.phases, config)
        self.objective.begin(step - 1, feed.seed)
        total = self._gradient(step, self._phase(step, log), feed)
        forget_resting(self.optimizer)
        parts = gradient_norms(self.operator) if logs else {}
        clip = inf if config.clip is None else config.clip
        norm = accelerator.clip_grad_norm_(self.model.parameters(), clip)
        assert norm is not None
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        feed.watch.norm(step, norm)
        wrong = feed.watch.skips(step, norm) if self.recipe.on_nonfinite == "skip" else None
        if wrong is None:
            self.optimizer.step()  # Accelerate's adds what only fp16 and XLA need
        else:
            log.say(f"{wrong}; this step is skipped")
            log.record("skipped", step=step, why=wrong)
            total, norm = torch.zeros_like(total), torch.zeros_like(norm)
        if self.average is not None:
            self.average.update(step)
        self.optimizer.zero_grad()
        return Taken(total, norm, rate, parts)

    def _phase(self, step: int, log: Log) -> Phase:
        """The phase of a step; the first step of a later one says so."""
        phase = next(phase for phase in self.phases if step - 1 in phase.steps)
        if step - 1 == phase.steps.start > 0:
            log.say(phase.begins)
        return phase

    def _gradient(self, step: int, phase: Phase, feed: Feed) -> Tensor:
        """Accumulate the gradient of this process's micro-batches; their mean loss."""
        accelerator = self.accelerator
        total, numbers = torch.zeros((), device=accelerator.device), []
        for i in range(self.share):
            number, window = feed.meter.next(feed.batches)
            numbers.append(number)
            # Whatever draws random numbers (dropout) depends on the micro-batch alone.
            seed = _seed(feed.seed, number)
            _set_seed(seed, accelerator.device)
            window = window.to(accelerator.device, non_blocking=True)
            waiting = i + 1 < self.share
            begin_pass(self.recipe.compile)
            with accumulating(self.model, accelerator) if waiting else nullcontext():
                loss = phase.loss(self.model, window, self.normalizer, seed) / self.share
                accelerator.backward(loss)
            total += loss.detach()
            feed.watch.loss(step, number, loss)
            feed.meter.loss(window.context.dataset, loss)
        self._learn(numbers)
        return total

    def _learn(self, numbers: list[int]) -> None:
        """The objective learns from what it noted of all processes' micro-batches, in order."""
        notes = self.objective.notes()
        if notes is None:
            return
        places = self.accelerator.gather(torch.tensor(numbers, device=notes.device))
        rows = self.accelerator.gather(notes)
        assert isinstance(places, Tensor)
        assert isinstance(rows, Tensor)
        self.objective.learn(rows[places.argsort()])

    def validate(
        self, windows: Mapping[str, LongWindows], stops: Callable[[], bool] | None = None
    ) -> dict[str, Validated] | None:
        """Every dataset's scores with the last weights, and with the average if there is one.

        None: told to stop on the way.

        Args:
            windows: to score.
            stops: whether to stop, in place of the job's answer; the same on all processes.
        """
        stops = stops or self.job.stops
        found = {LAST: self._scores(windows, stops)}
        if self.average is not None and found[LAST] is not None:
            with self.average.swapped():
                found[AVERAGE] = self._scores(windows, stops)
        complete = {weights: scores for weights, scores in found.items() if scores is not None}
        return complete if len(complete) == len(found) else None

    def _scores(
        self, windows: Mapping[str, LongWindows], stops: Callable[[], bool]
    ) -> Validated | None:
        """With the same random numbers every time, if any."""

        seed = _seed(self.recipe.seed, _VALIDATION)

        def predict(window: Window, first: int) -> Tensor:
            begin_pass(self.recipe.compile)
            return self.objective.predict(self.model, window, self.normalizer, seed, first)

        batch = self.recipe.micro_batch
        return validate(self.model, predict, windows, batch, self.accelerator, stops)


def _set_seed(seed: int, device: torch.device) -> None:
    """As `torch.manual_seed`, for the devices in use.

    That one keeps each call, with the stack it came from, for every kind of device that may be used
    later: a third of a millisecond, and some memory, per step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)


def _seed(seed: int, number: int) -> int:
    """A seed for micro-batch `number`, unrelated to its neighbours'."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0])
