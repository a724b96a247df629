"""How far new data are from those of a checkpoint: what is warned of before training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from ...datasets.fields.normalization import POOLED, Statistics
from ...datasets.stores.store import Store
from ...operators.core.description import Description

FAR_SIZE = 30.0  # a factor between deviations of a field before and after
FAR_VALUE = 6.0  # deviations of a parameter from what was trained


def distances(before: Description, after: Description, stores: Sequence[Store]) -> Iterator[str]:
    """Warnings, a line each with its remedy.

    Args:
        before: of the checkpoint.
        after: of the operator that is trained.
        stores: the new data.
    """
    yield from _units(before, after)
    yield from _sizes(before, after)
    for store in stores:
        yield from _parameters(before, store)


def _units(before: Description, after: Description) -> Iterator[str]:
    shared = [name for name in before.channels if name in after.channels]
    stated = {k: before.units[k] for k in shared if before.units.get(k, "1") != "1"}
    missing = [f"{k} in {unit}" for k, unit in stated.items() if not after.units.get(k)]
    if missing:
        yield (
            f"these data state no unit of fields that the checkpoint knows: {', '.join(missing)} "
            "is what they are taken for; state it (data[i].units), or rename them (data[i].rename)"
        )


def _sizes(before: Description, after: Description) -> Iterator[str]:
    """Fields of another size, where both sides know their statistics."""
    one, other = before.normalizer, after.normalizer
    if not (isinstance(one, Statistics) and isinstance(other, Statistics)):
        return
    for name in after.channels:
        old, new = (n.std.get(POOLED, {}).get(name, 0.0) for n in (one, other))
        if old > 0 and new > 0 and not 1 / FAR_SIZE < new / old < FAR_SIZE:
            yield (
                f"{name} varies by {new:.3g} here and by {old:.3g} in the checkpoint's data: are "
                "the units the same (data[i].units)? As it is, only its shape is known"
            )


def _parameters(before: Description, store: Store) -> Iterator[str]:
    table = torch.from_numpy(store.parameter_table())
    for name in before.parameters:
        if name not in store.parameter_names or name not in before.condition_scales:
            continue
        scale, values = before.scale_of(name), table[:, store.parameter_names.index(name)]
        furthest = values[scale.encode(values).abs().argmax()]
        if scale.encode(furthest).abs() > FAR_VALUE:
            trained = f"{scale.mean:.3g} ± {scale.std:.3g}{' (logarithm)' if scale.log else ''}"
            yield (
                f"parameter {name} of {store.name} reaches {furthest.item():.4g}, and the "
                f"checkpoint knows {trained}: what it learned of it may mislead; drop it with "
                "conditions: [], or train for longer"
            )
