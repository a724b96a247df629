"""From a recipe to what training needs: stores, operator, mixture, validation windows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import torch

from ..datasets.base.config import build, plain
from ..datasets.fields.normalization import (
    POOLED,
    Identity,
    Normalizer,
    Statistics,
    WindowScaling,
    normalizer_from_dict,
    normalizer_to_dict,
)
from ..datasets.fields.window import Window
from ..datasets.sampling.augmentation import Augmentation
from ..datasets.sampling.mixture import Mixture
from ..datasets.sampling.pairs import Pairs
from ..datasets.sampling.scales import condition_scales, pooled_statistics
from ..datasets.sampling.structure_change import structure_change
from ..datasets.sampling.windows import Windows, require_channels
from ..datasets.simulation.endless import EndlessStore
from ..datasets.stores.cached import keep_in_memory
from ..datasets.stores.opening import open_store
from ..datasets.stores.store import Store
from ..operators.assimilation.operator import AssimilatingOperator
from ..operators.assimilation.wrapped import AssimilatedOperator, assimilate
from ..operators.core.checkpoint import from_pretrained
from ..operators.core.description import Description
from ..operators.core.operator import Operator
from ..operators.core.registry import create, get
from .known_linear import resolve_linear
from .recipe import DataConfig, TrainRecipe

_FITTED = 16  # trajectories, and frames of each, that are looked at before training


def open_stores(recipe: TrainRecipe) -> list[Store]:
    """The train split of every dataset of the mixture.

    Raises:
        ValueError: a dataset cannot be read or does not fit into memory as it should, or datasets
            share a name, differ in rank, or only some are steady problems.
    """
    stores = [_open(data, "train") for data in recipe.data]
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
    return _cached(recipe, stores)


def _cached(recipe: TrainRecipe, stores: list[Store]) -> list[Store]:
    """The stores, those that should be kept in memory by every process that reads them."""
    small = [i for i, data in enumerate(recipe.data) if data.cache == "memory"]
    readers = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) * (1 + recipe.workers)
    kept = dict(zip(small, keep_in_memory([stores[i] for i in small], readers), strict=True))
    return [kept.get(i, store) for i, store in enumerate(stores)]


def _open(data: DataConfig, split: str, trajectories: int | None = None) -> Store:
    """A split of a dataset; `trajectories`: of a simulated one, where not a block of them."""
    simulated = data.simulate
    if simulated is None:
        store = open_store(data.path, split, data.layout, data.splits or None)
        store.name = data.name or store.name
        return store
    size = trajectories or simulated.block
    return EndlessStore(simulated.equation, split, size, name=data.name, **simulated.settings)


def describe(
    recipe: TrainRecipe, stores: Sequence[Store], donor: Description | None = None
) -> Description:
    """What an operator trained by this recipe is about.

    Normaliser, conditions and time scales are the recipe's; where it has none, those of `donor`,
    from whose weights training starts. Statistics of fields are always those of the data;
    conditions that the donor knows keep its scales, in which its weights see them.

    Raises:
        ValueError: a dataset lacks a field or a condition.
    """
    first = stores[0]
    usual = Statistics({}, {}) if first.steady else WindowScaling()
    known = donor or Description(fields=("u",), normalizer=usual)
    normalizer = recipe.normalizer or normalizer_to_dict(known.normalizer)
    fields, inputs = recipe.fields or first.fields, recipe.inputs or first.inputs
    fill = {name: value for name, value in (recipe.fill or known.fill).items() if name in fields}
    for store in stores:
        _require_channels(store, fields, inputs, fill)
    conditions = _conditions(recipe, stores, known, inputs, raw=normalizer["name"] == Identity.name)
    grids = {store.grid for store in stores}
    return Description(
        fields=fields,
        units={name: first.units[name] for name in fields if name in first.units},
        normalizer=_normalizer(normalizer, stores, fill, known),
        inputs=inputs,
        fill=fill,
        **conditions,
        **_time_scales(recipe, stores, known),
        time_steps=_lead_times(recipe, stores),
        grid=grids.pop() if len(grids) == 1 else None,
        provenance={
            "pelagos": version("pelagos"),
            "datasets": [store.name for store in stores],
            "recipe": plain(recipe),
        },
    )


def _require_channels(
    store: Store, fields: Sequence[str], inputs: Sequence[str], fill: Mapping[str, float]
) -> None:
    try:
        require_channels(store, fields, inputs, fill)
    except ValueError as error:
        raise ValueError(
            f"{error}. Name the shared ones in the recipe's `fields` and `inputs`, or give those "
            "that it lacks a value in `fill`"
        ) from None


def _conditions(
    recipe: TrainRecipe,
    stores: Sequence[Store],
    known: Description,
    inputs: Sequence[str],
    raw: bool,
) -> dict[str, Any]:
    """Names and scales of the conditions, as `Description` takes them; `raw`: not scaled."""
    names, first, before = recipe.conditions, stores[0], known.constant_fields + known.parameters
    if names is None:
        names = before
    candidates = [k for k in first.constant_fields if k not in inputs]
    available = (*candidates, *(p for p in first.parameter_names if p not in candidates))
    if names == "all":
        names = tuple(name for name in available if not name.startswith("coordinate_"))
    missing = [name for name in names if name not in available]
    if missing:
        raise ValueError(
            f"dataset {first.name} has no constant field or parameter {', '.join(missing)}; it has "
            f"{', '.join(available) or 'none'}. Name in `conditions` what all datasets have"
        )
    constants = tuple(name for name in names if name in candidates)
    parameters = tuple(name for name in names if name not in candidates)
    scales = {} if raw else condition_scales(stores, constants, parameters)
    kept = {name: known.scale_of(name) for name in names if name in before}
    return {
        "constant_fields": constants,
        "parameters": parameters,
        "condition_scales": scales | kept,
    }


def _time_scales(
    recipe: TrainRecipe, stores: Sequence[Store], known: Description
) -> dict[str, Any]:
    """The time scale and those of single datasets; a recipe's scale replaces all of the donor's."""
    given = {
        store.name: data.time_scale
        for store, data in zip(stores, recipe.data, strict=True)
        if data.time_scale is not None
    }
    if recipe.time_scale is not None:
        return {"time_scale": recipe.time_scale, "time_scales": given}
    for store in stores:
        if store.name not in given and not store.steady:
            known.warn_of_time_scale(store.name)
    return {"time_scale": known.time_scale, "time_scales": {**known.time_scales, **given}}


def _lead_times(recipe: TrainRecipe, stores: Sequence[Store]) -> tuple[float, ...]:
    """The physical times between two frames of which the operator learns one from the other."""
    steps = {time_step(store, data) for store, data in zip(stores, recipe.data, strict=True)}
    name = recipe.operator.get("name")
    # Whatever the objective, `forward` of such an operator predicts every lead time directly.
    direct = recipe.objective.kind == "all2all" or (name is not None and get(name).direct)
    reach = recipe.objective.horizon if direct else 1
    return tuple(sorted({k * step for step in steps for k in range(1, reach + 1)}))


def time_step(store: Store, data: DataConfig) -> float:
    """Physical time between the frames that the operator sees; 1 for a steady problem.

    Raises:
        ValueError: the frames of the store are not uniform in time.
    """
    if store.steady:
        return 1.0
    if store.dt is None:
        raise ValueError(f"the frames of dataset {store.name} are not uniformly spaced in time")
    return store.dt * data.stride


def create_operator(recipe: TrainRecipe, stores: Sequence[Store]) -> Operator:
    """A freshly initialised operator that fits the data; a predictor may come from a checkpoint.

    Raises:
        ValueError: the operator's name or config is wrong.
    """
    config = resolve_linear(recipe.operator)
    if "name" not in config:
        raise ValueError("recipe.operator needs a name, such as dymixop")
    config.setdefault("ndim", stores[0].grid.ndim)
    name = config.pop("name")
    if name == AssimilatedOperator.name and "checkpoint" in config.get("predictor", {}):
        operator = _around_checkpoint(config, recipe, stores)
    else:
        operator = _fresh(name, config, recipe, stores)
    fit_to_data(operator, stores, fresh=True)
    return operator


def _fresh(
    name: str, config: dict[str, Any], recipe: TrainRecipe, stores: Sequence[Store]
) -> Operator:
    """Initial weights; config keys that follow from the data are measured."""
    description = describe(recipe, stores)

    def complete(name: str, config: dict[str, Any]) -> dict[str, Any]:
        open_keys = [key for key in get(name).measured if key not in config]
        return config | {key: _MEASURES[key](recipe, stores, description) for key in open_keys}

    config = complete(name, config)
    inner = config.get("predictor")
    if name == AssimilatedOperator.name and isinstance(inner, dict) and inner.get("name"):
        config["predictor"] = complete(inner["name"], inner)
    return create(name, description=description, seed=recipe.seed, **config)


def fit_to_data(operator: Operator, stores: Sequence[Store], *, fresh: bool) -> None:
    """What an operator that assimilates takes from data before training; others nothing.

    Args:
        operator: changed in place.
        stores: of the training data.
        fresh: whether its gain starts with the spectrum of the first; else only ranges are widened.
    """
    if not isinstance(operator, AssimilatingOperator):
        return
    for i, store in enumerate(stores):
        fields = operator.description.fields
        channels = [store.fields.index(name) for name in fields if name in store.fields]
        if len(channels) < len(fields):
            continue  # a field that these data lack
        frames = []
        for j in range(min(_FITTED, len(store))):
            stop = store.n_frames(j)
            frames.append(store.read(j, store.first, stop, max(1, stop // _FITTED))[:, channels])
        take = operator.fit if fresh and i == 0 else operator.widen
        take(torch.cat(frames), store.name)


def _resolution(
    recipe: TrainRecipe, stores: Sequence[Store], description: Description
) -> tuple[int, ...]:
    """The grid on which weights get their meaning: that of the first dataset."""
    return stores[0].grid.shape


def _structure_change(
    recipe: TrainRecipe, stores: Sequence[Store], description: Description
) -> float:
    """How fast frames change from one time step to the next; 1 for a steady problem."""
    if description.inputs:
        return 1.0
    return structure_change(stores, description.fields, [data.stride for data in recipe.data])


def _time_input(recipe: TrainRecipe, stores: Sequence[Store], description: Description) -> bool:
    """Whether there are several time steps to tell apart."""
    return len(description.time_steps) > 1


# How `Operator.measured` config keys follow from the data.
_MEASURES = {
    "resolution": _resolution,
    "structure_change": _structure_change,
    "time_input": _time_input,
}


def _around_checkpoint(
    config: dict[str, Any], recipe: TrainRecipe, stores: Sequence[Store]
) -> Operator:
    """A correction around the predictor that a checkpoint holds, as it is."""
    predictor = dict(config["predictor"])
    opened = from_pretrained(predictor.pop("checkpoint"))
    if predictor:
        raise ValueError(
            f"operator.predictor is a checkpoint and needs no {', '.join(map(repr, predictor))}"
        )
    for store in stores:
        known = opened.description
        _require_channels(store, known.fields, known.inputs, known.fill)
    values = {**config, "predictor": {"name": opened.name}}
    built = build(AssimilatedOperator.Config, values, prefix="operator")
    return assimilate(
        opened,
        None,
        train_predictor=built.train_predictor,
        correction=built.correction,
        seed=recipe.seed,
    )


def build_mixture(recipe: TrainRecipe, stores: Sequence[Store], operator: Operator) -> Mixture:
    """The training windows of all datasets, with their shares, augmentations and order."""
    fields = operator.description.fields
    parts, augmentations = [], []
    for store, data in zip(stores, recipe.data, strict=True):
        windows = _windows(recipe, store, data, operator)
        parts.append((windows, data.weight * len(windows) ** recipe.size_exponent))
        augmentations.append(
            Augmentation(data.augment, store, fields, data.parity) if data.augment else None
        )
    micro_batch, streams = recipe.micro_batch, recipe.micro_batches
    return Mixture(parts, micro_batch, recipe.seed, augmentations, streams=streams)


def _windows(recipe: TrainRecipe, store: Store, data: DataConfig, operator: Operator) -> Windows:
    objective, fields = recipe.objective, operator.description.fields
    if objective.kind == "assimilation" and not operator.assimilates:
        raise ValueError(
            f"{operator.name} predicts but cannot assimilate; use operator.name: observer, or wrap "
            f"it: operator: {{name: assimilated, predictor: {{name: {operator.name}, …}}}}"
        )
    if objective.kind != "all2all":
        return Windows(
            store,
            history=operator.history,
            horizon=objective.horizon,
            stride=data.stride,
            every=data.every,
            trajectories=data.trajectories,
            fields=fields,
            inputs=operator.description.inputs,
            fill=operator.description.fill,
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
        fill=operator.description.fill,
    )


def build_validation(recipe: TrainRecipe, operator: Operator) -> dict[str, list[Window]]:
    """Per dataset, one long window from the start of each validation trajectory."""
    windows, description = {}, operator.description
    for data in recipe.data:
        store = _open(data, "valid", recipe.validation.trajectories)
        count = min(recipe.validation.trajectories, len(store))
        horizon = _validation_horizon(recipe, store, data, operator, count)
        windows[store.name] = [
            store.window(i, store.first, operator.history, horizon, data.stride)
            .filled(description.fill)
            .select(description.fields, description.inputs)
            for i in range(count)
        ]
    return windows


def _validation_horizon(
    recipe: TrainRecipe, store: Store, data: DataConfig, operator: Operator, count: int
) -> int:
    """Frames to roll out: as many as are wanted and stored."""
    if store.steady:
        return 1
    stored = (min(map(store.n_frames, range(count))) - store.first - 1) // data.stride + 1
    horizon = min(recipe.validation.horizon, stored - operator.history)
    if horizon < 1:
        raise ValueError(
            f"the validation trajectories of {store.name} have {stored} frames at stride "
            f"{data.stride}; needed are {operator.history} + 1"
        )
    return horizon


def _normalizer(
    config: Mapping[str, Any],
    stores: Sequence[Store],
    fill: Mapping[str, float],
    known: Description,
) -> Normalizer:
    if config["name"] != Statistics.name:
        return normalizer_from_dict(config)
    found = pooled_statistics(stores)
    # Fields that no dataset has: in the donor's units, else 0.
    before = known.normalizer if isinstance(known.normalizer, Statistics) else Statistics({}, {})
    mean = {**fill, **before.mean.get(POOLED, {}), **found.mean[POOLED]}
    std = {**dict.fromkeys(fill, 1.0), **before.std.get(POOLED, {}), **found.std[POOLED]}
    names = {*found.mean[POOLED], *fill}
    return Statistics(
        {**found.mean, POOLED: {name: mean[name] for name in mean if name in names}},
        {**found.std, POOLED: {name: std[name] for name in std if name in names}},
    )
