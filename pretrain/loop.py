"""The training loop, for pretraining and fine-tuning alike. It reads from top to bottom."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from math import inf, isfinite
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from ..datasets.fields.normalization import Normalizer
from ..datasets.fields.window import Window
from ..datasets.sampling.mixture import Mixture
from ..operators.core.operator import Operator
from .objectives.assimilation import assimilated, assimilation_loss, forecast_loss, forecast_steps
from .objectives.losses import loss_of
from .optimizer import forget_resting, set_learning_rates
from .recipe import TrainRecipe
from .run import state as resume
from .run.tracking import Tracker, rewind
from .validation import validate

_VALIDATION = 2**62  # no micro-batch has so large a number: validation has measurements of its own


class Stopped(SystemExit):
    """Training was told to stop (SIGTERM) and has saved its state."""


def train(
    operator: Operator,
    optimizer: Optimizer,
    mixture: Mixture,
    validation: Mapping[str, Sequence[Window]],
    recipe: TrainRecipe,
    run: Path,
    accelerator: Accelerator,
    *,
    title: str = "training",
) -> Operator:
    """Train `operator` by `recipe`, from the run's latest state if it has one.

    Writes log, training states and finally `run/checkpoint`. Every process calls it.

    Args:
        operator: initialised weights; replaced by the saved ones when the run is resumed.
        optimizer: over its parameters, from `build_optimizer`.
        mixture: micro-batches in their global order.
        validation: per dataset, the windows to validate on.
        recipe: steps, batch, objective, optimizer, ….
        run: the run directory, made by `run.create_run`.
        accelerator: the only distribution layer.
        title: shown beside the progress bar.

    Raises:
        ValueError: the number of processes does not divide the micro-batches of a step, a saved
            state is damaged or not seen by all of them, or the loss or its gradient is no longer
            finite.
        Stopped: on SIGTERM, after saving.
    """
    share = micro_batches_per_process(recipe, accelerator.num_processes)
    normalizer = operator.description.normalizer
    first_steps = forecast_steps(operator, recipe.objective.assimilation, recipe.steps)
    model, stepper = accelerator.prepare(operator, optimizer)
    model.train()
    state = resume.latest(run)
    _require_same_state(state, run, accelerator)
    progress = resume.Progress()
    if state is not None:
        progress = resume.load_state(state, operator, model, optimizer)
    if accelerator.is_main_process:
        rewind(run, -1 if state is None else progress.step)
    batches = _batches(mixture, recipe, accelerator, progress.step, share)
    tracker = Tracker(run, title, progress.step, recipe, accelerator.is_main_process)
    running, logged = torch.zeros((), device=accelerator.device), progress.step
    began = time.perf_counter() - progress.seconds

    with tracker, _stop_signal() as stop:
        if state is not None:
            tracker.say(f"going on from step {progress.step}")
        else:
            _validate(0, model, validation, recipe, accelerator, normalizer, tracker)
        for step in range(progress.step + 1, recipe.steps + 1):
            rate = set_learning_rates(
                optimizer, step - 1, recipe.steps, recipe.optimizer, first_steps
            )
            assimilating = _assimilates(step, first_steps, tracker)
            batch_loss = partial(_loss, model, recipe, normalizer, assimilating)
            loss, norm = _train_step(
                model, stepper, batches, share, recipe, batch_loss, accelerator
            )
            running += loss
            tracker.advance()
            last = step == recipe.steps
            if step % recipe.log_every and not last:
                continue

            seconds = time.perf_counter() - began
            done = resume.Progress(step, step * recipe.batch, round(seconds, 3))
            mean, stopping = _agree(running / (step - logged), stop.is_set, accelerator)
            running.zero_()
            logged = step
            _require_finite({"loss": mean, "gradient norm": norm.item()}, step, run)
            tracker.record("train", **asdict(done), loss=mean, lr=rate, grad_norm=norm.item())
            if step % recipe.validation.every == 0 or last:
                _validate(step, model, validation, recipe, accelerator, normalizer, tracker)
            if step % recipe.save_every == 0 or last or stopping:
                resume.save_state(run, operator, model, optimizer, done, accelerator)
            if stopping and not last:
                tracker.say(f"stopped at step {step}; go on with --resume auto")
                raise Stopped(128 + signal.SIGTERM)

    if accelerator.is_main_process:
        resume.publish(run)
    accelerator.wait_for_everyone()
    return accelerator.unwrap_model(model)


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


def _train_step(
    model: nn.Module,
    optimizer: Optimizer,
    batches: Iterator[tuple[int, Window]],
    share: int,
    recipe: TrainRecipe,
    batch_loss: Callable[[Window, int], Tensor],
    accelerator: Accelerator,
) -> tuple[Tensor, Tensor]:
    """One optimizer step; returns this process's mean loss and the gradient norm.

    `batch_loss` is the loss of a micro-batch, given a seed.
    """
    total = torch.zeros((), device=accelerator.device)
    for i in range(share):
        number, window = next(batches)
        # Whatever draws random numbers (dropout) depends on the micro-batch alone.
        torch.manual_seed(_seed(recipe.seed, number))
        window = window.to(accelerator.device, non_blocking=True)
        waiting = i + 1 < share
        with accelerator.no_sync(model) if waiting else nullcontext():
            loss = batch_loss(window, _seed(recipe.seed, number)) / share
            accelerator.backward(loss)
        total += loss.detach()
    forget_resting(optimizer)
    clip = inf if recipe.optimizer.clip is None else recipe.optimizer.clip
    norm = accelerator.clip_grad_norm_(model.parameters(), clip)
    assert norm is not None
    norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
    optimizer.step()
    optimizer.zero_grad()
    return total, norm


def _assimilates(step: int, first_steps: int, tracker: Tracker) -> bool:
    """Whether a step comes after those that train the forecast alone; the first says so."""
    if step == first_steps + 1 > 1:
        tracker.say("the forecast is learned; from here on the gain is trained")
    return step > first_steps


def _loss(
    model: nn.Module,
    recipe: TrainRecipe,
    normalizer: Normalizer,
    assimilating: bool,
    window: Window,
    seed: int,
) -> Tensor:
    """What the recipe minimises, of one micro-batch; before `assimilating` only the forecast."""
    loss, protocol = recipe.objective.loss, recipe.objective.assimilation
    if protocol is None:
        return loss_of(loss, model(window), window, normalizer)
    if not assimilating:
        return forecast_loss(model, window, loss, protocol, normalizer)
    return assimilation_loss(model, window, loss, protocol, normalizer, seed)


def _validate(
    step: int,
    model: nn.Module,
    validation: Mapping[str, Sequence[Window]],
    recipe: TrainRecipe,
    accelerator: Accelerator,
    normalizer: Normalizer,
    tracker: Tracker,
) -> None:
    """Score every dataset and record it; the same measurements every time, if there are any."""
    predict = None
    if recipe.objective.assimilation is not None:
        predict = partial(_analyse, model, recipe, normalizer)
    scores = validate(model, validation, recipe.micro_batch, accelerator, predict)
    for name, (score, persistence) in scores.items():
        tracker.record("valid", step=step, dataset=name, vrmse=score, persistence=persistence)


def _analyse(
    model: nn.Module, recipe: TrainRecipe, normalizer: Normalizer, window: Window, number: int
) -> Tensor:
    """The analyses along a batch of validation windows."""
    config = recipe.objective.assimilation
    assert config is not None
    return assimilated(model, window, config, normalizer, _seed(recipe.seed, _VALIDATION + number))


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


def _batches(
    mixture: Mixture, recipe: TrainRecipe, accelerator: Accelerator, step: int, share: int
) -> Iterator[tuple[int, Window]]:
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


def _agree(loss: Tensor, stop: bool, accelerator: Accelerator) -> tuple[float, bool]:
    """The loss averaged over processes, and whether any of them was told to stop."""
    packed = torch.stack((loss, torch.full_like(loss, float(stop))))
    reduced = accelerator.reduce(packed, "mean")
    assert isinstance(reduced, Tensor)
    mean, stopping = reduced.tolist()
    return mean, stopping > 0


def _seed(seed: int, number: int) -> int:
    """A seed for micro-batch `number`, unrelated to its neighbours'."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0])


def _require_finite(values: Mapping[str, float], step: int, run: Path) -> None:
    wrong = [f"the {name} is {value}" for name, value in values.items() if not isfinite(value)]
    if not wrong:
        return
    saved = resume.latest(run)
    kept = f"the last good state is {saved}" if saved else "nothing was saved yet"
    raise ValueError(
        f"{' and '.join(wrong)} at step {step}; {kept}. "
        "Lower optimizer.learning_rate, or clip gradients"
    )


class _Stop:
    """Set by the signal handler, read by the loop."""

    is_set = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        self.is_set = True


@contextmanager
def _stop_signal() -> Iterator[_Stop]:
    """Note SIGTERM instead of dying of it; the old handler is put back afterwards."""
    stop = _Stop()
    previous = signal.signal(signal.SIGTERM, stop.handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, previous)
