"""Predictions as xarray datasets and NetCDF files.

A prediction has dims (trajectory, time, x[, y, z]), ensembles `member` before them, and, per field,
the variables `NAME` (predicted) and `NAME_truth` (stored, NaN where nothing is stored; absent if
nothing is stored at any of the predicted times). `time` is physical time as in the dataset,
`lead_time` counts from the last given frame; only predicted frames are in it. Where a field is
masked, both are NaN.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from ...datasets.base.appearing import appearing_file
from ...datasets.files.netcdf_written import write_netcdf
from ...datasets.stores.store import Store
from ...operators.core.operator import Operator
from ...operators.core.predicted import MEMBER, member_coordinate
from .frames import forecast, truth
from .labels import attributes, coordinates, masked_points, unit_of
from .members import team_of
from .plan import make_plan
from .request import Request

TRUTH, TRUTH_TIME = "_truth", "truth_time"
_MARGIN = 2**17  # bytes that a file may take beside its values


def predict(
    operator: Operator,
    store: Store,
    request: Request | None = None,
    *,
    progress: bool = False,
    others: Sequence[Operator] = (),
    **wishes: Any,
) -> xarray.Dataset:
    """Roll an operator out from stored initial frames; see the module's docstring.

    One step covers as many stored frames as make the operator's time step.

    Args:
        operator: moved to the device and set to evaluation mode.
        store: gives the history, and the truth where it has it.
        request: what to predict, also beyond the stored frames and between them.
        progress: show a bar on the error stream.
        others: further operators that predict the same, each a member (or several) of an ensemble.
        wishes: attributes of `Request` in place of the request's, as in `steps=20`.

    Raises:
        ValueError: no such trajectory or frame, a field is missing, or the time steps do not fit.
    """
    request = replace(request or Request(), **wishes)
    plan = make_plan(operator, store, request, beyond=True)
    team = team_of(operator, others, store, request, plan)
    ensemble = team.ensemble
    shape = (len(plan.trajectories), plan.steps, len(plan.fields), *store.grid.shape)
    predicted = np.empty((team.count, *shape), np.float32)
    known = any(plan.stored(k, store, i) for k in range(plan.steps) for i in plan.trajectories)
    stored = np.full(shape if known else (1,) * len(shape), np.nan, np.float32)
    steps = forecast(
        operator, store, plan, request, title="predict", progress=progress, others=others
    )
    for step in steps:
        frame = predicted[step.member, step.rows, step.index]
        frame[:] = step.fields.cpu().numpy()
        for row, i in enumerate(step.trajectories, step.rows.start):
            elsewhere = masked_points(store, plan.fields, i)
            if plan.stored(step.index, store, i):
                stored[row, step.index] = truth(store, plan, [i], step.index)[0].numpy()
            if elsewhere is not None:
                frame[row - step.rows.start][elsewhere] = np.nan
            if elsewhere is not None and known:
                stored[row, step.index][elsewhere] = np.nan
    variables: dict[str, Any] = {}
    dims = ("trajectory", "time", *store.axes)
    for channel, name in enumerate(plan.fields):
        unit = unit_of(store, name)
        variables[name] = (
            (MEMBER, *dims) if ensemble else dims,
            predicted[:, :, :, channel] if ensemble else predicted[0, :, :, channel],
            {"long_name": f"predicted {name}"} | unit,
        )
        if known:
            about = {"long_name": f"stored {name}"} | unit
            variables[name + TRUTH] = (dims, stored[:, :, channel], about)
    labels = coordinates(store, plan) | member_coordinate(team.count if ensemble else 0)
    return xarray.Dataset(variables, labels, attributes(operator, store, plan))


def write_prediction(dataset: xarray.Dataset, path: Path, *, overwrite: bool = False) -> Path:
    """Write a prediction as NetCDF 4; the file appears only when complete.

    Raises:
        ValueError: `path` exists and `overwrite` is not set, or the disk is too full.
    """
    with appearing_file(path, overwrite=overwrite) as draft:
        # Said before minutes of writing, where it can be known.
        needed, free = dataset.nbytes + _MARGIN, shutil.disk_usage(draft.parent).free
        if free < needed:
            raise ValueError(
                f"{path} needs {needed / 2**20:.1f} MiB and only {free / 2**20:.1f} MiB are free "
                "on its disk"
            )
        write_netcdf(dataset, draft)
    return path


def stored(data: xarray.Dataset, name: str) -> xarray.DataArray | None:
    """The stored frames of a field beside the predicted ones, NaN where there are none.

    Args:
        data: a prediction, also one whose truth is along `truth_time`.
        name: of the field.
    """
    truth = data.get(name + TRUTH)
    if truth is None or TRUTH_TIME not in truth.dims:
        return truth
    dims = tuple("time" if dim == TRUTH_TIME else dim for dim in truth.dims)
    axis = dims.index("time")
    shape = [data.sizes[dim] for dim in dims]
    values = np.full(shape, np.nan, np.float32)
    known = np.isin(data["lead_time"].values, truth[TRUTH_TIME].values)
    values[(*(slice(None),) * axis, known)] = truth.values
    kept = {k: v for k, v in data.coords.items() if set(v.dims) <= set(dims)}
    return xarray.DataArray(values, kept, dims, attrs=truth.attrs)
