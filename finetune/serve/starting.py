"""From what a request gives to the labelled frames that a forecast starts from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray

from ...datasets.fields.grid import Grid
from ...datasets.fields.labelled_axes import find_dims
from ...datasets.fields.labelled_times import clock_of
from ...datasets.stores.store import Store
from ...datasets.stores.xarray_view import to_xarray
from ...operators.core.operator import Operator
from ...operators.core.time_steps import TimeSteps
from .along import TIME, along
from .asked import Along, Box, Predict, Sample
from .numbers import decoded
from .refusals import TooLarge
from .shelf import Shelf


@dataclass(frozen=True)
class Start:
    """What a forecast starts from.

    Attributes:
        given: the given frames, (time?, *space), and all else that the operator takes.
        stored: the trajectory that they are of, from the last given frame on, where what follows is
            known; else None.
        steps: steps of the operator that are stored after the last given frame.
        beside: of a single given frame, a neighbour that tells the time step.
        driving: has what is prescribed from the last given frame on; None: the frames have it.
        moment: the initial time; None: that of the last given frame.
    """

    given: xarray.Dataset
    stored: xarray.Dataset | None = None
    steps: int = 0
    beside: xarray.Dataset | None = None
    driving: xarray.Dataset | None = None
    moment: Any = None

    def data(self) -> tuple[xarray.Dataset, Any]:
        """What `Operator.predict` takes, and the initial time; None: that of the last frame."""
        if self.beside is None:
            return self.given, self.moment
        both = xarray.concat(
            [self.given, self.beside],
            "time",
            data_vars="minimal",
            coords="minimal",
            compat="override",
            join="override",
        )
        return both.sortby("time"), self.given["time"].values[0]


def start_of(shelf: Shelf, operator: Operator, asked: Predict) -> Start:
    """Where a prediction starts.

    Raises:
        ValueError: there is no such sample, or the given fields do not fit.
    """
    names = (*operator.description.channels, *operator.description.constant_fields)
    unknown = [name for name in asked.fields if name not in names]
    if unknown:
        raise ValueError(
            f"this operator takes no field {unknown[0][:60]!r}; it takes {', '.join(names)}"
        )
    most = shelf.served.limits.values
    fields = {name: decoded(name, values) for name, values in asked.fields.items()}
    if sum(values.size for values in fields.values()) > most:
        raise TooLarge(f"the fields hold more than the {most:,} numbers that they may")
    if asked.sample is None:
        start = Start(_labelled(operator, fields, asked))
    else:
        start = start_from(shelf.store(asked.sample.dataset), operator, asked.sample)
        if fields:
            start = replace(start, given=_drawn(start.given, fields), stored=None)
    return start if asked.prescribed is None else _driven(operator, start, asked.prescribed, most)


def _driven(operator: Operator, start: Start, asked: Along, most: int) -> Start:
    """The same start, driven by what a request prescribes, in place of what the data do."""
    about = operator.description
    if about.inputs:
        raise ValueError("a steady problem has no time, and so nothing prescribed")
    first = next(name for name in about.channels if name in start.given)
    dims = find_dims(start.given, first, operator.ndim, about.axes)
    time = start.given.coords["time"]
    clock = clock_of(time, about.units.get("time", ""))
    times = clock.after(np.atleast_1d(time.values)[-1], asked.times)
    space = {dim: start.given.sizes[dim] for dim in dims.space}
    found = along(asked, about.prescribed, space, times, most)
    found[TIME].attrs = dict(time.attrs)
    if start.driving is None:
        return replace(start, given=start.given.assign(found.variables))
    rest = start.driving.drop_vars([*asked.fields], errors="ignore")
    return replace(start, driving=rest.assign(found.variables))


def start_from(store: Store, operator: Operator, sample: Sample) -> Start:
    """A stored sample.

    Raises:
        ValueError: there is no such trajectory or frame.
    """
    if sample.trajectory >= len(store):
        raise ValueError(
            f"{store.name!r} has the trajectories 0 to {len(store) - 1}; got {sample.trajectory}"
        )
    data = trajectory_of(store, sample.trajectory)
    if operator.description.inputs:
        data = data.isel(time=0)
        return Start(data, data)
    frames = store.n_frames(sample.trajectory)
    stride = _stride(operator, store, sample.trajectory)
    last = (operator.history - 1) * stride if sample.frame is None else sample.frame
    first = last - (operator.history - 1) * stride
    if first < 0 or last >= frames:
        raise ValueError(
            f"frame {last} cannot be the last given one: {operator.name} needs {operator.history} "
            f"frame(s), {stride} stored step(s) apart, and the trajectory has {frames}"
        )
    given = data.isel(time=slice(first, last + 1, stride)).load()
    stored = data.isel(time=slice(last, frames, stride))
    near = last + stride if last + stride < frames else last - stride
    alone = operator.history == 1 and near >= 0
    beside = data.isel(time=slice(near, near + 1)).load() if alone else None
    return Start(given, stored, stored.sizes["time"] - 1, beside, stored)


def trajectory_of(store: Store, trajectory: int) -> xarray.Dataset:
    """One trajectory, lazily, with its own times."""
    data = to_xarray(store).isel(trajectory=trajectory)
    if "physical_time" not in data.coords:
        return data
    return data.assign_coords(time=data["physical_time"]).drop_vars("physical_time")


def _stride(operator: Operator, store: Store, trajectory: int) -> int:
    """Stored frames in a step of the operator."""
    about, times = operator.description, store.trajectory_times(trajectory)
    if len(times) < 2:
        return 1
    spacing = float(times[-1] - times[0]) / (len(times) - 1)
    steps = TimeSteps(operator.name, about.time_steps, operator.continuous)
    return steps.stride(spacing, f"dataset {store.name!r}")


def _drawn(given: xarray.Dataset, fields: Mapping[str, np.ndarray]) -> xarray.Dataset:
    """The sample with other values of some fields."""
    changed: dict[str, Any] = {}
    for name, values in fields.items():
        old = given.get(name)
        if old is None or values.shape not in (old.shape, old.shape[-values.ndim :]):
            shape = "none" if old is None else tuple(old.shape)
            raise ValueError(
                f"fields.{name} must have the sample's shape {shape}; got {values.shape}"
            )
        mask = np.isnan(np.asarray(old.values))
        filled = np.where(mask, np.nan, np.broadcast_to(values, old.shape))
        changed[name] = (old.dims, filled.astype(np.float32), old.attrs)
    return given.assign(changed)


def _labelled(
    operator: Operator, fields: Mapping[str, np.ndarray], asked: Predict
) -> xarray.Dataset:
    """Given fields on the training grid, or in the box that is given."""
    about = operator.description
    first = next((fields[name] for name in about.channels if name in fields), None)
    if first is None:
        raise ValueError(f"give a sample, or the fields {', '.join(about.channels)}")
    if first.ndim < operator.ndim:
        raise ValueError(f"fields need {operator.ndim} axes of space; got shape {first.shape}")
    grid = _grid(operator, tuple(first.shape[-operator.ndim :]), asked.box)
    axes = about.axes or tuple("xyz"[: grid.ndim])
    variables: dict[str, Any] = {}
    for name, values in fields.items():
        constant = name in about.constant_fields or bool(about.inputs)
        lead = values.shape[: values.ndim - grid.ndim]
        if values.shape[len(lead) :] != grid.shape or len(lead) > (0 if constant else 1):
            wanted = "×".join(map(str, grid.shape))
            raise ValueError(
                f"fields.{name} must have {wanted} points"
                + ("" if constant else ", or that for every given frame")
                + f"; got shape {values.shape}"
            )
        variables[name] = (("time",) * len(lead) + axes, values, _unit(about.units, name))
    points = {
        axis: (axis, x.numpy(), _unit(about.units, "length"))
        for axis, x in zip(axes, grid.coordinates(), strict=True)
    }
    times = _times(operator, variables, asked)
    data = xarray.Dataset(variables, {**points, **times}, {"boundary": list(grid.boundary)})
    return data if about.inputs or "time" in data.dims else data.expand_dims("time")


def _unit(units: Mapping[str, str], name: str) -> dict[str, str]:
    return {"units": units[name]} if name in units else {}


def _times(
    operator: Operator, variables: Mapping[str, Any], asked: Predict
) -> dict[str, tuple[Any, ...]]:
    """Times of given frames, where they are several and their spacing is known."""
    frames = {values.shape[0] for dims, values, _ in variables.values() if "time" in dims}
    if len(frames) > 1:
        raise ValueError("all fields must have the same number of frames")
    count = next(iter(frames), 1)
    trained = operator.description.time_steps
    spacing = asked.spacing or (trained[0] if len(trained) == 1 else None)
    if asked.prescribed is not None and count == 1:
        spacing = spacing or 1.0  # a single frame has a time, from which others count
    elif spacing is None or (count == 1 and asked.spacing is None):
        return {}
    return {"time": (("time",), spacing * np.arange(count), _unit(
        operator.description.units, "time"))}  # fmt: skip


def _grid(operator: Operator, shape: tuple[int, ...], box: Box | None) -> Grid:
    """The training grid, or the one that is given.

    Raises:
        ValueError: the fields have other points than the training grid, and no box is given.
    """
    trained = operator.description.grid
    if box is not None:
        usual = trained.boundary if trained else ("periodic",) * len(shape)
        lengths, boundary, origin = box.lengths, box.boundary or usual, box.origin or ()
        if not all(math.isfinite(x) for x in origin):
            raise ValueError("box.origin must be finite")
        return Grid(shape, tuple(lengths), tuple(boundary), tuple(origin))
    if trained is None or trained.shape != shape:
        was = "several grids" if trained is None else "×".join(map(str, trained.shape))
        raise ValueError(
            f"fields of {'×'.join(map(str, shape))} points lie on another grid than in training "
            f"({was}): give box: {{lengths: […]}}, the extent of their domain"
        )
    return trained
