"""What a run reads: the stores of a recipe, and training windows from them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..datasets.base.paths import expanded
from ..datasets.fields.units import check_units
from ..datasets.sampling.augmentation import Augmentation
from ..datasets.sampling.mixture import Mixture
from ..datasets.simulation.endless import EndlessStore
from ..datasets.stores.cached import keep_in_memory
from ..datasets.stores.choosing import chosen
from ..datasets.stores.fingerprint import Fingerprint, fingerprint
from ..datasets.stores.opening import open_store
from ..datasets.stores.renaming import renamed
from ..datasets.stores.store import Store
from ..operators.core.operator import Operator
from .held_out import LongWindows, held_out
from .objectives.base import Objective
from .objectives.registry import objective_of
from .recipe import DataConfig, TrainRecipe
from .selection import require_scored


@dataclass(frozen=True)
class TrainingData:
    """What an operator is trained and validated on.

    Attributes:
        mixture: micro-batches in their global order.
        validation: per dataset, the windows to validate on.
        objective: what is minimised; it made the windows of the mixture.
    """

    mixture: Mixture
    validation: Mapping[str, LongWindows]
    objective: Objective[Any]


def open_stores(recipe: TrainRecipe) -> list[Store]:
    """The train split of every dataset of the mixture.

    Raises:
        ValueError: a dataset cannot be read or does not fit into memory as it should, or datasets
            share a name, differ in rank, or only some are steady problems.
    """
    stores = [open_split(recipe, data, "train") for data in recipe.data]
    names = [store.name for store in stores]
    if len(set(names)) < len(names):
        raise ValueError(
            f"datasets of a mixture need different names; got {', '.join(names)}. Set data.name"
        )
    ranks = {store.grid.ndim for store in stores}
    if len(ranks) > 1:
        raise ValueError(f"datasets of a mixture must share their dimension; got {sorted(ranks)}")
    steady = {store.steady: store.name for store in stores}
    if len(steady) > 1:
        raise ValueError(
            f"{steady[True]} is a steady problem and {steady[False]} varies in time; one operator "
            "learns one or the other"
        )
    for one, other in itertools.combinations(stores, 2):  # the first may lack what others share
        shared = (*one.fields, *one.constant_fields, *one.parameter_names, "time", "length")
        shared += () if one.prescribed is None else one.prescribed.fields
        check_units(one.name, one.units, other.name, other.units, shared)
    return _cached(recipe, stores)


def _cached(recipe: TrainRecipe, stores: list[Store]) -> list[Store]:
    """The stores, those that should be kept in memory by every process that reads them."""
    small = [i for i, data in enumerate(recipe.data) if data.cache == "memory"]
    readers = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) * (1 + recipe.workers)
    kept = dict(zip(small, keep_in_memory([stores[i] for i in small], readers), strict=True))
    return [kept.get(i, store) for i, store in enumerate(stores)]


def open_split(
    recipe: TrainRecipe, data: DataConfig, split: str, trajectories: int | None = None
) -> Store:
    """A split of a dataset; `trajectories`: of a simulated one, where not a block of them.

    Raises:
        ValueError: it cannot be read.
    """
    simulated, splits = data.simulate, dict(data.splits)
    if splits.get("by") == "time":  # nothing that a training window spans is validated
        history = int(recipe.operator.get("history", 1))
        splits.setdefault("gap", data.stride * (history + recipe.objective.reach))
    if simulated is None:
        path = expanded(data.path, "data.path")
        layout = data.layout and expanded(data.layout, "data.layout")
        own = {new: name for name, new in data.rename.items()}
        units = {own.get(name, name): unit for name, unit in data.units.items()}
        given = [own.get(name, name) for name in data.prescribed]
        store = open_store(path, split, layout, splits or None, units, given)
        store = renamed(store, data.rename, dataset=data.name, holes=data.holes)
        # Training looks at nothing else of the split: statistics are of these trajectories, too.
        wanted = data.trajectories if split == "train" else None
        return chosen(store, wanted, data.subset_seed)
    size = trajectories or simulated.block
    return EndlessStore(
        simulated.equation, split, size, simulated, name=data.name, rename=data.rename
    )


def training_data(recipe: TrainRecipe, stores: Sequence[Store], operator: Operator) -> TrainingData:
    """Mixture and validation windows for an operator.

    Raises:
        ValueError: the operator cannot learn what the objective asks for, trajectories are too
            short, or the dataset whose score is to choose the best weights is none of them.
    """
    require_scored(recipe, [store.name for store in stores])
    objective = objective_of(recipe.objective)
    objective.meet(operator)
    mixture = build_mixture(recipe, stores, operator, objective)
    return TrainingData(mixture, validation_windows(recipe, operator), objective)


def validation_windows(recipe: TrainRecipe, operator: Operator) -> dict[str, LongWindows]:
    """Per dataset, one long window of each validation trajectory.

    Raises:
        ValueError: trajectories are too short, or have too few frames without missing values.
    """
    count = recipe.validation.trajectories
    stores = [open_split(recipe, data, "valid", count) for data in recipe.data]
    return held_out(recipe, stores, operator)


def fingerprints(stores: Sequence[Store], data: TrainingData) -> dict[str, Fingerprint]:
    """Of each dataset that is stored: what it is known by, by "DATASET (SPLIT)".

    Args:
        stores: of the training data.
        data: validation windows from the other split.

    Raises:
        ValueError: a file cannot be read.
    """
    held = [windows.store for windows in data.validation.values()]
    return {
        f"{store.name} ({split})": fingerprint(store)
        for train, valid in zip(stores, held, strict=True)
        for split, store in (("train", train), ("valid", valid))
        if not store.endless
    }


def build_mixture(
    recipe: TrainRecipe, stores: Sequence[Store], operator: Operator, objective: Objective[Any]
) -> Mixture:
    """The training windows of all datasets, with their shares, augmentations and order."""
    fields = operator.description.fields
    parts, augmentations, sizes = [], [], []
    for store, data in zip(stores, recipe.data, strict=True):
        windows = objective.windows(store, data, operator)
        share = data.weight * len(windows) ** recipe.size_exponent
        augmentation = (
            Augmentation(data.augment, store, fields, data.parity) if data.augment else None
        )
        for part in windows.by_step():
            parts.append((part, share * len(part) / len(windows)))
            augmentations.append(augmentation)
            sizes.append(data.micro_batch or recipe.micro_batch)
    streams = recipe.micro_batches
    return Mixture(parts, recipe.micro_batch, recipe.seed, augmentations, streams, sizes)
