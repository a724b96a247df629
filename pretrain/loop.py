"""The training loop, for pretraining and fine-tuning alike. It reads from top to bottom."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from ..datasets.fields.window import Window
from ..operators.core.operator import Operator
from .adaptation import Adaptation
from .average import Average
from .batches import micro_batches, micro_batches_per_process
from .course import Course, order_seed
from .data import TrainingData
from .job import Job
from .meter import Meter, gradient_norms
from .nonfinite import NotFinite, Watch
from .objectives.base import Phase
from .objectives.registry import objective_of
from .optimizer import forget_resting, set_learning_rates
from .profiling import profiled
from .recipe import TrainRecipe
from .run import state as resume
from .run.log import Log
from .run.pace import Pace
from .run.stop import Stopped
from .selection import AVERAGE, LAST
from .sharding import accumulating, shard
from .validation import Validated, validate

_VALIDATION = 2**62  # no micro-batch has so large a number: validation draws numbers of its own


def train(
    operator: Operator,
    optimizer: Optimizer,
    data: TrainingData,
    recipe: TrainRecipe,
    run: Path,
    job: Job,
    *,
    title: str = "training",
    adaptation: Adaptation | None = None,
) -> Operator:
    """Train `operator` by `recipe`, from the run's latest state if it has one; all processes do.

    Writes log, training states, the best weights and finally `run/checkpoint`.

    Args:
        operator: initialised weights; replaced by the saved ones when the run is resumed.
        optimizer: over its parameters, from `build_optimizer` with the objective's phases.
        data: windows to train and to validate on.
        recipe: steps, batch, objective, optimizer, ….
        run: the run directory, made by `directory.create_run`.
        job: its processes, and whether they are told to stop.
        title: shown beside the progress bar.
        adaptation: what was changed of the operator, and is undone in what is published.

    Raises:
        ValueError: processes cannot share the micro-batches, a saved state is damaged or not seen
            by all, or the loss or its gradient is no longer finite.
        Stopped: on SIGTERM, SIGUSR1 or SIGUSR2, after saving.
    """
    course = Course(Trainee(operator, optimizer, recipe, job), data, run)
    progress = course.resume()
    log = Log(run, title, progress.step, recipe, job.accelerator.is_main_process)
    with log, job.saving(log, run):
        course.announce(progress.step, log)
        while True:
            try:
                _follow(course, progress, log)
                return course.finish(adaptation, log)
            except NotFinite as failure:
                progress = course.go_back(failure, progress.rewinds + 1, log)


def _follow(course: Course, progress: resume.Progress, log: Log) -> None:
    """Train to the end, in the order of the data that belongs to `progress`.

    Raises:
        NotFinite: the loss or its gradient is no longer finite.
        Stopped: training was told to stop, and what was learned is saved.
    """
    trainee, run = course.trainee, course.run
    recipe, job, accelerator = trainee.recipe, trainee.job, trainee.accelerator
    feed = Feed.of(course, progress)
    running, logged = torch.zeros((), device=accelerator.device), progress.step
    began = time.perf_counter() - progress.seconds
    pace = Pace(recipe.stop_within, accelerator)
    with closing(feed.batches), profiled(run, progress.step + 1, recipe.profile, log) as trace:
        if not course.begin(progress, log):
            raise Stopped(agreed=True)  # nothing has been learned since the last state
        feed.meter.resume()
        for step in range(progress.step + 1, recipe.steps + 1):
            if course.enough:
                return
            logs = step == recipe.steps or step % recipe.log_every == 0
            taken = trainee.step(step, feed, log, logs)
            running += taken.loss
            log.advance()
            pace.step(log)
            trace()
            stopping = job.stops()
            if not (logs or stopping):
                continue
            feed.watch.require_finite()
            seconds = round(time.perf_counter() - began, 3)
            done = replace(progress, step=step, samples=step * recipe.batch, seconds=seconds)
            if logs:
                mean = _mean(running / (step - logged), accelerator)
                _record(log, done, mean, taken, feed.meter.losses())
                log.record("speed", step=step, **feed.meter.speed(step - logged, recipe.batch))
                running, logged = torch.zeros_like(running), step
            if not course.settle(done, log, logs, stopping):
                log.say(f"stopped at step {step}; go on with --resume auto")
                raise Stopped(agreed=True)
            feed.meter.resume()


class Taken(NamedTuple):
    """One optimizer step: this process's mean loss, gradient norm, learning rate, and the norms of
    the gradient's parts where the step is logged."""

    loss: Tensor
    norm: Tensor
    rate: float
    parts: dict[str, float]


def _record(
    log: Log, done: resume.Progress, loss: float, taken: Taken, losses: dict[str, float]
) -> None:
    """A line about the last step, and the losses since the line before."""
    progress = {"step": done.step, "samples": done.samples, "seconds": done.seconds}
    numbers = {"loss": loss, "lr": taken.rate, "grad_norm": taken.norm.item()}
    log.record("train", **progress, **numbers, **losses, **taken.parts)


@dataclass(frozen=True)
class Feed:
    """The data in one order, and who looks at what is learned from them.

    Attributes:
        batches: this process's micro-batches with their numbers.
        seed: of the order.
        watch: whether losses and gradients are finite.
        meter: how fast it goes.
    """

    batches: Generator[tuple[int, Window]]
    seed: int
    watch: Watch
    meter: Meter

    @classmethod
    def of(cls, course: Course, progress: resume.Progress) -> Feed:
        """What follows `progress`."""
        trainee, recipe = course.trainee, course.recipe
        seed = order_seed(recipe.seed, progress.rewinds)
        mixture = course.data.mixture.reordered(seed)
        batches = micro_batches(mixture, recipe, trainee.accelerator, progress.step)
        watch = Watch(mixture, course.run, course.ranks)
        return cls(
            batches, seed, watch, Meter(course.ranks, trainee.accelerator.device, trainee.share)
        )


class Trainee:
    """An operator in training: prepared for its processes, with objective and optimizer."""

    def __init__(
        self,
        operator: Operator,
        optimizer: Optimizer,
        recipe: TrainRecipe,
        job: Job,
    ) -> None:
        accelerator = job.accelerator
        self.share = micro_batches_per_process(recipe, accelerator.num_processes)
        self.objective = objective_of(recipe.objective)
        self.phases = self.objective.phases(operator, recipe.steps)
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

    def save(self, run: Path, progress: resume.Progress) -> None:
        """Save the training state."""
        resume.save_state(
            run,
            self.operator,
            self.model,
            self.optimizer,
            progress,
            self.accelerator,
            self.recipe.keep,
            self.average,
        )

    def load(self, state: Path) -> resume.Progress:
        """Take a saved training state."""
        return resume.load_state(state, self.operator, self.model, self.optimizer, self.average)

    def weights(self, kind: str) -> dict[str, Tensor]:
        """The last weights or the average, whole, on the main process; every process calls it."""
        if self.average is None or kind == LAST:
            return resume.full_weights(self.model)
        with self.average.swapped():
            return {k: v.clone() for k, v in resume.full_weights(self.model).items()}

    def step(self, step: int, feed: Feed, log: Log, logs: bool) -> Taken:
        """One optimizer step; `logs`: a log line will tell of it."""
        config, accelerator = self.recipe.optimizer, self.accelerator
        rate = set_learning_rates(self.optimizer, step - 1, self.phases, config)
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
        total = torch.zeros((), device=accelerator.device)
        for i in range(self.share):
            number, window = feed.meter.next(feed.batches)
            # Whatever draws random numbers (dropout) depends on the micro-batch alone.
            seed = _seed(feed.seed, number)
            _set_seed(seed, accelerator.device)
            window = window.to(accelerator.device, non_blocking=True)
            waiting = i + 1 < self.share
            with accumulating(self.model, accelerator) if waiting else nullcontext():
                loss = phase.loss(self.model, window, self.normalizer, seed) / self.share
                accelerator.backward(loss)
            total += loss.detach()
            feed.watch.loss(step, number, loss)
            feed.meter.loss(window.context.dataset, loss)
        return total

    def validate(self, windows: Mapping[str, Sequence[Window]]) -> dict[str, Validated] | None:
        """Every dataset's scores with the last weights, and with the average if there is one.

        None: told to stop on the way.
        """
        found = {LAST: self._scores(windows)}
        if self.average is not None and found[LAST] is not None:
            with self.average.swapped():
                found[AVERAGE] = self._scores(windows)
        complete = {weights: scores for weights, scores in found.items() if scores is not None}
        return complete if len(complete) == len(found) else None

    def _scores(self, windows: Mapping[str, Sequence[Window]]) -> Validated | None:
        """With the same random numbers every time, if any."""

        def predict(window: Window, number: int) -> Tensor:
            seed = _seed(self.recipe.seed, _VALIDATION + number)
            return self.objective.predict(self.model, window, self.normalizer, seed)

        batch, stops = self.recipe.micro_batch, self.job.stops
        return validate(self.model, predict, windows, batch, self.accelerator, stops)


def _mean(loss: Tensor, accelerator: Accelerator) -> float:
    """The loss averaged over processes."""
    reduced = accelerator.reduce(loss, "mean")
    assert isinstance(reduced, Tensor)
    return reduced.item()


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
