"""What a run starts from: the description of its data, and an operator that fits them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..datasets.base.config import plain
from ..datasets.base.paths import expanded
from ..datasets.base.processes import ALONE, Processes
from ..datasets.fields.normalization import (
    POOLED,
    Identity,
    Normalizer,
    Standard,
    Statistics,
    WindowScaling,
    normalizer_from_dict,
    normalizer_to_dict,
)
from ..datasets.fields.units import check_units
from ..datasets.sampling.scales import (
    condition_scales,
    pooled_statistics,
    prescribed_scales,
)
from ..datasets.sampling.structure_change import structure_change
from ..datasets.sampling.unvarying import unvarying
from ..datasets.sampling.windows import require_channels
from ..datasets.stores.store import Store
from ..operators.core.checkpoint import from_pretrained, locate
from ..operators.core.description import Description
from ..operators.core.operator import Operator
from ..operators.core.registry import create, get
from .conserved import kept, require_conserved
from .known_linear import resolve_linear
from .objectives.registry import objective_of
from .recipe import DataConfig, TrainRecipe
from .trained import trained_ranges

WINDOW = WindowScaling.name
_FITTED = 16  # trajectories, and frames of each, that are looked at before training


def describe(
    recipe: TrainRecipe,
    stores: Sequence[Store],
    donor: Description | None = None,
    processes: Processes = ALONE,
) -> Description:
    """What an operator trained by this recipe is about.

    Normaliser, conditions and time scales are the recipe's; where it has none, those of `donor`,
    from whose weights training starts. Statistics of fields are always those of the data;
    conditions that the donor knows keep its scales. All `processes` call it and share the reading.

    Raises:
        ValueError: a dataset lacks a field or a condition.
    """
    first = stores[0]
    known = _known(donor, first.steady)
    normalizer = _normalizer_config(recipe, known, donor)
    fields, inputs = recipe.fields or first.fields, recipe.inputs or first.inputs
    named = (*fields, *inputs, "time", "length")
    shared = (*named, *known.conditions, *known.prescribed)
    prescribed = _prescribed(recipe, stores, known, donor is None)
    fill = _fill(recipe, known, (*fields, *inputs, *prescribed))
    for store in stores:
        check_units("the checkpoint", known.units, f"dataset {store.name!r}", store.units, shared)
        _require_roles(store, fields, inputs)
        _require_channels(store, fields, inputs, fill)
        _require_prescribed(store, prescribed, fill)
    raw = normalizer["name"] == Identity.name
    conditions = _conditions(recipe, stores, known, inputs, None if raw else processes)
    if not raw:
        conditions["condition_scales"] |= _scales(stores, prescribed, known, processes)
    channels = {name: value for name, value in fill.items() if name in (*fields, *inputs)}
    named += (*conditions["constant_fields"], *conditions["parameters"], *prescribed)
    return Description(
        fields=fields,
        units=_units(stores, named),
        normalizer=_normalizer(normalizer, stores, channels, known, processes),
        inputs=inputs,
        fill=fill,
        prescribed=prescribed,
        **conditions,
        **_time_scales(recipe, stores, known),
        time_steps=_lead_times(recipe, stores),
        conserved=_conserved(recipe, stores, known, fields),
        bounded=_bounded(recipe, known),
        grid=first.grid if all(store.grid == first.grid for store in stores) else None,
        axes=first.axes if all(store.axes == first.axes for store in stores) else (),
        trained=trained_ranges(stores, inputs or fields, prescribed),
        provenance=_provenance(recipe, stores),
    )


def _provenance(recipe: TrainRecipe, stores: Sequence[Store]) -> dict[str, Any]:
    """Where an operator comes from."""
    names = [store.name for store in stores]
    return {"pelagos": version("pelagos"), "datasets": names, "recipe": plain(recipe)}


def _known(donor: Description | None, steady: bool) -> Description:
    """What is known before the data are seen."""
    if donor:
        return known_of(donor, steady)
    usual = Statistics({}, {}) if steady else WindowScaling()
    return Description(fields=("u",), normalizer=usual)


def _normalizer_config(
    recipe: TrainRecipe, known: Description, donor: Description | None
) -> Mapping[str, Any]:
    """The recipe's normaliser, else the known one; an offset of windows is the donor's."""
    found = recipe.normalizer or normalizer_to_dict(known.normalizer)
    if donor and found["name"] == donor.normalizer.name == WindowScaling.name:
        return {"offset": normalizer_to_dict(donor.normalizer)["offset"], **found}
    return found


def _units(stores: Sequence[Store], named: Sequence[str]) -> dict[str, str]:
    """Units of names, as the first store says them that has some."""
    found: dict[str, str] = {}
    for store in stores:
        found = {name: store.units[name] for name in named if name in store.units} | found
    return {name: found[name] for name in named if name in found}


def _prescribed(
    recipe: TrainRecipe, stores: Sequence[Store], known: Description, scratch: bool
) -> tuple[str, ...]:
    """Names of the prescribed fields that the operator takes."""
    names = recipe.prescribed
    if names is None and not scratch:
        return known.prescribed
    if names is None:
        names = "all" if get(recipe.operator["name"]).driven else ()
    if names != "all":
        return names
    given = [store.prescribed.fields for store in stores if store.prescribed is not None]
    return tuple(dict.fromkeys(name for fields in given for name in fields))


def _scales(
    stores: Sequence[Store], names: Sequence[str], known: Description, processes: Processes
) -> dict[str, Standard]:
    """How prescribed fields are scaled: as the checkpoint knows them, else by the data."""
    kept = {name: known.scale_of(name) for name in names if name in known.prescribed}
    return prescribed_scales(stores, names, processes) | kept


def _require_prescribed(store: Store, names: Sequence[str], fill: Mapping[str, float]) -> None:
    known = () if store.prescribed is None else store.prescribed.fields
    missing = [name for name in names if name not in known and name not in fill]
    if not missing:
        return
    stored = [name for name in missing if name in store.fields]
    remedy = f"give the value that stands for it there: fill: {{{missing[0]}: 0.0}}"
    if stored:
        remedy = f"say that it is: data[i].prescribed: [{stored[0]}]"
    raise ValueError(
        f"dataset {store.name!r} has no prescribed {', '.join(missing)}, which the operator takes; "
        f"it has {', '.join(known) or 'none'}. {remedy[0].upper()}{remedy[1:]}, or "
        "leave it out of the recipe's `prescribed`"
    )


def known_of(donor: Description, steady: bool) -> Description:
    """What a training takes over from the checkpoint that it starts from.

    A steady problem has no increments to scale by, if the checkpoint's data had; its one lead time,
    1, is the network's unit of time.
    """
    if not steady or donor.inputs:
        return donor
    scales = donor.normalizer.knows_means
    normalizer = donor.normalizer if scales else Statistics({}, {})
    return replace(
        donor,
        normalizer=normalizer,
        time_scale=1.0,
        time_scales={},
        prescribed=(),
        conserved=(),
        bounded=None,
    )


def _conserved(
    recipe: TrainRecipe, stores: Sequence[Store], known: Description, fields: Sequence[str]
) -> tuple[str, ...]:
    """Fields whose mean every step keeps: of the checkpoint's, those whose mean these data keep."""
    if recipe.conserved is None:
        return kept([name for name in known.conserved if name in fields], stores)
    for store in stores:
        require_conserved(store, recipe.conserved)
    return recipe.conserved


def _bounded(recipe: TrainRecipe, known: Description) -> float | None:
    """How much larger than the data predictions may be."""
    if recipe.bounded is None:
        return known.bounded
    return None if recipe.bounded == "none" else recipe.bounded


def _fill(recipe: TrainRecipe, known: Description, fields: Sequence[str]) -> dict[str, float]:
    """Values of fields that datasets may lack."""
    unused = [name for name in recipe.fill or () if name not in fields]
    if unused:
        raise ValueError(
            f"fill: {', '.join(unused)} is not among what the operator takes or predicts, "
            f"{', '.join(fields)}; name it in the recipe's `fields` or `inputs`, or leave it out"
        )
    given = recipe.fill or known.fill
    return {name: value for name, value in given.items() if name in fields}


def _require_roles(store: Store, fields: Sequence[str], inputs: Sequence[str]) -> None:
    """Refuse a name that means what is given in one dataset, and what is predicted in another."""
    if not store.steady:
        return
    given = [name for name in fields if name in store.inputs and name not in store.fields]
    predicted = [name for name in inputs if name in store.fields and name not in store.inputs]
    for key, names, role, there in (
        ("fields", given, "predicted", "given"),
        ("inputs", predicted, "given", "predicted"),
    ):
        if names:
            raise ValueError(
                f"{names[0]} is {role}, and in dataset {store.name!r} it is {there}; leave it out "
                f"of the recipe's `{key}`, or, if another dataset has it there, give it a name of "
                f"its own in this one: data[i].rename: {{{names[0]}: {names[0]}_{there}}}"
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
    processes: Processes | None,
) -> dict[str, Any]:
    """Names and scales of the conditions, as `Description` takes them.

    Without processes that compute them there are no scales.
    """
    names, first, before = recipe.conditions, stores[0], known.constant_fields + known.parameters
    if names is None:
        names = before
    candidates = [k for k in first.constant_fields if k not in inputs]
    available = (*candidates, *(p for p in first.parameter_names if p not in candidates))
    if names == "all":
        names = tuple(name for name in available if not name.startswith("coordinate_"))
    missing = [name for name in names if name not in available]
    if missing:
        remedy = "Name in `conditions` what all datasets have"
        if recipe.conditions is None:  # they are the checkpoint's
            remedy = (
                "The checkpoint takes it as an input: rename one (data[i].rename), or do without "
                "(conditions: [])"
            )
        raise ValueError(
            f"dataset {first.name} has no constant field or parameter {', '.join(missing)}; it has "
            f"{', '.join(available) or 'none'}. {remedy}"
        )
    constants = tuple(name for name in names if name in candidates)
    parameters = tuple(name for name in names if name not in candidates)
    scales = condition_scales(stores, constants, parameters, processes) if processes else {}
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
    pairs = zip(stores, recipe.data, strict=True)
    steps = {step for store, data in pairs for step in time_steps(store, data)}
    name, objective = recipe.operator.get("name"), objective_of(recipe.objective)
    direct = name is not None and get(name).direct
    return tuple(sorted({time for step in steps for time in objective.lead_times(step, direct)}))


def time_steps(store: Store, data: DataConfig) -> set[float]:
    """Physical times between the frames that the operator sees; 1 for a steady problem.

    Raises:
        ValueError: trajectories are single frames, or frames are not uniform in time.
    """
    if store.steady:
        return {1.0}
    if store.dt is not None:
        return {store.dt * data.stride}
    found = {store.timeline(i).step for i in range(len(store))}
    if all(store.n_frames(i) == 1 for i in range(len(store))):
        raise ValueError(
            f"every trajectory of dataset {store.name} has one frame: nothing to predict; name "
            f"constants for a steady problem, or, if the frames are those of a run, store them "
            f"along a time axis"
        )
    steps = {step * data.stride for step in found if step is not None}
    if None in found:
        raise ValueError(f"the frames of dataset {store.name} are not uniformly spaced in time")
    return steps


def _normalizer(
    config: Mapping[str, Any],
    stores: Sequence[Store],
    fill: Mapping[str, float],
    known: Description,
    processes: Processes,
) -> Normalizer:
    if config["name"] != Statistics.name:
        found = normalizer_from_dict(config)
        return _with_constants(found, stores, processes) if config["name"] == WINDOW else found
    found = pooled_statistics(stores, processes)
    # Fields that no dataset has: in the donor's units, else 0.
    before = known.normalizer if isinstance(known.normalizer, Statistics) else Statistics({}, {})
    mean = {**fill, **before.mean.get(POOLED, {}), **found.mean[POOLED]}
    std = {**dict.fromkeys(fill, 1.0), **before.std.get(POOLED, {}), **found.std[POOLED]}
    names = {*found.mean[POOLED], *fill}
    return Statistics(
        {**found.mean, POOLED: {name: mean[name] for name in mean if name in names}},
        {**found.std, POOLED: {name: std[name] for name in std if name in names}},
    )


def _with_constants(
    found: Normalizer, stores: Sequence[Store], processes: Processes
) -> WindowScaling:
    """The window normaliser that knows which fields of the stores never vary."""
    assert isinstance(found, WindowScaling), "its name says so"
    names = {store.name for store in stores}
    others = {name: fields for name, fields in found.constant.items() if name not in names}
    return replace(found, constant={**others, **unvarying(stores, processes)})


def left_out(operator: Operator, stores: Sequence[Store]) -> list[str]:
    """What is said, a line for each dataset, of fields that are not learned as they never vary.

    Raises:
        ValueError: no field of a dataset varies.
    """
    lines, about = [], operator.description
    for store in stores if not about.inputs else ():
        constant = about.normalizer.constants(store.name)
        names = [name for name in about.fields if name in constant]
        if names and len(names) == len(about.fields):
            raise ValueError(
                f"no field of dataset {store.name} varies ({', '.join(names)}): there is nothing "
                "to learn; see pelagos data check"
            )
        if names:
            lines.append(
                f"{', '.join(names)} of {store.name} never varies in training data: it keeps its "
                "value, and counts in neither loss nor scores"
            )
    return lines


def create_operator(
    recipe: TrainRecipe, stores: Sequence[Store], processes: Processes = ALONE
) -> Operator:
    """A freshly initialised operator that fits the data; one that it wraps may be a checkpoint's.

    Raises:
        ValueError: the operator's name or config is wrong.
    """
    config = resolve_linear(recipe.operator)
    if "name" not in config:
        raise ValueError("recipe.operator needs a name, such as dymixop")
    config.setdefault("ndim", stores[0].grid.ndim)
    cls = get(config.pop("name"))
    if "checkpoint" in _wrapped(cls, config):
        operator = _around_checkpoint(cls, config, recipe, stores)
    else:
        operator = _fresh(cls, config, recipe, stores, processes)
    fit_to_data(operator, stores, fresh=True)
    return operator


def _wrapped(cls: type[Operator], config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config of the operator that one of this class wraps; empty where it wraps none."""
    inner = config.get(cls.wraps)
    return inner if isinstance(inner, Mapping) else {}


def _fresh(
    cls: type[Operator],
    config: dict[str, Any],
    recipe: TrainRecipe,
    stores: Sequence[Store],
    processes: Processes,
) -> Operator:
    """Initial weights; config keys that follow from the data are measured."""
    description = describe(recipe, stores, processes=processes)

    def complete(cls: type[Operator], config: Mapping[str, Any]) -> dict[str, Any]:
        open_keys = [key for key in cls.measured if key not in config]
        measured = {key: _MEASURES[key](cls, recipe, stores, description) for key in open_keys}
        return {**config, **measured}

    config, inner = complete(cls, config), _wrapped(cls, config)
    if inner.get("name"):
        config[cls.wraps] = complete(get(inner["name"]), inner)
    return create(cls.name, description=description, seed=recipe.seed, **config)


def _around_checkpoint(
    cls: type[Operator], config: dict[str, Any], recipe: TrainRecipe, stores: Sequence[Store]
) -> Operator:
    """An operator around the one that a checkpoint holds, as it is."""
    inner = dict(config.pop(cls.wraps))
    source = expanded(str(inner.pop("checkpoint")), f"operator.{cls.wraps}.checkpoint")
    opened = from_pretrained(locate(source))
    if inner:
        raise ValueError(
            f"operator.{cls.wraps} is a checkpoint and needs no {', '.join(map(repr, inner))}"
        )
    known = opened.description
    for store in stores:
        _require_channels(store, known.fields, known.inputs, known.fill)
    return cls.around(opened, config, seed=recipe.seed)


def fit_to_data(operator: Operator, stores: Sequence[Store], *, fresh: bool) -> None:
    """What an operator takes from data before training; most take nothing.

    Args:
        operator: changed in place.
        stores: of the training data.
        fresh: whether its weights are new; else what it knows of data is only extended.
    """
    fields = operator.description.fields
    for i, store in enumerate(stores):
        if set(fields) <= set(store.fields):  # else these data lack a field
            frames = partial(_first_frames, store, fields)
            operator.fit_to(frames, store.name, fresh=fresh and i == 0)


def _first_frames(store: Store, fields: Sequence[str]) -> Float[Tensor, "N C *S"]:
    """Some frames of the first trajectories, in physical units."""
    channels = [store.fields.index(name) for name in fields]
    frames = []
    for i in range(min(_FITTED, len(store))):
        stop, whole = store.n_frames(i), store.whole_frames(i)
        asked = range(store.first, stop, max(1, stop // _FITTED))
        if whole is None:
            frames.append(store.read(i, asked.start, stop, asked.step)[:, channels])
        else:
            frames += [store.read(i, k, k + 1)[:, channels] for k in asked if whole[k]]
    if not frames:
        raise ValueError(
            f"all frames of the first {_FITTED} trajectories of {store.name!r} have missing values"
        )
    return torch.cat(frames)


def _resolution(
    cls: type[Operator], recipe: TrainRecipe, stores: Sequence[Store], description: Description
) -> tuple[int, ...]:
    """The grid on which weights get their meaning: that of the first dataset.

    None for an operator that would resample some of its training data to it.
    """
    shapes = {store.grid.shape for store in stores}
    return () if cls.resamples and len(shapes) > 1 else stores[0].grid.shape


def _kernels(
    cls: type[Operator], recipe: TrainRecipe, stores: Sequence[Store], description: Description
) -> str:
    """What local weights do on other grids; where several are trained, runs stay as they began."""
    return "points" if len({store.grid.shape for store in stores}) > 1 else "physical"


def _structure_change(
    cls: type[Operator], recipe: TrainRecipe, stores: Sequence[Store], description: Description
) -> float:
    """How fast frames change from one time step to the next; 1 for a steady problem."""
    if description.inputs:
        return 1.0
    return structure_change(stores, description.fields, [data.stride for data in recipe.data])


def _time_input(
    cls: type[Operator], recipe: TrainRecipe, stores: Sequence[Store], description: Description
) -> bool:
    """Whether there are several time steps to tell apart."""
    return len(description.time_steps) > 1


# How `Operator.measured` config keys follow from the data.
_MEASURES = {
    "resolution": _resolution,
    "kernels": _kernels,
    "structure_change": _structure_change,
    "time_input": _time_input,
}
