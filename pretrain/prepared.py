"""What is trained, made ready and looked at: what cannot work fails before the first step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch.optim import Optimizer

from ..datasets.base.processes import Processes
from ..datasets.fields.window import collate
from ..datasets.stores.store import Store
from ..operators.core import checkpoint
from ..operators.core.operator import Operator
from .accelerating import compile_blocks
from .adaptation import Adaptation
from .data import TrainingData, open_stores, training_data
from .job import Job
from .objectives.unrolled import UnrolledConfig
from .optimizer import build_optimizer
from .recipe import TrainRecipe
from .start import left_out
from .untold import untold

R = TypeVar("R", bound=TrainRecipe)


@dataclass(frozen=True)
class Prepared:
    """An operator with all that it is trained with.

    Attributes:
        operator: with initial weights; those of a saved state are read later.
        optimizer: over its parameters.
        stores: the training data.
        data: windows of them, and those to validate on.
        lines: what is said before the first step.
    """

    operator: Operator
    optimizer: Optimizer
    stores: Sequence[Store]
    data: TrainingData
    lines: list[str]


def prepare(
    recipe: R,
    make_operator: Callable[[R, list[Store], Processes], Operator],
    saved: Path | None,
    job: Job,
    adaptation: Adaptation | None,
) -> Prepared:
    """Open the data, make the operator and try it out. Writes nothing.

    Args:
        recipe: what to train.
        make_operator: what a new run starts from; processes share the reading for its statistics.
        saved: the state that training goes on from, whose operator is as it was then.
        job: the processes.
        adaptation: what fine-tuning changes while training.

    Raises:
        ValueError: anything in the recipe, the state or the data is wrong.
    """
    stores = open_stores(recipe)
    if saved is None:
        operator = make_operator(recipe, stores, job.ranks)
    else:
        operator = _as_saved(saved, adaptation, recipe.seed)
    data, device = training_data(recipe, stores, operator), job.accelerator.device
    optimizer = _optimizer(recipe, operator, data, adaptation, device)
    _require_whole(data, job)
    looked = _try_out(operator, data, adaptation if saved is None else None)
    compile_blocks(operator, recipe.compile, device)
    lines = [_summary(recipe, operator, stores, job), *left_out(operator, stores)]
    lines += [*untold(operator, stores), *_unreached(recipe), *looked]
    return Prepared(operator, optimizer, stores, data, lines)


def _unreached(recipe: TrainRecipe) -> list[str]:
    """What is said, at most a line, of a horizon to which training is too short to grow."""
    objective = recipe.objective
    if not isinstance(objective, UnrolledConfig) or objective.curriculum is None:
        return []
    last = objective.curriculum.horizon(recipe.steps - 1, objective.horizon)
    if last == objective.horizon:
        return []
    return [
        f"{recipe.steps} steps end before objective.curriculum comes to objective.horizon "
        f"({objective.horizon}): at most {last} frame(s) are predicted in training; lower "
        f"objective.curriculum.every ({objective.curriculum.every})"
    ]


def _optimizer(
    recipe: TrainRecipe,
    operator: Operator,
    data: TrainingData,
    adaptation: Adaptation | None,
    device: torch.device,
) -> Optimizer:
    """Over the operator's parameters, at the rates and in the phases of its training."""
    rates = {} if adaptation is None else adaptation.rates(operator)
    phases = recipe.phases(operator, data.objective)
    return build_optimizer(operator, recipe.optimizer, rates, phases, device)


def _as_saved(state: Path, adaptation: Adaptation | None, seed: int) -> Operator:
    """The operator of a training state, changed for its training, before its weights are read."""
    operator = checkpoint.build(checkpoint.read_config(state / "operator"))
    if adaptation is not None:
        adaptation.prepare(operator, seed)
    return operator


def _summary(recipe: TrainRecipe, operator: Operator, stores: Sequence[Store], job: Job) -> str:
    count = sum(p.numel() for p in operator.parameters() if p.requires_grad)
    half = ", gathered in bf16" if recipe.precision == "bf16" else ""
    shards = f", with parameters sharded by block (FSDP2){half}; other --fsdp options do nothing"
    return (
        f"{operator.name} with {count:,} trainable parameters on "
        f"{', '.join(store.name for store in stores)}; {recipe.steps} steps of {recipe.batch} "
        f"windows; {job.ranks.count} process(es) on {job.accelerator.device.type}"
        f"{shards if job.shards else ''}"
    )


def _require_whole(data: TrainingData, job: Job) -> None:
    """Refuse shards of parameters where the objective cannot do with them."""
    if job.shards and data.objective.whole:
        raise ValueError(
            f"objective.kind {data.objective.config.kind} differentiates forwards, as it is set "
            "here, which shards of parameters (FSDP) do not allow; train without shards"
        )


def _try_out(
    operator: Operator, data: TrainingData, adaptation: Adaptation | None
) -> Sequence[str]:
    """Predict one window of every dataset, so that what cannot work fails before any work.

    In evaluation mode, in which no statistics are learned; training sets its own. Gives what
    fine-tuning says of its start.
    """
    operator.eval()
    for windows in data.mixture.parts:
        window = collate([windows[0]])
        with torch.no_grad():
            finite = operator(window).isfinite().all()
            data.objective.try_out(operator, window, operator.description.normalizer)
        if not finite:
            raise ValueError(
                f"the first prediction on {windows.store.name} is not finite; normalise its fields"
            )
    return () if adaptation is None else adaptation.look(operator, data.mixture, data.objective)
