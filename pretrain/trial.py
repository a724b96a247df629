"""A dry run: what a job would take, measured by a few micro-batches before it starts.

Loading and learning are measured apart, on the machine and the processes that would train, with
real micro-batches and steps of the optimizer. Nothing is written.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from ..datasets.fields.window import Window
from ..datasets.sampling.dealing import deal
from ..datasets.sampling.mixture import Mixture
from ..operators.core.operator import Operator
from .batches import micro_batches
from .data import TrainingData
from .job import Job
from .meter import Meter, most_memory
from .nonfinite import Watch
from .recipe import TrainRecipe
from .run.log import Log
from .trainee import Feed, Trainee
from .validation import passes

_SECONDS = 1.5  # of loading and of learning, unless a single micro-batch takes longer
_MOST = 32  # micro-batches of either
_KEPT = 8  # of them are learned from
_LOOKED_AT = 64  # steps whose costs are looked up


@dataclass(frozen=True)
class Measured:
    """Seconds on the slowest process, and what else was found.

    Attributes:
        loading: of loading what costs 1 (see `Mixture.costs`).
        learning: of its forward and backward pass, and of the exchange of gradients.
        updating: of the optimizer's step.
        predicting: of a batch of validation.
        operations: on the device, of the first micro-batch: what is dispatched and no view.
        memory: the most bytes that a process took, by where.
    """

    loading: float
    learning: float
    updating: float
    predicting: float
    operations: int
    memory: dict[str, float]


@dataclass(frozen=True)
class Outlook:
    """What the whole job takes, without saves: seconds of a step, by what, and of all.

    Attributes:
        loads, learns: of a step, on the slowest process; whichever is longer counts.
        validates: of one validation.
        validations: how many there are at most.
        total: of the job.
        windows: of a step, over all processes.
    """

    loads: float
    learns: float
    validates: float
    validations: int
    total: float
    windows: float


def foretell(
    operator: Operator,
    optimizer: Optimizer,
    data: TrainingData,
    recipe: TrainRecipe,
    job: Job,
    price: float | None,
) -> list[str]:
    """What a job would take, a line each for people; every process calls it. The operator learns.

    Args:
        operator, optimizer, data, recipe, job: what `train` would be given.
        price: of an hour of one process.

    Raises:
        ValueError: data cannot be read, or a loss is not finite.
    """
    found = measure(operator, optimizer, data, recipe, job)
    outlook = foresee(found, data, recipe, job.ranks.count)
    return told(found, outlook, operator, job.ranks.count, price)


def measure(
    operator: Operator, optimizer: Optimizer, data: TrainingData, recipe: TrainRecipe, job: Job
) -> Measured:
    """Load, learn and validate for some seconds; every process calls it. The operator learns.

    Raises:
        ValueError: data cannot be read, or a loss is not finite.
    """
    # A step has one micro-batch of each process here, however many the recipe accumulates.
    batch = recipe.micro_batch * job.ranks.count
    short = replace(recipe, batch=batch, on_nonfinite="stop", profile=0)
    loading, kept = _loading(data.mixture, short, job)
    trainee = Trainee(operator, optimizer, short, job, data.objective)
    learning, updating, operations = _learning(trainee, data.mixture, kept)
    predicting = _predicting(trainee, data)
    memory = most_memory(job.accelerator.device)
    mine = Measured(loading, learning, updating, predicting, operations, memory)
    everyone = job.ranks.gather(mine)
    return Measured(
        max(each.loading for each in everyone),
        max(each.learning for each in everyone),
        max(each.updating for each in everyone),
        max(each.predicting for each in everyone),
        operations,
        {where: max(each.memory[where] for each in everyone) for where in memory},
    )


def _loading(
    mixture: Mixture, recipe: TrainRecipe, job: Job
) -> tuple[float, list[tuple[int, Window]]]:
    """Seconds by cost, and the first micro-batches."""
    kept: list[tuple[int, Window]] = []
    with closing(micro_batches(mixture, recipe, job.accelerator, 0)) as batches:
        if recipe.workers:  # they start, and fill their queues
            kept += itertools.islice(batches, 1)
        began, cost, took = time.perf_counter(), 0.0, 0.0
        for number, window in itertools.islice(batches, _MOST):
            took, cost = time.perf_counter() - began, cost + mixture.costs([number])[0]
            if len(kept) < _KEPT:
                kept.append((number, window))
            if took > _SECONDS:
                break
    return took / max(cost, 1.0), kept


def _learning(
    trainee: Trainee, mixture: Mixture, kept: list[tuple[int, Window]]
) -> tuple[float, float, int]:
    """Seconds by cost, seconds of the optimizer, and operations of a micro-batch."""
    job, device = trainee.job, trainee.accelerator.device
    log = Log(Path(), "", 0, trainee.recipe, active=False)
    watch, meter = Watch(mixture, Path(), job.ranks), Meter(job.ranks, device, trainee.share)
    feed = Feed((each for each in itertools.cycle(kept)), 0, watch, meter, lambda step: step)
    with Operations() as operations, _Updates(trainee.optimizer, lambda: operations.count) as at:
        trainee.step(1, feed, log, logs=False)
    counted = at.noted[0]
    warm = max(job.ranks.gather(len({window.dataset for _, window in kept})))  # one of each grid
    took = cost = 0.0
    with _Updates(trainee.optimizer, lambda: _now(device)) as times:
        for i in range(1, _MOST + warm):
            if i == warm:
                times.noted.clear()
            began = _now(device)
            trainee.step(1, feed, log, logs=False)
            if i >= warm:
                took += _now(device) - began
                cost += mixture.costs([kept[i % len(kept)][0]])[0]
            if job.ranks.any(took > _SECONDS):
                break
    bad = any(not value.isfinite().all() for _, value in watch.seen)
    if job.ranks.any(bad):
        raise ValueError(
            "the loss of the first steps is not finite; lower optimizer.learning_rate, or look at "
            "the data (pelagos data check)"
        )
    update = fmean(after - before for before, after in zip(*[iter(times.noted)] * 2, strict=True))
    steps = len(times.noted) // 2
    return (took - steps * update) / max(cost, 1.0), update, int(counted)


def _predicting(trainee: Trainee, data: TrainingData) -> float:
    """Seconds of a batch of validation, which was read before."""
    took = 0.0
    for _ in range(2):
        asked = itertools.count()
        began = _now(trainee.accelerator.device)
        trainee.validate(data.validation, lambda asked=asked: next(asked) >= 1)
        took = _now(trainee.accelerator.device) - began
    return took


def foresee(found: Measured, data: TrainingData, recipe: TrainRecipe, processes: int) -> Outlook:
    """What the whole job takes by what was measured."""
    loads, learns, windows = [], [], []
    for step in range(min(recipe.steps, _LOOKED_AT)):
        first = step * recipe.micro_batches
        costs = data.mixture.costs(range(first, first + recipe.micro_batches))
        slowest = max(sum(costs[i] for i in hand) for hand in deal(costs, processes))
        loads.append(slowest * found.loading)
        learns.append(slowest * found.learning + found.updating)
        windows.append(data.mixture.windows_before(first + recipe.micro_batches))
    sets = 1 if recipe.average is None else 2
    batches = passes(data.validation, recipe.micro_batch, processes)
    validates = sets * batches * found.predicting
    validations = recipe.steps // recipe.validation.every + 1
    training = recipe.steps * fmean(map(max, loads, learns))
    return Outlook(
        fmean(loads),
        fmean(learns),
        validates,
        validations,
        training + validations * validates,
        windows[-1] / len(windows),
    )


def told(
    found: Measured, outlook: Outlook, operator: Operator, processes: int, price: float | None
) -> list[str]:
    """For people, a line each.

    Args:
        found, outlook: from `measure` and `foresee`.
        operator: that was tried.
        processes: how many would train.
        price: of an hour of one.
    """
    hours = outlook.total / 3600
    cost = "" if price is None else f", which cost {hours * processes * price:.2f} at {price:g}"
    where = {"host_bytes": "of the host", "device_bytes": "of the device"}
    memory = ", ".join(f"{_bytes(most)} {where[name]}" for name, most in found.memory.items())
    saved = 3.0 * sum(p.numel() * p.element_size() for p in operator.parameters())
    slower = "loading" if outlook.loads > outlook.learns else "the model"
    return [
        f"memory of a process, measured in small: {memory}; a state takes about {_bytes(saved)}",
        f"loading gives {outlook.windows / max(outlook.loads, 1e-9):,.0f} windows/s, the model "
        f"takes {outlook.windows / max(outlook.learns, 1e-9):,.0f}: {slower} sets the pace, and a "
        f"step takes {_time(max(outlook.loads, outlook.learns))}",
        f"a micro-batch has {found.operations:,} operations on the device, forward and back",
        f"the job would take {_time(outlook.total)} without saves, {outlook.validations} "
        f"validations of {_time(outlook.validates)} in it: {hours * processes:.3g} process-hours"
        f"{cost}",
    ]


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _time(seconds: float) -> str:
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _now(device: torch.device) -> float:
    """The time when all that was launched is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class Operations(TorchDispatchMode):
    """Counts what is dispatched and is no view."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


class _Updates:
    """Notes a number before and after every step of an optimizer."""

    def __init__(self, optimizer: Optimizer, number: Callable[[], float]) -> None:
        self.noted: list[float] = []
        self._optimizer, self._note = optimizer, lambda *_: self.noted.append(number())

    def __enter__(self) -> _Updates:
        pre = self._optimizer.register_step_pre_hook(self._note)
        self._hooks = (pre, self._optimizer.register_step_post_hook(self._note))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
