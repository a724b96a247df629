"""A look before the first step: what the operator predicts as it is, and how it would learn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from ...datasets.fields.window import Window, collate
from ...datasets.sampling.mixture import Mixture
from ...operators.core.operator import Operator
from ...operators.core.parts import names_in
from ...pretrain.objectives import Objective, Phase
from .recipe import FinetuneRecipe

WINDOWS = 2  # of each dataset that are looked at
FAR = 10.0  # a prediction spread over so many deviations of the data is on another scale


def first_look(
    operator: Operator, recipe: FinetuneRecipe, mixture: Mixture, objective: Objective[Any]
) -> list[str]:
    """What is said of predictions, loss and gradients on some windows of every dataset.

    Weights and buffers stay as they are.

    Raises:
        ValueError: a loss or a gradient is not finite.
    """
    phase = recipe.phases(operator, objective)[0]
    objective.begin(0, recipe.seed)
    lines = []
    operator.eval()  # statistics of batches are not learned from this
    for windows in mixture.parts:
        count = min(WINDOWS, len(windows))
        picked = [len(windows) * i // count for i in range(count)]
        window = collate([windows[i] for i in picked])
        lines += _look(operator, phase, window, windows.store.name, recipe.seed)
    return lines


def _look(operator: Operator, phase: Phase, window: Window, name: str, seed: int) -> Iterator[str]:
    with torch.no_grad():
        prediction = operator(window)
    yield from _warnings(prediction, window, name)
    try:
        with torch.enable_grad():
            loss = phase.loss(operator, window, operator.description.normalizer, seed)
            loss.backward()
        norms = _norms(operator)
    finally:
        operator.zero_grad(set_to_none=True)
    if not (math.isfinite(loss.item()) and all(map(math.isfinite, norms.values()))):
        wrong = next((k for k, v in norms.items() if not math.isfinite(v)), "")
        raise ValueError(
            f"before the first step, the loss on {name} is {loss.item():g} and the gradient of "
            f"{wrong or 'every part'} is not finite; look at the data (pelagos data check), or "
            "choose another normalizer"
        )
    parts = ", ".join(f"{part} {norm:.3g}" for part, norm in norms.items())
    yield f"before the first step, on {name}: loss {loss.item():.4g}; gradient norms: {parts}"


def _warnings(prediction: Tensor, window: Window, name: str) -> Iterator[str]:
    """A line for every field that is predicted on another scale than the data have."""
    over = (0, 1, *range(3, prediction.ndim))
    variance, mean = torch.var_mean(window.target, over, correction=0, keepdim=True)
    spread = (prediction - mean).square().mean(over).sqrt()
    for field, one, other in zip(window.fields, spread, variance.flatten().sqrt(), strict=True):
        size = max(other.item(), 1e-6 * mean.abs().max().item(), 1e-30)
        if one.item() > FAR * size:
            yield (
                f"warning: {field} of {name} is predicted {one.item() / size:.0f} times as far "
                f"from its mean as it is; check its unit (data[i].units), or let statistics scale "
                "it (normalizer: {name: statistics})"
            )


def _norms(operator: Operator) -> Mapping[str, float]:
    """The gradient's norm by part of the operator; of all of it, where it names none."""
    named = {n: p.grad for n, p in operator.named_parameters() if p.grad is not None}
    parts = {k: v for k, v in operator.parts().named().items() if v}
    groups = {part: [*names_in(named, names)] for part, names in parts.items()}
    groups = {part: names for part, names in groups.items() if names} or {"all": [*named]}
    norms = {}
    for part, names in groups.items():
        gradients = [grad for name in names if (grad := named[name]) is not None]
        norms[part] = float(get_total_norm(gradients))
    return norms
