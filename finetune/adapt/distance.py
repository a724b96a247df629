"""How far new data are from those of a checkpoint: what is warned of before training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from ...datasets.stores.store import Store
from ...operators.core.description import Description
from ...pretrain.conserved import moves, told

FAR_SIZE = 30.0  # a factor beyond the range of a field's deviations
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
    yield from _means(before, after, stores)
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
    """Fields that vary by another amount than any that the checkpoint saw under their names."""
    old, new = _deviations(before), _deviations(after)
    for name in after.channels:
        if name not in old or name not in new:
            continue
        (least, most), (low, high) = old[name], new[name]
        if low > FAR_SIZE * most or high < least / FAR_SIZE:
            yield (
                f"{name} varies by {_between(low, high)} here and by {_between(least, most)} in "
                "the checkpoint's data: are the units the same (data[i].units)? Else normalizer: "
                "{name: window} keeps sizes apart from shapes"
            )


def _deviations(about: Description) -> dict[str, tuple[float, float]]:
    """The smallest and largest deviation of every channel over space, in all training data."""
    found: dict[str, tuple[float, float]] = {}
    for ranges in about.trained.values():
        for name, known in ranges.features.items():
            low, high = (10.0**value for value in known["deviation"])  # a logarithm
            least, most = found.get(name, (low, high))
            found[name] = min(low, least), max(high, most)
    return found


def _between(low: float, high: float) -> str:
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"


def _means(before: Description, after: Description, stores: Sequence[Store]) -> Iterator[str]:
    """Means that the checkpoint keeps and that move here, so that training does not keep them."""
    for name in before.conserved:
        if name not in after.fields or name in after.conserved:
            continue
        for store in stores:
            if found := moves(store, name):
                yield (
                    f"the checkpoint keeps the mean of {name}, which is not conserved in dataset "
                    f"{store.name} ({told(found)}): it is not kept from here on"
                )
                break


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
