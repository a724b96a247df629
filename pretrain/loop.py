"""The training loop, for pretraining and fine-tuning alike. It reads from top to bottom."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict
from math import inf
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from ..datasets.fields.window import Window
from ..operators.core.operator import Operator
from .adaptation import Adaptation
from .batches import micro_batches, micro_batches_per_process
from .data import TrainingData
from .job import Job
from .nonfinite import Watch
from .objectives.base import Phase
from .objectives.registry import objective_of
from .optimizer import forget_resting, set_learning_rates
from .recipe import TrainRecipe
from .run import state as resume
from .run.directory import changes_of
from .run.log import Log, is_scored, rewind
from .run.pace import Pace
from .run.stop import Stopped
from .sharding import accumulating, shard
from .validation import validate

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

    Writes log, training states and finally `run/checkpoint`.

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
    watch = Watch(data.mixture, run, job.ranks)
    trainee, accelerator = _Trainee(operator, optimizer, recipe, job, watch), job.accelerator
    progress = trainee.resume(run)
    batches = micro_batches(data.mixture, recipe, accelerator, progress.step)
    running, logged = torch.zeros((), device=accelerator.device), progress.step
    began = time.perf_counter() - progress.seconds
    log = Log(run, title, progress.step, recipe, accelerator.is_main_process)
    pace = Pace(recipe.stop_within, accelerator)
    with log, job.saving(log, run), closing(batches):
        if not trainee.begin(progress, data.validation, log, run):
            raise Stopped(agreed=True)  # nothing has been learned since the last state
        for step in range(progress.step + 1, recipe.steps + 1):
            loss, norm, rate = trainee.step(step, batches, log)
            running += loss
            log.advance()
            pace.step(log)
            logs = step == recipe.steps or step % recipe.log_every == 0
            stopping = job.stops()
            if not (logs or stopping):
                continue
            watch.require_finite()
            done = resume.Progress(step, step * recipe.batch, round(time.perf_counter() - began, 3))
            if logs:
                mean = _mean(running / (step - logged), accelerator)
                running, logged = torch.zeros_like(running), step
                log.record("train", **asdict(done), loss=mean, lr=rate, grad_norm=norm.item())
            if not trainee.settle(done, run, data.validation, log, logs, stopping):
                log.say(f"stopped at step {step}; go on with --resume auto")
                raise Stopped(agreed=True)
    return trainee.finish(run, adaptation)


class _Trainee:
    """An operator in training: prepared for its processes, with objective and optimizer."""

    def __init__(
        self,
        operator: Operator,
        optimizer: Optimizer,
        recipe: TrainRecipe,
        job: Job,
        watch: Watch,
    ) -> None:
        accelerator = job.accelerator
        self.share = micro_batches_per_process(recipe, accelerator.num_processes)
        self.objective = objective_of(recipe.objective)
        self.phases = self.objective.phases(operator, recipe.steps)
        self.operator, self.optimizer = operator, optimizer
        self.recipe, self.job, self.accelerator = recipe, job, accelerator
        self.watch = watch
        self.normalizer = operator.description.normalizer
        self.model: nn.Module
        if job.shards:
            self.model = shard(operator, optimizer, accelerator)
        else:
            self.model = accelerator.prepare(operator)
        self.model.train()

    def resume(self, run: Path) -> resume.Progress:
        """Go on from the run's latest state, if it has one."""
        state = resume.latest(run)
        _require_same_state(state, run, self.accelerator)
        progress = resume.Progress()
        if state is not None:
            progress = resume.load_state(state, self.operator, self.model, self.optimizer)
        if self.accelerator.is_main_process:
            rewind(run, -1 if state is None else progress.step)
        return progress

    def begin(
        self,
        progress: resume.Progress,
        windows: Mapping[str, Sequence[Window]],
        log: Log,
        run: Path,
    ) -> bool:
        """Say where training starts, and make up for a validation that was due and is not on
        record: that of fresh weights, or one that was stopped. False: told to stop on the way."""
        step, recipe = progress.step, self.recipe
        if step:
            log.say(f"going on from step {step}")
        for change in changes_of(run, recipe):
            log.record("recipe", step=step, change=change)
            log.say(f"from here on, {change}")
        due = step % recipe.validation.every == 0 or step == recipe.steps
        if not due or (step and self.job.ranks.once(lambda: is_scored(run, step))):
            return True
        return self.validate(step, windows, log)

    def settle(
        self,
        done: resume.Progress,
        run: Path,
        windows: Mapping[str, Sequence[Window]],
        log: Log,
        logs: bool,
        stopping: bool,
    ) -> bool:
        """After a step that is logged, or at which training stops: save and validate as is due.

        What was learned is on disk before a validation, which may take long. False: told to stop.
        """
        recipe, last = self.recipe, done.step == self.recipe.steps
        saves = last or stopping or (logs and done.step % recipe.save_every == 0)
        if saves:
            self.save(run, done)
        validates = last or (logs and done.step % recipe.validation.every == 0)
        if not validates or stopping or self.validate(done.step, windows, log):
            return not stopping
        if not saves:
            self.save(run, done)
        return False

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
        )

    def finish(self, run: Path, adaptation: Adaptation | None) -> Operator:
        """Publish the run's checkpoint; the trained operator."""
        if self.accelerator.is_main_process:
            resume.publish(run, adaptation)
        self.accelerator.wait_for_everyone()
        return self.accelerator.unwrap_model(self.model)

    def step(
        self, step: int, batches: Generator[tuple[int, Window]], log: Log
    ) -> tuple[Tensor, Tensor, float]:
        """One optimizer step: this process's mean loss, the gradient norm, the learning rate."""
        config, accelerator = self.recipe.optimizer, self.accelerator
        rate = set_learning_rates(self.optimizer, step - 1, self.phases, config)
        total = self._gradient(step, self._phase(step, log), batches)
        forget_resting(self.optimizer)
        clip = inf if config.clip is None else config.clip
        norm = accelerator.clip_grad_norm_(self.model.parameters(), clip)
        assert norm is not None
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        self.watch.norm(step, norm)
        wrong = self.watch.skips(step, norm) if self.recipe.on_nonfinite == "skip" else None
        if wrong is None:
            self.optimizer.step()  # Accelerate's adds what only fp16 and XLA need
        else:
            log.say(f"{wrong}; this step is skipped")
            log.record("skipped", step=step, why=wrong)
            total, norm = torch.zeros_like(total), torch.zeros_like(norm)
        self.optimizer.zero_grad()
        return total, norm, rate

    def _phase(self, step: int, log: Log) -> Phase:
        """The phase of a step; the first step of a later one says so."""
        phase = next(phase for phase in self.phases if step - 1 in phase.steps)
        if step - 1 == phase.steps.start > 0:
            log.say(phase.begins)
        return phase

    def _gradient(self, step: int, phase: Phase, batches: Generator[tuple[int, Window]]) -> Tensor:
        """Accumulate the gradient of this process's micro-batches; their mean loss."""
        accelerator = self.accelerator
        total = torch.zeros((), device=accelerator.device)
        for i in range(self.share):
            number, window = next(batches)
            # Whatever draws random numbers (dropout) depends on the micro-batch alone.
            seed = _seed(self.recipe.seed, number)
            _set_seed(seed, accelerator.device)
            window = window.to(accelerator.device, non_blocking=True)
            waiting = i + 1 < self.share
            with accumulating(self.model, accelerator) if waiting else nullcontext():
                loss = phase.loss(self.model, window, self.normalizer, seed) / self.share
                accelerator.backward(loss)
            total += loss.detach()
            self.watch.loss(step, number, loss)
        return total

    def validate(self, step: int, windows: Mapping[str, Sequence[Window]], log: Log) -> bool:
        """Score every dataset and record it; the same random numbers every time, if any.

        False: told to stop on the way, and nothing is recorded.
        """

        def predict(window: Window, number: int) -> Tensor:
            seed = _seed(self.recipe.seed, _VALIDATION + number)
            return self.objective.predict(self.model, window, self.normalizer, seed)

        batch, stops = self.recipe.micro_batch, self.job.stops
        scores = validate(self.model, predict, windows, batch, self.accelerator, stops)
        for name, (score, persistence) in (scores or {}).items():
            log.record("valid", step=step, dataset=name, vrmse=score, persistence=persistence)
        return scores is not None


def _require_same_state(state: Path | None, run: Path, accelerator: Accelerator) -> None:
    """Refuse to go on from different states, as on machines that do not share a disk."""
    step = -1 if state is None else resume.read_progress(state).step
    steps = accelerator.gather(torch.tensor([step], device=accelerator.device))
    assert isinstance(steps, Tensor)
    seen = sorted({"none" if each < 0 else f"step {each}" for each in steps.tolist()})
    if len(seen) > 1:
        raise ValueError(
            f"the processes see different states of {run} ({', '.join(seen)}); it must lie on a "
            "disk that all machines share"
        )


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
