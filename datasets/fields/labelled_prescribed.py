"""What is prescribed along a forecast, from an `xarray.Dataset`, found by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import xarray
from jaxtyping import Float, Float64

from .grid import Grid
from .labelled_axes import time_of
from .labelled_times import Clock, clock_of
from .prescribed import SAME, Needs, NotGiven, Prescribed
from .units import check_units, conversion, unit_of

EVER = 1e30  # a time that no forecast reaches
NEAR = 0.01  # of a spacing, up to which two coordinates are the same


@dataclass(frozen=True)
class Place:
    """Where it must lie.

    Attributes:
        grid: of the forecast.
        space: names of the grid's axes in the data.
        samples: dimensions that count samples, and their sizes.
        counts: one unit of the initial time, where that is a number, in the operator's unit.
    """

    grid: Grid
    space: tuple[str, ...]
    samples: Mapping[str, int] = field(default_factory=dict)
    counts: float = 1.0

    @property
    def count(self) -> int:
        """Number of samples."""
        return math.prod(self.samples.values())


def prescribed_in(
    data: xarray.Dataset, needs: Needs, place: Place, origin: Any, until: float
) -> Prescribed | None:
    """What is wanted, from the initial time until the end of a forecast, with a batch axis.

    A variable may lack dimensions: it is the same along them. Variables with times of their own are
    brought to common ones, linearly.

    Args:
        data: has variables of these names.
        needs: what is wanted.
        place: where it must lie.
        origin: the initial time, as the data have it.
        until: the last lead time, in the unit of `needs`; inf: as long as it is given.

    Raises:
        ValueError: a name is missing, on another grid, in another unit or not finite, or is not
            given at all times of the forecast.
    """
    missing = [name for name in needs.names if name not in data and name not in needs.fill]
    if missing:
        raise NotGiven(
            f"this operator takes {', '.join(missing)} as prescribed at all times of a forecast, "
            "and the data have no such variable",
            f": data.assign({missing[0]}=…), or give another dataset that has it (prescribed=…, on "
            "the command line --prescribed-from)",
        )
    names = tuple(name for name in needs.names if name in data)
    if not names:
        return None
    found = [_given(data, name, (needs, place), origin, until) for name in names]
    times = _common([each for each, _ in found])
    shape = (place.count, len(times), *place.grid.shape)
    rows = [np.broadcast_to(_moved(values, own, times), shape) for own, values in found]
    values = torch.from_numpy(np.stack(rows, 2).astype(np.float32))
    return Prescribed(names, torch.from_numpy(times).float().repeat(place.count, 1), values)


def _given(
    data: xarray.Dataset, name: str, wanted: tuple[Needs, Place], origin: Any, until: float
) -> tuple[Float64[np.ndarray, " T"], Float[np.ndarray, "N T ..."]]:
    """Times after the initial one, and values (N, T, *S), of size 1 along what it does not have."""
    needs, place = wanted
    require_numbers(data, name)
    found, time = data[name], _time(data, name, place)
    times, chosen = np.array([0.0, min(max(until, 1.0), EVER)]), [0, 0]
    if time is not None:
        begin = _counted(data, name, time, (needs, place), origin)
        times, chosen = _covering(data, name, time, *begin, until)
        found = found.isel({time: chosen})
    _check_dims(data, name, time, place, needs.units.get("length"))
    order = [d for d in (*place.samples, time, *place.space) if d in found.dims]
    values = np.asarray(found.transpose(*order).values, np.float64)
    axes = (*place.samples, time or "", *place.space)
    values = np.expand_dims(values, [k for k, d in enumerate(axes) if d not in found.dims])
    lead = len(place.samples)
    sizes = (*place.samples.values(), *values.shape[lead:])
    values = np.broadcast_to(values, sizes).reshape(place.count, *sizes[lead:])
    if time is None:
        values = np.repeat(values, 2, axis=1)
    if not np.isfinite(values).all():
        raise ValueError(
            f"the prescribed {name} holds NaN or infinite values at times of the forecast: fill "
            "them (data.interpolate_na or data.fillna)"
        )
    scale, offset = scale_of(needs.units.get(name), name, data[name])
    return times, values * scale + offset


def _time(data: xarray.Dataset, name: str, place: Place) -> str | None:
    """The dimension along which it changes in time: what is neither space nor samples."""
    rest = [d for d in map(str, data[name].dims) if d not in (*place.samples, *place.space)]
    return rest[0] if len(rest) == 1 else time_of(data, name)


def _counted(
    data: xarray.Dataset, name: str, time: str, wanted: tuple[Needs, Place], origin: Any
) -> tuple[Clock, Any]:
    """How the given times count, and the initial time as they do: numbers that say no unit count
    as those of the initial frames."""
    needs, place = wanted
    if time not in data.coords or origin is None:
        raise ValueError(
            f"the prescribed {name} needs times, and so do the initial frames: "
            f"data.assign_coords({time}=…)"
        )
    coordinate = data.coords[time]
    clock = clock_of(coordinate, needs.units.get("time", ""))
    if clock.dated or not isinstance(origin, (int, float, np.number)):
        return clock, origin
    if not unit_of(coordinate.attrs):
        return replace(clock, scale=place.counts), origin
    return clock, origin if clock.scale == place.counts else origin * place.counts / clock.scale


def _covering(
    data: xarray.Dataset, name: str, time: str, clock: Clock, origin: Any, until: float
) -> tuple[Float64[np.ndarray, " T"], list[int]]:
    """The given times that a forecast needs, and their numbers."""
    coordinate = data.coords[time]
    try:
        since = clock.since(coordinate.values, origin)
    except (TypeError, ValueError):
        raise ValueError(
            f"the times of the prescribed {name} are such as {coordinate.values[0]}, and the "
            f"initial time is {origin}: give both as dates, or both as numbers"
        ) from None
    if not (np.diff(since) > 0).all():
        raise ValueError(f"the times of the prescribed {name} must increase: data.sortby({time!r})")
    until = since[-1] if until == math.inf else until
    slack = SAME * (float(np.diff(since).max()) if len(since) > 1 else 1.0)
    if since[0] > slack or since[-1] < until - slack:
        first, last = coordinate.values[0], coordinate.values[-1]
        raise NotGiven(
            f"{name} is prescribed and must be given at all times of the forecast, from "
            f"{_shown(origin)} until {_shown(clock.after(origin, [until])[0])}; there are "
            f"{_shown(first)} to {_shown(last)}",
            ": give more of it (prescribed=…, on the command line --prescribed-from), or ask for a "
            "shorter forecast",
        )
    low = int(np.searchsorted(since, slack, side="right")) - 1
    high = int(np.searchsorted(since, until - slack, side="left"))
    chosen = [*range(low, min(high, len(since) - 1) + 1)]
    return since[chosen], chosen


def _shown(moment: Any) -> str:
    return f"{moment:.10g}" if isinstance(moment, (int, float, np.number)) else str(moment)


def _check_dims(
    data: xarray.Dataset, name: str, time: str | None, place: Place, length: str | None
) -> None:
    """Refuse dimensions that the forecast has not, and other points along those that it has."""
    found = data[name]
    sizes = dict(place.samples) | dict(zip(place.space, place.grid.shape, strict=True))
    for dim in map(str, found.dims):
        if dim != time and sizes.get(dim) != found.sizes[dim]:
            known = ", ".join(f"{d} ({n})" for d, n in sizes.items())
            raise ValueError(
                f"the prescribed {name} has {found.sizes[dim]} along {dim}, and the forecast "
                f"{known}: rename it or interpolate it to the same points, or leave the dimension "
                "out where it is the same everywhere"
            )
    steps = zip(place.space, place.grid.coordinates(), place.grid.spacing, strict=True)
    for dim, points, step in steps:
        if dim in found.coords and dim in found.dims:
            apart = _apart(data.coords[dim], points.numpy(), length or "")
            if apart > NEAR * step:
                raise ValueError(
                    f"the prescribed {name} has other coordinates along {dim} than the forecast "
                    f"(by up to {apart:.3g}): data.interp({dim}=…)"
                )


def _apart(own: xarray.DataArray, points: Float64[np.ndarray, " n"], unit: str) -> float:
    """By how much coordinates differ from points; 0 where their units cannot be compared."""
    given = unit_of(own.attrs)
    change = (1.0, 0.0) if "1" in (given or "1", unit or "1") else conversion(given, unit)
    if change is None:
        return 0.0
    gaps = np.asarray(own.values, np.float64) * change[0] - points
    if unit.startswith("degree"):  # also from -180 on, or from 0
        gaps -= 360.0 * np.rint(gaps / 360.0)
    return float(np.abs(gaps).max())


def _common(times: Sequence[np.ndarray]) -> Float64[np.ndarray, " T"]:
    """The times of all, where they are the same; else every time that any has, where all are."""
    first, *others = times
    if all(len(t) == len(first) and np.allclose(t, first, rtol=0, atol=1e-9) for t in others):
        return first
    low, high = max(t[0] for t in times), min(t[-1] for t in times)
    every = np.unique(np.concatenate(times))
    return every[(every >= low) & (every <= high)]


def _moved(values: np.ndarray, own: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Values (N, T, *S) at other times, linear in between."""
    if own is times or (len(own) == len(times) and np.allclose(own, times, rtol=0, atol=1e-9)):
        return values
    low = np.clip(np.searchsorted(own, times, side="right") - 1, 0, max(len(own) - 2, 0))
    high = np.minimum(low + 1, len(own) - 1)
    gap = np.where(own[high] > own[low], own[high] - own[low], 1.0)
    share = np.clip((times - own[low]) / gap, 0.0, 1.0).reshape(-1, *(1,) * (values.ndim - 2))
    return values[:, low] * (1 - share) + values[:, high] * share


def require_numbers(data: xarray.Dataset, name: str) -> None:
    """Refuse a variable of texts, dates, complex numbers or objects; what is no variable passes.

    Raises:
        ValueError: it is one.
    """
    if name in data.variables and data[name].dtype.kind not in "fiub":
        raise ValueError(
            f"{name} must hold real numbers; got {data[name].dtype}: data.assign({name}=data"
            f"[{name!r}].astype('float32')) where they can be converted"
        )


def scale_of(unit: str | None, name: str, found: xarray.DataArray) -> tuple[float, float]:
    """Scale and offset from the unit of a variable to the operator's.

    Raises:
        ValueError: it cannot be converted.
    """
    own = unit_of(found.attrs)
    if not unit or not own or "1" in (unit, own) or unit == own:
        return 1.0, 0.0
    change = conversion(own, unit)
    if change is None:
        check_units("the operator", {name: unit}, "the data", {name: own}, [name])
    return change or (1.0, 0.0)
