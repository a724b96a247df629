"""AdamW, its parameter groups, and the learning rate as a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import nn
from torch.optim import AdamW, Optimizer

from .config import OptimizerConfig


def freeze(operator: nn.Module, prefixes: Sequence[str]) -> tuple[str, ...]:
    """Stop training the parameters whose names start with a prefix; returns their names.

    Raises:
        ValueError: a prefix matches no parameter.
    """
    named = dict(operator.named_parameters())
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in named):
            raise ValueError(f"freeze: no parameter name starts with {prefix!r}")
    frozen = tuple(name for name in named if any(name.startswith(p) for p in prefixes))
    for name in frozen:
        named[name].requires_grad_(False)
    return frozen


def build_optimizer(
    operator: nn.Module, config: OptimizerConfig, rates: Mapping[str, float] | None = None
) -> AdamW:
    """AdamW over the trainable parameters; weights decay, biases and scalars do not.

    Args:
        operator: the module to train.
        config: its settings.
        rates: peak learning rates by parameter-name prefix, for those that differ; the longest
            matching prefix counts.

    Raises:
        ValueError: a prefix matches no parameter, or nothing is trainable.
    """
    rates = rates or {}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    unmatched = set(rates)
    for name, parameter in operator.named_parameters():
        prefix = max((p for p in rates if name.startswith(p)), key=len, default=None)
        unmatched.discard(prefix or "")
        if not parameter.requires_grad:
            continue
        rate = config.learning_rate if prefix is None else rates[prefix]
        decay = config.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    if unmatched:
        raise ValueError(
            f"learning_rates: no parameter name starts with {', '.join(sorted(unmatched))}, or "
            "longer prefixes cover all that do"
        )
    if not groups:
        raise ValueError("nothing to train: every parameter is frozen")
    return AdamW(
        [
            {"params": parameters, "lr": rate, "peak": rate, "weight_decay": decay}
            for (rate, decay), parameters in groups.items()
        ],
        betas=config.betas,
    )


def schedule(step: int, steps: int, config: OptimizerConfig) -> float:
    """Factor on the peak learning rate at `step`: linear warm-up, then cosine to `final`."""
    warmup = math.ceil(config.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return config.final + (1 - config.final) * 0.5 * (1 + math.cos(math.pi * progress))


def set_learning_rate(optimizer: Optimizer, factor: float) -> float:
    """Set every group to `factor` times its peak; returns the first group's learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
    return optimizer.param_groups[0]["lr"]
