"""A fine-tuning recipe from a checkpoint and data alone: the common case in one line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...datasets.base.config import build
from ...datasets.fields.normalization import Statistics, normalizer_to_dict
from ...datasets.sampling.windows import Windows
from ...datasets.stores.store import Store
from ...operators.core.description import Description
from ...operators.core.operator import Operator
from ...operators.core.registry import get
from ...pretrain.data import open_stores
from ...pretrain.objectives import ObjectiveConfig
from ...pretrain.start import known_of, time_steps
from .dividing import with_splits
from .donor import Donor
from .recipe import FinetuneRecipe

PASSES = 40  # over the training windows,
STEPS = (200, 4000)  # but not fewer nor more steps than these
FEW = 128  # windows, below which the backbone is moved with care
SLOWER = 0.3  # then, and for operators that are direct: the backbone's rate over pretraining's
UNROLLED = 4  # frames at least that training feeds back: what one-step training spares blows up
GROWING = 5  # steps between longer rollouts at first, while another equation may blow some up
VALIDATED = 25  # frames at most
CHECKS = 15  # validations along the way
PATIENCE = 6  # of them without a better score end training
_STEADY = (
    "a steady problem, from a checkpoint that steps in time: what is between embedding and "
    "recovery comes over, and fields by name; inputs are new, statistics scale all"
)
SAME_TIME = 3.0  # a factor between time steps, in the network's unit, that it copes with


@dataclass(frozen=True)
class Draft:
    """A recipe, and why it is as it is.

    Attributes:
        values: the recipe as plain data.
        notes: what was taken from where, a line each.
    """

    values: dict[str, Any]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """What people say beside checkpoint and data, as far as other settings follow from it.

    Attributes:
        fields, conditions: they name these, which may be other ones than the checkpoint's then.
        steps, batch, log_every: as recipes have them; None: by the size of the data.
    """

    fields: bool = False
    conditions: bool = False
    steps: int | None = None
    batch: int | None = None
    log_every: int | None = None


def draft(donor: Donor, data: str | Sequence[Mapping[str, Any]], asked: Asked) -> Draft:
    """What a recipe for these data says.

    Args:
        donor: the checkpoint to start from.
        data: a dataset in any layout, or entries of a recipe's `data`.
        asked: what else was said.

    Raises:
        ValueError: the data cannot be read, are of another dimension than the checkpoint's, or
            share no field with it.
    """
    given = [{"path": data}] if isinstance(data, str) else [dict(entry) for entry in data]
    divided = [with_splits(entry) for entry in given]
    entries, notes = [d.entry for d in divided], [d.note for d in divided if d.note]
    values: dict[str, Any] = {
        "data": entries,
        "operator": {"name": donor.operator, **_architecture(donor)},
        "init_from": str(donor.source),
        **_scaling(donor.about),
    }
    stores = open_stores(build(FinetuneRecipe, values))
    donor.require_dimension(stores)
    new = stores[0].steady and not donor.about.inputs
    if new:
        values["operator"] |= donor.changes_for(stores[0], values["operator"])
        values |= _scaling(known_of(donor.about, steady=True))
        notes += [_STEADY]
    notes += [_fields(donor, stores[0], asked.fields)]
    values |= _conditions(donor, stores[0], asked.conditions)
    for store, entry in zip(stores, entries, strict=True):
        scale, note = _time_scale(donor, store, values, entry)
        if scale is not None:
            entry["time_scale"] = scale
        notes += [note] if note else []
    values["objective"] = _objective(donor, stores, entries)
    values |= _amounts(donor, stores, values, asked)
    values |= _checks(donor, stores, values, asked)
    build(FinetuneRecipe, values)
    kept = "conditions and architecture" if new else "normaliser, conditions and architecture"
    notes += [*_told(values), f"{kept} are the checkpoint's"]
    return Draft(values, tuple(notes))


def _told(values: Mapping[str, Any]) -> Iterator[str]:
    """Budget and learning rates in words."""
    rate, fast = values["optimizer"]["learning_rate"], values["learning_rates"]
    head = f" ({', '.join(fast)}: {max(fast.values()):.3g})" if fast else ""
    yield (
        f"at most {values['steps']} steps of {values['batch']} windows, learning rate "
        f"{rate:.3g}{head}; the best weights by validation are published"
    )


def _architecture(donor: Donor) -> dict[str, Any]:
    """The operator's config, so that the recipe trains the same one from scratch, too.

    What follows from data is left open: it is the checkpoint's, or from scratch measured anew.
    """
    left_open = ("ndim", *get(donor.operator).measured)
    return {key: value for key, value in donor.config.items() if key not in left_open}


def _scaling(about: Description) -> dict[str, Any]:
    """Normaliser and time scale, likewise."""
    normalizer = normalizer_to_dict(about.normalizer)
    if normalizer["name"] == Statistics.name:
        normalizer = {"name": Statistics.name}  # its numbers are those of the data
    normalizer.pop("constant", None)
    scale = {} if about.time_scales else {"time_scale": about.time_scale}
    return {"normalizer": normalizer, **scale}


def _conditions(donor: Donor, store: Store, said: bool) -> dict[str, Any]:
    """The checkpoint's conditions, where nothing was said of them.

    Raises:
        ValueError: the data lack one.
    """
    wanted = donor.about.conditions
    available = (*store.constant_fields, *store.parameter_names)
    missing = [name for name in wanted if name not in available]
    if missing and not said:
        raise ValueError(
            f"{donor.source} takes {', '.join(missing)} as an input, and {store.name} has "
            f"{', '.join(available) or 'no constant field or parameter'}: rename one (--data "
            f"'[{{path: …, rename: {{…: {missing[0]}}}}}]'), or do without (--conditions '[]')"
        )
    given = {"prescribed": [*donor.about.prescribed]} if donor.about.prescribed else {}
    return {"conditions": [*wanted], **given}


def _fields(donor: Donor, store: Store, named: bool) -> str:
    """Which fields are known by name; refuses data that have none of them, unless these are named.

    Raises:
        ValueError: no field is known.
    """
    theirs, ours = donor.about.fields, store.fields
    known, new = [k for k in ours if k in theirs], [k for k in ours if k not in theirs]
    if not known and not named:
        raise ValueError(
            f"{store.name} has no field of {donor.source}: {', '.join(ours)} here and "
            f"{', '.join(theirs)} there. If one is the other by another name, say --data "
            f"'[{{path: …, rename: {{{ours[0]}: {theirs[0]}}}}}]'; to train what meets them "
            f"afresh, say --fields '[{', '.join(ours)}]'"
        )
    told = [f"known by name: {', '.join(known)}"] if known else []
    return "fields " + "; ".join([*told, *([f"new: {', '.join(new)}"] if new else [])])


def _time_scale(
    donor: Donor, store: Store, values: Mapping[str, Any], entry: Mapping[str, Any]
) -> tuple[float | None, str]:
    """The time scale that lets the network see a step as it did, where it would not."""
    about = donor.about
    sees = about.time_scales or get(donor.operator).direct or donor.config.get("time_input")
    if store.steady or "time_scale" in entry or not sees:
        return None, ""
    recipe = build(FinetuneRecipe, {**values, "data": [dict(entry)]})
    step = min(time_steps(store, recipe.data[0]))
    if about.time_scales or not about.time_steps:
        return float(f"{step:.6g}"), f"time_scale {step:.3g}: a step of {store.name} is the unit"
    least, most = (t / about.time_scale for t in (min(about.time_steps), max(about.time_steps)))
    if least / SAME_TIME <= step / about.time_scale <= most * SAME_TIME:
        return None, ""
    scale = float(f"{step / least:.6g}")
    return scale, (
        f"time_scale {scale:.3g}: a step of {store.name}, {step:.3g}, looks like the shortest one "
        f"that the checkpoint was trained at, {min(about.time_steps):.3g}"
    )


def _frames(stores: Sequence[Store], entries: Sequence[Mapping[str, Any]]) -> int:
    """The fewest frames, at the stride, that every training trajectory has without a gap."""
    return min(
        (max(map(len, store.stretches(i))) - 1) // entry.get("stride", 1) + 1
        for store, entry in zip(stores, entries, strict=True)
        for i in range(len(store))
    )


def _objective(
    donor: Donor, stores: Sequence[Store], entries: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The objective of the checkpoint's training, over as many frames as there are."""
    known = donor.recipe.get("objective")
    values = dict(known) if isinstance(known, Mapping) else {}
    kind = values.get("kind", "rollout")
    if stores[0].steady:
        known = values if donor.about.inputs else {k: v for k, v in values.items() if k == "loss"}
        return {**known, "horizon": 1}
    wanted = int(values.get("horizon", ObjectiveConfig.horizon))
    if kind == "rollout":
        wanted = max(UNROLLED, wanted)
    most = _frames(stores, entries) - int(donor.config.get("history", 1))
    if most < 1:
        raise ValueError(
            f"{stores[0].name}: {_frames(stores, entries)} frames are too few for a checkpoint "
            f"that sees {donor.config.get('history', 1)} and predicts the next"
        )
    horizon = min(wanted, most)
    if kind == "rollout" and horizon > 1 and not get(donor.operator).direct:
        values["curriculum"] = values.get("curriculum") or {"every": GROWING}
    return {**values, "horizon": horizon}


def _amounts(
    donor: Donor, stores: Sequence[Store], values: Mapping[str, Any], asked: Asked
) -> dict[str, Any]:
    """Batch, steps and learning rates by the number of training windows."""
    before, history = donor.recipe, int(values["operator"].get("history", 1))
    horizon = values["objective"]["horizon"]
    count = sum(
        len(Windows(s, history=history, horizon=horizon, stride=entry.get("stride", 1)))
        for s, entry in zip(stores, values["data"], strict=True)
    )
    batch = asked.batch or max(1, min(int(before.get("batch", 16)), count))
    most = min(batch, int(before.get("micro_batch", 8)))
    micro = max(size for size in range(1, most + 1) if batch % size == 0)
    wanted = 10 * math.ceil(PASSES * count / batch / 10)
    optimizer = before.get("optimizer")
    optimizer = dict(optimizer) if isinstance(optimizer, Mapping) else {}
    peak = float(optimizer.get("learning_rate", 1e-3))
    careful = (count < FEW) + get(donor.operator).direct
    slow = float(f"{peak * SLOWER**careful:.3g}")
    return {
        "optimizer": {**optimizer, "learning_rate": slow},
        "learning_rates": dict.fromkeys(_fast(donor), peak),
        "batch": batch,
        "micro_batch": micro,
        "steps": asked.steps or min(STEPS[1], max(STEPS[0], wanted)),
        "average": {"decay": 0.99},
    }


def _fast(donor: Donor) -> tuple[str, ...]:
    """The parts that keep the rate of pretraining: what meets new fields and, seen, new times."""
    cls = get(donor.operator)
    if cls.parts is Operator.parts:  # it does not name any
        return ()
    return ("embedding", "recovery", "norms") if cls.direct else ("embedding", "recovery")


def _checks(
    donor: Donor, stores: Sequence[Store], values: Mapping[str, Any], asked: Asked
) -> dict[str, Any]:
    """When training is validated and saved, and ends."""
    steps, entries = values["steps"], values["data"]
    log = asked.log_every or min(10, max(1, steps // CHECKS))
    every = log * max(1, steps // CHECKS // log)
    history = int(donor.config.get("history", 1))
    horizon = 1 if stores[0].steady else max(1, min(VALIDATED, _frames(stores, entries) - history))
    return {
        "validation": {"every": every, "trajectories": 8, "horizon": horizon},
        "log_every": log,
        "save_every": every,
        "early_stopping": {"patience": PATIENCE},
        "publish": "best",
    }
