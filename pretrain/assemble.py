"""From a recipe to what training needs: stores, operator, mixture, validation windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from ..datasets import codec
from ..datasets.fields import Window
from ..datasets.mixture import Mixture
from ..datasets.normalization import (
    Normalizer,
    Statistics,
    WindowScaling,
    normalizer_from_dict,
    normalizer_to_dict,
)
from ..datasets.pairs import Pairs
from ..datasets.statistics import pooled_statistics
from ..datasets.store import Store, open_store
from ..datasets.windows import Windows
from ..operators import Description, Operator, create
from .config import DataConfig, TrainRecipe


def open_stores(recipe: TrainRecipe) -> list[Store]:
    """The train split of every dataset of the mixture.

    Raises:
        ValueError: a dataset cannot be read, or datasets share a name or differ in rank.
    """
    stores = [open_store(data.path, "train") for data in recipe.data]
    names = [store.name for store in stores]
    if len(set(names)) < len(names):
        raise ValueError(f"datasets of a mixture need different names; got {', '.join(names)}")
    ranks = {store.grid.ndim for store in stores}
    if len(ranks) > 1:
        raise ValueError(f"datasets of a mixture must share their dimension; got {sorted(ranks)}")
    return stores


def describe(
    recipe: TrainRecipe, stores: Sequence[Store], donor: Description | None = None
) -> Description:
    """What an operator trained by this recipe is about.

    Normaliser and time scale are the recipe's; where it has none, those of `donor`, from whose
    weights training starts. Statistics are always those of the data.

    Raises:
        ValueError: a dataset lacks a field.
    """
    known = donor or Description(fields=("u",), normalizer=WindowScaling())
    normalizer = recipe.normalizer or normalizer_to_dict(known.normalizer)
    fields = recipe.fields or stores[0].fields
    for store in stores:
        missing = [name for name in fields if name not in store.fields]
        if missing:
            raise ValueError(
                f"dataset {store.name} has no field {', '.join(missing)}; it has "
                f"{', '.join(store.fields)}. Name the shared ones in the recipe's `fields`"
            )
    grids = {store.grid for store in stores}
    return Description(
        fields=fields,
        units={name: stores[0].units[name] for name in fields if name in stores[0].units},
        normalizer=_normalizer(normalizer, stores),
        time_scale=known.time_scale if recipe.time_scale is None else recipe.time_scale,
        time_steps=_lead_times(recipe, stores),
        grid=grids.pop() if len(grids) == 1 else None,
        provenance={
            "pelagos": version("pelagos"),
            "datasets": [store.name for store in stores],
            "recipe": codec.plain(recipe),
        },
    )


def _lead_times(recipe: TrainRecipe, stores: Sequence[Store]) -> tuple[float, ...]:
    """The physical times between two frames of which the operator learns one from the other."""
    steps = {time_step(store, data) for store, data in zip(stores, recipe.data, strict=True)}
    reach = recipe.objective.horizon if recipe.objective.kind == "all2all" else 1
    return tuple(sorted({k * step for step in steps for k in range(1, reach + 1)}))


def time_step(store: Store, data: DataConfig) -> float:
    """Physical time between the frames that the operator sees.

    Raises:
        ValueError: the frames of the store are not uniform in time.
    """
    if store.dt is None:
        raise ValueError(f"the frames of dataset {store.name} are not uniformly spaced in time")
    return store.dt * data.stride


def create_operator(recipe: TrainRecipe, stores: Sequence[Store]) -> Operator:
    """A freshly initialised operator that fits the data."""
    config = dict(recipe.operator)
    if "name" not in config:
        raise ValueError("recipe.operator needs a name, such as dymixop")
    config.setdefault("ndim", stores[0].grid.ndim)
    name = config.pop("name")
    return create(name, description=describe(recipe, stores), seed=recipe.seed, **config)


def build_mixture(recipe: TrainRecipe, stores: Sequence[Store], operator: Operator) -> Mixture:
    """The training windows of all datasets, with their weights and order."""
    parts = [
        (_windows(recipe, store, data, operator), data.weight)
        for store, data in zip(stores, recipe.data, strict=True)
    ]
    return Mixture(parts, batch=recipe.micro_batch, seed=recipe.seed)


def _windows(recipe: TrainRecipe, store: Store, data: DataConfig, operator: Operator) -> Windows:
    objective, fields = recipe.objective, operator.description.fields
    if objective.kind == "rollout":
        return Windows(
            store,
            history=operator.history,
            horizon=objective.horizon,
            stride=data.stride,
            every=data.every,
            trajectories=data.trajectories,
            fields=fields,
        )
    if not operator.direct:
        raise ValueError(
            f"all2all needs an operator that predicts any lead time from one frame; "
            f"{operator.name} does not. Use objective.kind: rollout"
        )
    return Pairs(
        store,
        steps=objective.horizon,
        stride=data.stride,
        identity=objective.identity,
        trajectories=data.trajectories,
        fields=fields,
    )


def build_validation(recipe: TrainRecipe, operator: Operator) -> dict[str, list[Window]]:
    """Per dataset, one long window from the start of each validation trajectory."""
    windows = {}
    for data in recipe.data:
        store = open_store(data.path, "valid")
        count = min(recipe.validation.trajectories, len(store))
        stored = (min(store.n_frames(i) for i in range(count)) - 1) // data.stride + 1
        horizon = min(recipe.validation.horizon, stored - operator.history)
        if horizon < 1:
            raise ValueError(
                f"the validation trajectories of {store.name} have {stored} frames at stride "
                f"{data.stride}; needed are {operator.history} + 1"
            )
        windows[store.name] = [
            store.window(i, 0, operator.history, horizon, data.stride).select(
                operator.description.fields
            )
            for i in range(count)
        ]
    return windows


def _normalizer(config: Mapping[str, Any], stores: Sequence[Store]) -> Normalizer:
    if config["name"] == Statistics.name:
        return pooled_statistics(stores)
    return normalizer_from_dict(config)
