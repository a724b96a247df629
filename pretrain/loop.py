"""The training loop, for pretraining and fine-tuning alike. It reads from top to bottom."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.optim import Optimizer

from ..operators.core.operator import Operator
from .adaptation import Adaptation
from .batches import micro_batches
from .course import Course, order_seed
from .data import TrainingData
from .job import Job
from .meter import Meter
from .nonfinite import NotFinite, Watch
from .profiling import profiled
from .recipe import TrainRecipe
from .run import state as resume
from .run.log import Log
from .run.pace import Pace
from .run.stop import Stopped
from .trainee import Feed, Taken, Trainee


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
    course = Course(Trainee(operator, optimizer, recipe, job, data.objective), data, run)
    progress = course.resume()
    log = Log(run, title, progress.step, recipe, job.accelerator.is_main_process)
    with log, job.saving(log, run), course.trainee.saver:
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
    feed = _feed(course, progress)
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
            trainee.saver.check()
            trace()
            stopping = job.stops()
            if not (logs or stopping):
                continue
            feed.watch.require_finite()
            seconds = round(time.perf_counter() - began, 3)
            samples = feed.samples(step)
            done = replace(progress, step=step, samples=samples, seconds=seconds)
            if logs:
                mean = _mean(running / (step - logged), accelerator)
                _record(log, done, mean, taken, feed.meter.losses())
                log.record(
                    "speed",
                    step=step,
                    **feed.meter.speed(step - logged, samples - feed.samples(logged)),
                )
                running, logged = torch.zeros_like(running), step
            if not course.settle(done, log, logs, stopping):
                log.say(f"stopped at step {step}; go on with --resume auto")
                raise Stopped(agreed=True)
            feed.meter.resume()


def _feed(course: Course, progress: resume.Progress) -> Feed:
    """What follows `progress`."""
    trainee, recipe = course.trainee, course.recipe
    seed = order_seed(recipe.seed, progress.rewinds)
    mixture = course.data.mixture.reordered(seed)
    batches = micro_batches(mixture, recipe, trainee.accelerator, progress.step)
    watch = Watch(mixture, course.run, course.ranks)
    meter = Meter(course.ranks, trainee.accelerator.device, trainee.share)
    each = recipe.micro_batches
    before = progress.samples - mixture.windows_before(progress.step * each)

    def samples(step: int) -> int:
        return before + mixture.windows_before(step * each)

    return Feed(batches, seed, watch, meter, samples)


def _record(
    log: Log, done: resume.Progress, loss: float, taken: Taken, losses: dict[str, float]
) -> None:
    """A line about the last step, and the losses since the line before."""
    progress = {"step": done.step, "samples": done.samples, "seconds": done.seconds}
    numbers = {"loss": loss, "lr": taken.rate, "grad_norm": taken.norm.item()}
    log.record("train", **progress, **numbers, **losses, **taken.parts)


def _mean(loss: Tensor, accelerator: Accelerator) -> float:
    """The loss averaged over processes."""
    reduced = accelerator.reduce(loss, "mean")
    assert isinstance(reduced, Tensor)
    return reduced.item()
