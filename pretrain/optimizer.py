"""AdamW, its parameter groups, and the learning rate as a pure function of the step.

An objective may train in phases. Each has a whole schedule to itself, and the parameters that it
does not train are at rest meanwhile: no gradient, no memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from ..datasets.base.config import nearest
from .objectives.base import Phase
from .recipe import OptimizerConfig


def freeze(operator: nn.Module, parts: Sequence[str]) -> tuple[str, ...]:
    """Stop training some modules or parameters, given by name; returns their parameters' names.

    Raises:
        ValueError: there is none of that name.
    """
    named = dict(operator.named_parameters())
    for part in parts:
        if not any(_belongs(name, part) for name in named):
            raise ValueError(f"freeze: no module or parameter {part!r}{_nearest(part, named)}")
    frozen = tuple(name for name in named if any(_belongs(name, part) for part in parts))
    for name in frozen:
        named[name].requires_grad_(False)
    return frozen


def build_optimizer(
    operator: nn.Module,
    config: OptimizerConfig,
    rates: Mapping[str, float] | None = None,
    phases: Sequence[Phase] = (),
    device: torch.device | None = None,
) -> AdamW:
    """AdamW over the trainable parameters; weights decay, biases and scalars do not.

    Args:
        operator: the module to train.
        config: its settings.
        rates: peak learning rates by name of a module or parameter, for those that differ; the
            innermost counts.
        phases: of the objective, where parameters rest in some of them.
        device: where it will train; None: where it is.

    Raises:
        ValueError: there is none of that name, or nothing is trainable.
    """
    rates = rates or {}
    groups: dict[tuple[float, float, tuple[int, ...]], list[nn.Parameter]] = {}
    unmatched = set(rates)
    named = dict(operator.named_parameters())
    for name, parameter in named.items():
        part = max((p for p in rates if _belongs(name, p)), key=len, default=None)
        unmatched.discard(part or "")
        if not parameter.requires_grad:
            continue
        rate = config.learning_rate if part is None else rates[part]
        decay = config.weight_decay if parameter.ndim > 1 else 0.0
        rests = tuple(i for i, phase in enumerate(phases) if not phase.trains(name))
        groups.setdefault((rate, decay, rests), []).append(parameter)
    if unmatched:
        raise ValueError(
            f"learning_rates: no module or parameter {', '.join(sorted(unmatched))}, or others "
            f"inside cover all of it{_nearest(min(unmatched), named)}"
        )
    if not groups:
        raise ValueError("nothing to train: every parameter is frozen")
    place = device or next(operator.parameters()).device
    fused = place.type == "cuda" if config.fused is None else config.fused
    return AdamW(
        [
            {"params": members, "lr": rate, "peak": rate, "weight_decay": decay, "rests": rests}
            for (rate, decay, rests), members in groups.items()
        ],
        betas=config.betas,
        fused=fused or None,  # False would rule out the other fast way, too
    )


def _belongs(name: str, part: str) -> bool:
    """Whether a parameter is the one, or in the module, of that name."""
    return f"{name}.".startswith(part.removesuffix(".") + ".")


def _nearest(part: str, names: Iterable[str]) -> str:
    """The closest name among the outermost modules."""
    return nearest(part, [*dict.fromkeys(name.split(".")[0] for name in names)])


def schedule(step: int, steps: int, config: OptimizerConfig) -> float:
    """Factor on the peak learning rate at `step`: linear warm-up, then cosine to `final`."""
    warmup = math.ceil(config.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return config.final + (1 - config.final) * 0.5 * (1 + math.cos(math.pi * progress))


def set_learning_rates(
    optimizer: Optimizer, step: int, phases: Sequence[Phase], config: OptimizerConfig
) -> float:
    """Set every group's learning rate at `step`; returns the first that is not 0.

    Args:
        optimizer: from `build_optimizer`, with these phases.
        step: from 0.
        phases: of the objective.
        config: peak, warm-up and decay.
    """
    number, phase = next((i, p) for i, p in enumerate(phases) if step in p.steps)
    factor = schedule(step - phase.steps.start, len(phase.steps), config)
    for group in optimizer.param_groups:
        group["lr"] = 0.0 if number in group["rests"] else group["peak"] * factor
    return next(group["lr"] for group in optimizer.param_groups if group["lr"])


def forget_resting(optimizer: Optimizer) -> None:
    """Clear gradients and moments of groups whose learning rate is 0.

    So they do not count in the gradient's norm, and start afresh when their time comes. (Freezing
    them instead would change which gradients distributed training waits for.)
    """
    for group in optimizer.param_groups:
        if group["lr"] == 0:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.zero_()
                for value in optimizer.state.get(parameter, {}).values():
                    value.zero_()
