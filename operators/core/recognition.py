"""Which of the training datasets data are of: by name, else by their values; and how far outside.

Statistics and time scales are kept by dataset. Data whose name is none of these, for their folder
was renamed, say, are taken for the dataset under whose statistics their history is likeliest.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...datasets.fields.normalization import POOLED
from ...datasets.fields.window import Context
from .conditions import Conditions
from .description import Description

FAR = 6.0  # deviations of training data beyond which a prediction is an extrapolation
SAME = 1e-3  # of a parameter that never varied, up to which a value is that one
_SHOWN = 6  # names in a message


@dataclass(frozen=True)
class Size:
    """Mean and standard deviation of a channel."""

    mean: float
    std: float

    def __str__(self) -> str:
        return f"{self.mean:.3g} ± {self.std:.3g}"

    def misfit(self, training: Size) -> float:
        """Mean negative log-likelihood of values of this size under a normal distribution of
        another, without its constant."""
        std = training.std or 1e-6 * (abs(training.mean) or 1.0)  # never varied: up to rounding
        spread, gap = self.std / std, (self.mean - training.mean) / std
        return math.log(std) + (spread * spread + gap * gap) / 2  # `**` would overflow

    def far_from(self, training: Size) -> bool:
        """Whether values of this size are outside what was trained."""
        std = training.std or abs(training.mean) or 1.0
        return max(abs(self.mean - training.mean), self.std) > FAR * std


def recognised(context: Context, history: Tensor, description: Description) -> Context:
    """The same context by the name of a training dataset, where statistics are kept by name.

    Warns where the name is not the data's own, with what was taken instead.

    Args:
        context: of the history.
        history: (B, T, C, *S) in physical units.
        description: of the operator.
    """
    fits = tuple(history.shape[2:]) == (len(context.channels), *context.grid.shape)
    if _is_known(context, description) or not fits:  # what does not fit is refused elsewhere
        return context
    known = _tables(description, context.channels)
    if not known:
        return context
    sizes = _sizes(history, context)
    misfits = {
        name: sum(size.misfit(training) for size, training in zip(sizes, table, strict=True))
        for name, table in known.items()
    }
    found = min(misfits, key=lambda name: misfits[name])
    far = [
        f"{channel} is {size} here and {training} there"
        for channel, size, training in zip(context.channels, sizes, known[found], strict=True)
        if size.far_from(training)
    ]
    if context.dataset or len(known) > 1 or far:
        warnings.warn(_message(context.dataset, found, tuple(known), far), stacklevel=4)
    return replace(context, dataset=found)


def recognised_cold(context: Context, description: Description) -> Context:
    """The same for a start without a history: the only training dataset, or all of them pooled."""
    if _is_known(context, description):
        return context
    known = tuple(description.normalizer.datasets)
    if len(known) == 1:
        return replace(context, dataset=known[0])
    warnings.warn(
        f"{_unknown(context.dataset)}, and there is no history to tell by: the mean and deviation "
        f"of all of {_listed(known)} are taken; name one of them in Context(dataset=…)",
        stacklevel=3,
    )
    return replace(context, dataset=POOLED)


def warn_of_parameters(conditions: Conditions, description: Description, training: bool) -> None:
    """Warn of parameters that are far outside what was trained, naming each and the training's.

    Args:
        conditions: scaled, as the operator takes them.
        description: of the operator; parameters without a scale have no range that is known.
        training: nothing is said while training, whose data are what they are.
    """
    if training or conditions.parameters is None or torch.compiler.is_compiling():
        return
    for name, scaled in zip(description.parameters, conditions.parameters.unbind(1), strict=True):
        if name not in description.condition_scales:
            continue
        largest, scale = max(scaled.tolist(), key=abs), description.scale_of(name)
        value = scale.mean + largest * scale.std
        if scale.of_one_value and abs(largest) > SAME:
            warnings.warn(
                f"parameter {name} = {value:.4g} was {scale.mean:.4g} in all of the training data; "
                "the prediction is an extrapolation",
                stacklevel=4,
            )
        elif abs(largest) > FAR:
            trained = f"{scale.mean:.4g} ± {scale.std:.3g}"
            if scale.log:
                value = float(torch.tensor(value).exp())
                trained = f"exp({trained})"
            warnings.warn(
                f"parameter {name} = {value:.4g} is {abs(largest):.3g} deviations from the "
                f"training data, {trained}; the prediction is an extrapolation",
                stacklevel=4,
            )


def _is_known(context: Context, description: Description) -> bool:
    """Whether there is nothing to tell: the name is known, or no names are."""
    known = description.normalizer.datasets
    return not known or context.dataset in known or context.dataset == POOLED


def _tables(description: Description, channels: tuple[str, ...]) -> dict[str, tuple[Size, ...]]:
    """Sizes of channels by training dataset; nothing where the normaliser keeps none."""
    found = {}
    for dataset, sizes in description.normalizer.datasets.items():
        if all(channel in sizes for channel in channels):
            found[dataset] = tuple(Size(*sizes[channel]) for channel in channels)
    return found


def _sizes(history: Tensor, context: Context) -> list[Size]:
    """Sizes of the history's channels, without what is masked."""
    values = history.detach().double().movedim(2, 0).flatten(1)
    mask = None if context.steady else context.mask
    if mask is not None:
        kept = mask.to(history.device).unsqueeze(1).expand_as(history).movedim(2, 0).flatten(1)
        # A field that is masked entirely keeps its values, and these are what there is.
        kept = kept | ~kept.any(1, keepdim=True)
    else:
        kept = torch.ones_like(values, dtype=torch.bool)
    chosen = [row[keep] for row, keep in zip(values, kept, strict=True)]
    return [Size(float(row.mean()), float(row.std(correction=0))) for row in chosen]


def _message(dataset: str, found: str, known: tuple[str, ...], far: list[str]) -> str:
    one = f"those of {found!r} are taken"
    if len(known) > 1:
        one += f", the nearest of {_listed(known)}"
    if far:
        one += f", though far ({'; '.join(far[:3])})"
    return (
        f"{_unknown(dataset)}: {one}. To choose, name one in Context(dataset=…), store.name or a "
        "recipe's data.name; for other data, fine-tune"
    )


def _unknown(dataset: str) -> str:
    if not dataset:
        return "statistics are kept by dataset and the data have no name"
    return f"no statistics are known of a dataset named {dataset!r}"


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more
