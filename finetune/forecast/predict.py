"""Predictions as xarray datasets and NetCDF files.

A prediction has dims (trajectory, time, x[, y, z]) and, per field, the variables `NAME` (predicted)
and `NAME_truth` (stored, NaN where nothing is stored; absent if nothing is stored at any of the
predicted times). `time` is physical time as in the dataset, `lead_time` counts from the last given
frame; only predicted frames are in it. Where a field is masked, both are NaN.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray
from jaxtyping import Bool

from ...datasets.base.appearing import appearing_file
from ...datasets.base.config import plain
from ...datasets.stores.store import Store
from ...operators.core.operator import Operator
from .frames import forecast, truth
from .plan import Plan, make_plan
from .request import Request

TRUTH = "_truth"
_MARGIN = 2**17  # bytes that a file may take beside its values
_CONVENTIONS = (
    "NAME: predicted field; NAME_truth: stored field at the same time, NaN where none is stored. "
    "Both are NaN where the field is masked (land, obstacles). "
    "Physical units. time: of the dataset; lead_time: since the last given frame. Each frame is "
    "predicted from the ones before it, of which only the first `history` were given; in mode "
    "`direct`, from these alone."
)


def predict(
    operator: Operator,
    store: Store,
    request: Request | None = None,
    *,
    progress: bool = False,
    **wishes: Any,
) -> xarray.Dataset:
    """Roll an operator out from stored initial frames; see the module's docstring.

    One step covers as many stored frames as make the operator's time step.

    Args:
        operator: moved to the device and set to evaluation mode.
        store: gives the history, and the truth where it has it.
        request: what to predict, also beyond the stored frames and between them.
        progress: show a bar on the error stream.
        wishes: attributes of `Request` in place of the request's, as in `steps=20`.

    Raises:
        ValueError: no such trajectory or frame, a field is missing, or the time steps do not fit.
    """
    request = replace(request or Request(), **wishes)
    plan = make_plan(operator, store, request, beyond=True)
    shape = (len(plan.trajectories), plan.steps, len(plan.fields), *store.grid.shape)
    predicted = np.empty(shape, np.float32)
    stored = np.full(shape, np.nan, np.float32)
    for step in forecast(operator, store, plan, request, title="predict", progress=progress):
        predicted[step.rows, step.index] = step.fields.cpu().numpy()
        for row, i in enumerate(step.trajectories, step.rows.start):
            if plan.stored(step.index, store, i):
                stored[row, step.index] = truth(store, plan, [i], step.index)[0].numpy()
            elsewhere = masked_points(store, plan.fields, i)
            if elsewhere is not None:
                predicted[row, step.index][elsewhere] = stored[row, step.index][elsewhere] = np.nan
    known = np.isfinite(stored).any()
    variables: dict[str, Any] = {}
    dims = ("trajectory", "time", *store.axes)
    for channel, name in enumerate(plan.fields):
        unit = _unit(store, name)
        variables[name] = (
            dims,
            predicted[:, :, channel],
            {"long_name": f"predicted {name}"} | unit,
        )
        if known:
            about = {"long_name": f"stored {name}"} | unit
            variables[name + TRUTH] = (dims, stored[:, :, channel], about)
    return xarray.Dataset(variables, _coordinates(store, plan), _attributes(operator, store, plan))


def write_prediction(dataset: xarray.Dataset, path: Path, *, overwrite: bool = False) -> Path:
    """Write a prediction as NetCDF 4; the file appears only when complete.

    Raises:
        ValueError: `path` exists and `overwrite` is not set, or the disk is too full.
    """
    with appearing_file(path, overwrite=overwrite) as draft:
        # HDF5 does not survive a full disk in good order, so it must not meet one.
        needed, free = dataset.nbytes + _MARGIN, shutil.disk_usage(draft.parent).free
        if free < needed:
            raise ValueError(
                f"{path} needs {needed / 2**20:.1f} MiB and only {free / 2**20:.1f} MiB are free "
                "on its disk"
            )
        dataset.to_netcdf(draft, engine="h5netcdf")
    return path


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


def nonfinite(
    dataset: xarray.Dataset, store: Store, fields: Sequence[str]
) -> tuple[int, float | None]:
    """How many predicted trajectories become infinite or NaN, and the earliest lead time of it."""
    broken = np.zeros((dataset.sizes["trajectory"], dataset.sizes["time"]), bool)
    for row, i in enumerate(dataset["trajectory"].to_numpy().tolist()):
        elsewhere = masked_points(store, fields, i)
        for channel, name in enumerate(fields):
            wrong = ~np.isfinite(dataset[name][row].to_numpy())
            if elsewhere is not None:
                wrong &= ~elsewhere[channel]
            broken[row] |= wrong.reshape(len(wrong), -1).any(axis=1)
    if not broken.any():
        return 0, None
    first = broken.any(axis=0).argmax()
    return int(broken.any(axis=1).sum()), float(dataset["lead_time"][first])


def _coordinates(store: Store, plan: Plan) -> dict[str, Any]:
    """Space, time, lead time, trajectory and its parameters, with units."""
    lead = np.array(plan.leads)
    times = np.stack([_times(store.trajectory_times(i), plan, lead) for i in plan.trajectories])
    unit = _unit(store, "time")
    coordinates: dict[str, Any] = {
        axis: ((axis,), values.numpy(), _unit(store, "length"))
        for axis, values in zip(store.axes, store.grid.coordinates(), strict=True)
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
        coordinates[key] = (("trajectory",), values, _unit(store, name))
    return coordinates


def _times(stored: np.ndarray, plan: Plan, lead: np.ndarray) -> np.ndarray:
    """Physical times of the predicted frames: as stored, and beyond that by the time step."""
    times = stored[plan.last_given] + lead
    for step, frame in enumerate(plan.frames):
        if frame is not None and frame < len(stored):
            times[step] = stored[frame]
    return times


def _attributes(operator: Operator, store: Store, plan: Plan) -> dict[str, Any]:
    return {
        "title": f"{operator.name} forecast of {store.name}",
        "conventions": _CONVENTIONS,
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
    }


def _unit(store: Store, name: str) -> dict[str, str]:
    return {"units": store.units[name]} if name in store.units else {}
