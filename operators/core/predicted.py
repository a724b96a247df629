"""Predicted frames as an `xarray.Dataset` like the data that they were predicted from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray
from torch import Tensor

from ...datasets.base.config import plain
from ...datasets.fields.labelled import Labelled
from .calibration import Calibration
from .verdict import Verdict

if TYPE_CHECKING:
    from .operator import Operator

BAND = "_band"
MEMBER, LEAD, TIME = "member", "lead_time", "time"
_REALIZATION = "realization"  # standard name of CF
CONVENTIONS = "CF-1.11"
BOUNDARY = "boundary"  # attribute of a coordinate of space; of the whole, in the order of axes
ENSEMBLE = "ensemble"  # attribute: the dimension of its members
_NONE = "none"


@dataclass(frozen=True)
class Labels:
    """What predicted frames are labelled with.

    Attributes:
        source: the data.
        leads: lead times in the operator's unit.
        origin: the initial time, as the data have it; None where they have no times.
        mask: (N, C, *S) where fields are predicted; None: everywhere.
        ensemble: whether there is a dimension of members.
    """

    source: Labelled
    leads: tuple[float, ...]
    origin: Any
    mask: Tensor | None
    ensemble: bool


def assemble(
    operator: Operator, fields: Tensor, labels: Labels, verdict: Verdict
) -> xarray.Dataset:
    """Fields by name with the dimensions, coordinates, units and attributes of the data.

    Args:
        operator: predicted them.
        fields: (M, N, T, C, *S).
        labels: of the data.
        verdict: on the prediction.
    """
    source, time = labels.source, _time(operator, labels)
    lead = (MEMBER,) if labels.ensemble else ()
    dims = (*source.dims.samples, *([time] if time else []), *source.dims.space)
    variables = {}
    for channel, name in enumerate(operator.description.fields):
        part = fields[:, :, :, channel]
        if labels.mask is not None and labels.mask[:, channel].any():
            part = torch.where(labels.mask[None, :, None, channel], part, torch.nan)
        values = part.numpy() if labels.ensemble else part[0].numpy()
        sizes = [source.data.sizes[d] if d != time else part.shape[2] for d in dims]
        values = values.reshape(*values.shape[: len(lead)], *sizes)
        scale, offset = source.scales.get(name, (1.0, 0.0))
        if (scale, offset) != (1.0, 0.0):
            values = ((values - offset) / scale).astype(np.float32)
        array = xarray.DataArray(values, dims=(*lead, *dims), attrs=_about(operator, source, name))
        variables[name] = array = array.transpose(*lead, *_order(source, time))
        calibration = operator.description.calibration
        if calibration is not None and time:
            half = calibration.band(name, labels.leads) / abs(scale)
            about = band_attributes(calibration, name, array.attrs.get("units"))
            variables[f"{name}{BAND}"] = xarray.Variable((time,), half, about)
    coordinates = _coordinates(labels, time, len(fields) if labels.ensemble else 0)
    about = _attributes(operator, source, verdict)
    about[ENSEMBLE] = MEMBER if labels.ensemble else _NONE
    return xarray.Dataset(variables, coordinates, about)


def ensemble_dim(prediction: xarray.Dataset) -> str | None:
    """The dimension of an ensemble's members; None: a single forecast, whatever its dimensions.

    A file of `pelagos predict`, where every other dimension has a name of ours, does not say it.
    """
    stated = prediction.attrs.get(ENSEMBLE)
    if stated is None:
        known = MEMBER in prediction.dims and MEMBER in prediction.coords
        ours = known and prediction[MEMBER].attrs.get("standard_name") == _REALIZATION
        return MEMBER if ours else None
    return None if stated == _NONE else str(stated)


def band_attributes(calibration: Calibration, name: str, unit: str | None) -> dict[str, str]:
    """What a variable of error bands says of itself."""
    share = f"{calibration.coverage:g}"
    text = (
        f"with probability {share}, a share {share} of the points is within ± this; by "
        f"{calibration.trajectories} trajectories of {calibration.dataset}"
    )
    known = {"units": unit} if unit else {}
    return {"long_name": f"error band of {name}", "comment": text, **known}


def _time(operator: Operator, labels: Labels) -> str | None:
    """The dimension of the predicted frames; None for a steady problem, which has one."""
    if operator.description.inputs:
        return None
    return labels.source.dims.time or (LEAD if labels.origin is None else TIME)


def _order(source: Labelled, time: str | None) -> list[str]:
    """The dimensions as the data have them; a time that they have not comes after samples."""
    order = [dim for dim in source.dims.order if dim != source.dims.time]
    if time is not None:
        own = time in source.dims.order
        order.insert(source.dims.order.index(time) if own else len(source.dims.samples), time)
    return order


def _about(operator: Operator, source: Labelled, name: str) -> dict[str, Any]:
    """The data's attributes of a field, at least its unit and a name."""
    own = dict(source.data[name].attrs) if name in source.data else {}
    unit = operator.description.units.get(name)
    known = {"units": unit} if unit and "units" not in own else {}
    return {"long_name": f"predicted {name}"} | own | known


def _coordinates(labels: Labels, time: str | None, members: int) -> dict[str, Any]:
    source, origin = labels.source, labels.origin
    data, dims = source.data, source.dims
    kept: dict[str, Any] = {
        str(name): value.variable
        for name, value in data.coords.items()
        if dims.time not in value.dims and set(value.dims) <= {*dims.samples, *dims.space}
    }
    for dim, kind in zip(dims.space, source.grid.boundary, strict=True):
        if dim in kept:
            kept[dim] = kept[dim].copy(deep=False)
            kept[dim].attrs = {**kept[dim].attrs, BOUNDARY: kind}
    if time is not None:
        spans, unit = _spans(labels)
        about = dict(data.coords[time].attrs) if time in data.coords else {"long_name": "time"}
        kept[LEAD] = xarray.Variable(
            (time,),
            spans,
            {
                "long_name": "time since the last given frame",
                "standard_name": "forecast_period",
            }
            | unit,
        )
        if origin is not None and time != LEAD:
            moments = source.clock.after(origin, labels.leads)
            kept[time] = xarray.Variable((time,), moments, about)
            begin = {"standard_name": "forecast_reference_time"} | unit
            kept["forecast_reference_time"] = xarray.Variable((), origin, begin)
    return kept | member_coordinate(members)


def member_coordinate(members: int) -> dict[str, xarray.Variable]:
    """Along an ensemble: its members' numbers; {} for a single forecast."""
    number = {"standard_name": _REALIZATION}
    return {MEMBER: xarray.Variable((MEMBER,), np.arange(members), number)} if members else {}


def _spans(labels: Labels) -> tuple[np.ndarray, dict[str, str]]:
    """Lead times as the data count time, and their unit; timedeltas where they have dates."""
    clock = labels.source.clock
    if clock.dated:
        nanoseconds = [round(lead / clock.scale * 1e9) for lead in labels.leads]
        return np.array(nanoseconds, "timedelta64[ns]"), {}
    time = labels.source.dims.time
    stated = labels.source.data.coords[time].attrs if time in labels.source.data.coords else {}
    unit = str(stated.get("units", "") or clock.unit)
    return np.asarray(labels.leads) / clock.scale, {"units": unit} if unit else {}


def _attributes(operator: Operator, source: Labelled, verdict: Verdict) -> dict[str, Any]:
    about = operator.description
    kinds = dict(zip(source.dims.space, source.grid.boundary, strict=True))
    found = {
        "Conventions": CONVENTIONS,
        "title": f"{operator.name} forecast" + (f" of {source.name}" if source.name else ""),
        "source": f"pelagos {version('pelagos')}, operator {operator.name}",
        "operator": operator.name,
        "provenance": json.dumps(plain(about.provenance), sort_keys=True),
        BOUNDARY: ", ".join(kinds[dim] for dim in source.dims.order if dim in kinds),
        "verdict": verdict.to_json(),
    }
    return found | {"dataset": source.name} if source.name else found
