"""What a prediction is labelled with: coordinates, units, attributes, and where it is masked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from ...datasets.base.config import plain
from ...datasets.stores.store import Store
from ...operators.core.operator import Operator
from ...operators.core.predicted import BOUNDARY
from .plan import Plan

CONVENTIONS_TEXT = (
    "NAME: predicted field; NAME_truth: stored field at the same time, NaN where none is stored. "
    "Both are NaN where the field is masked (land, obstacles). "
    "Physical units. time: of the dataset; lead_time: since the last given frame. Each frame is "
    "predicted from the ones before it, of which only the first `history` were given; in mode "
    "`direct`, from these alone."
)


def masked_points(store: Store, fields: Sequence[str], i: int) -> Bool[np.ndarray, "C *S"] | None:
    """Where fields of trajectory i are masked, beside those that are masked entirely.

    None where nothing is.
    """
    mask = store.mask(i)
    if mask is None:
        return None
    here = np.zeros((len(fields), *store.grid.shape), bool)
    for channel, name in enumerate(fields):
        known = mask[store.fields.index(name)] if name in store.fields else mask.new_zeros(1)
        if known.any():
            here[channel] = ~known.numpy()
    return here


def coordinates(store: Store, plan: Plan) -> dict[str, Any]:
    """Space, time, lead time, trajectory and its parameters, with units."""
    lead = np.array(plan.leads)
    times = np.stack([_times(store.trajectory_times(i), plan, lead) for i in plan.trajectories])
    unit = unit_of(store, "time")
    coordinates: dict[str, Any] = {
        axis: ((axis,), values.numpy(), unit_of(store, "length") | {BOUNDARY: kind})
        for axis, values, kind in zip(
            store.axes, store.grid.coordinates(), store.grid.boundary, strict=True
        )
    }
    if (times == times[0]).all():
        coordinates["time"] = (("time",), times[0], {"long_name": "time"} | unit)
    else:
        dims = ("trajectory", "time")
        coordinates["physical_time"] = (dims, times, {"long_name": "time"} | unit)
    coordinates["lead_time"] = (
        ("time",),
        lead,
        {"long_name": "time since last given frame"} | unit,
    )
    coordinates["trajectory"] = (("trajectory",), np.asarray(plan.trajectories))
    drawn = [store.parameters(i) for i in plan.trajectories]
    for p, name in enumerate(store.parameter_names):
        values = np.array([row[p].item() for row in drawn if row is not None])
        key = f"{name}_parameter" if name in plan.fields else name
        coordinates[key] = (("trajectory",), values, unit_of(store, name))
    return coordinates


def _times(stored: np.ndarray, plan: Plan, lead: np.ndarray) -> np.ndarray:
    """Physical times of the predicted frames: as stored, and beyond that by the time step."""
    times = stored[plan.last_given] + lead
    for step, frame in enumerate(plan.frames):
        if frame is not None and frame < len(stored):
            times[step] = stored[frame]
    return times


def attributes(operator: Operator, store: Store, plan: Plan) -> dict[str, Any]:
    """From what, by what and how it was predicted."""
    return {
        "Conventions": "CF-1.11",
        "title": f"{operator.name} forecast of {store.name}",
        "conventions": CONVENTIONS_TEXT,
        "operator": operator.name,
        "provenance": json.dumps(plain(operator.description.provenance), sort_keys=True),
        "dataset": store.name,
        "split": ", ".join(store.splits),
        "dt": plan.dt,
        "mode": plan.mode,
        "history": plan.history,
        "start": plan.start,
        "stride": plan.stride,
        "boundary": ", ".join(store.grid.boundary),
        **_prescribed(operator),
    }


def _prescribed(operator: Operator) -> dict[str, str]:
    names = operator.description.prescribed
    return {"prescribed": ", ".join(names)} if names else {}


def unit_of(store: Store, name: str) -> dict[str, str]:
    """The attribute `units`, where one is known."""
    return {"units": store.units[name]} if name in store.units else {}
