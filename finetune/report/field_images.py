"""The fields of the report: truth, prediction and error side by side, from `prediction.nc`.

One trajectory, the first that was predicted. Truth and prediction share one colour scale over all
runs that predict the same frames, and so do the errors. In 1D the images are space–time; in 2D
they are frames at a few lead times, in 3D the middle slice of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import xarray
from jaxtyping import Float

from ...operators.core.predicted import BAND
from ...pretrain.run.records import Run
from ..forecast.predict import TRUTH, stored
from .charts import MAX_FIELDS, with_unit
from .comparison import number
from .figures import Drawing, Panel, image, image_grid

_COLUMNS = 4  # lead times shown in 2D and 3D
_ALMOST = 99.5  # percentile of the errors that the colour scale covers


@dataclass(frozen=True)
class FieldImages:
    """Images of one field of one trajectory: a row of drawings per run (by index)."""

    title: str
    rows: list[tuple[int, list[Drawing]]]
    scroll: bool


@dataclass
class _Forecast:
    """One field of one run's prediction, (T, *S); the truth is None where none is stored."""

    run: int
    predicted: xarray.DataArray
    truth: xarray.DataArray | None

    @property
    def error(self) -> xarray.DataArray | None:
        return None if self.truth is None else self.predicted - self.truth


@dataclass
class _Group:
    """Forecasts of the same frames."""

    title: str
    forecasts: list[_Forecast] = field(default_factory=list)

    @property
    def limits(self) -> tuple[float, float]:
        """Smallest and largest value of the truth, or of the predictions if there is none."""
        shown = [f.truth for f in self.forecasts if f.truth is not None][:1]
        values = _finite(*(shown or [f.predicted for f in self.forecasts]))
        low, high = (values.min(), values.max()) if values.size else (0.0, 1.0)
        if low < 0 < high:
            high = max(-low, high)
            low = -high
        return float(low), float(high) if high > low else float(low) + 1.0

    @property
    def largest_error(self) -> float:
        """Of nearly all errors, and no more than the range of the fields."""
        values = _finite(*(f.error for f in self.forecasts if f.error is not None))
        low, high = self.limits
        largest = np.percentile(np.abs(values), _ALMOST) if values.size else 0.0
        return float(min(largest, high - low)) or high - low


def field_images(runs: Sequence[Run]) -> Iterator[FieldImages]:
    """The images of every field and set of frames, for the runs that have a prediction."""
    groups: dict[tuple, _Group] = {}
    for i, run in enumerate(runs):
        if run.prediction is None:
            continue
        try:
            with xarray.open_dataset(run.prediction, engine="h5netcdf") as data:
                one = data.isel(trajectory=0, member=0, missing_dims="ignore")
                _collect(i, one.load(), groups)
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())
            yield FieldImages(f"{run.name}: prediction.nc cannot be shown ({reason})", [], False)
    for group in groups.values():
        draw = _space_time if group.forecasts[0].predicted.ndim == 2 else _frames
        rows = [(forecast.run, draw(forecast, group)) for forecast in group.forecasts]
        yield FieldImages(group.title, rows, scroll=draw is _frames)


def _collect(run: int, data: xarray.Dataset, groups: dict[tuple, _Group]) -> None:
    """Sort the fields of a prediction into groups."""
    names = [name for name in data.data_vars if not str(name).endswith((TRUTH, BAND))]
    for name in names[:MAX_FIELDS]:
        predicted, truth = data[name], stored(data, str(name))
        about = (data.attrs["dataset"], data.attrs["split"], int(data["trajectory"]))
        frames = tuple(data["lead_time"].values.tolist())
        key = (name, *about, data.attrs["start"], data.attrs["history"], frames)
        title = f"{name}: trajectory {about[2]} of {about[0]} ({about[1]} split)"
        groups.setdefault(key, _Group(title)).forecasts.append(_Forecast(run, predicted, truth))


def _space_time(forecast: _Forecast, group: _Group) -> list[Drawing]:
    """Space along x, lead time upwards."""
    low, high = group.limits
    data = forecast.predicted
    space, lead = data[data.dims[1]], data["lead_time"]
    extent = (*_edges(space.values), *_edges(lead.values))
    drawings = []
    for kind, values in _kinds(forecast):
        low_high = (low, high) if kind != "error" else (-group.largest_error, group.largest_error)
        panel = Panel(values.values, kind, *low_high, low_high[0] < 0 < low_high[1], extent)
        svg = image(
            panel,
            x=with_unit(str(space.name), space.attrs.get("units", "")),
            y=with_unit("lead time", lead.attrs.get("units", "")),
            alt=f"Space–time image of the {kind} of {group.title}, {_range(values)}.",
        )
        drawings.append(Drawing(svg, kind))
    return drawings


def _frames(forecast: _Forecast, group: _Group) -> list[Drawing]:
    """A row each for truth, prediction and error, a column per lead time."""
    low, high = group.limits
    data = forecast.predicted
    chosen = np.unique(np.linspace(0, len(data) - 1, _COLUMNS).round().astype(int))
    lead, unit = data["lead_time"].values, data["lead_time"].attrs.get("units", "")
    rows, labels = [], []
    for kind, values in _kinds(forecast):
        limits = (low, high) if kind != "error" else (-group.largest_error, group.largest_error)
        frames = _slice(values)
        x, y = (frames[axis].values for axis in frames.dims[1:])
        extent = (*_edges(x), *_edges(y))
        rows.append(
            [
                Panel(
                    frames.values[k].T,
                    f"after {number(float(lead[k]), unit)}",
                    *limits,
                    limits[0] < 0 < limits[1],
                    extent,
                )
                for k in chosen
            ]
        )
        labels.append(kind)
    times = ", ".join(number(float(lead[k]), unit) for k in chosen)
    alt = f"Images of {', '.join(labels)} of {group.title} after {times}; rows from top to bottom."
    return [Drawing(image_grid(rows, labels=labels, alt=alt), "")]


def _kinds(forecast: _Forecast) -> Iterator[tuple[str, xarray.DataArray]]:
    if forecast.truth is not None:
        yield "truth", forecast.truth
    yield "prediction", forecast.predicted
    if forecast.error is not None:
        yield "error", forecast.error


def _slice(values: xarray.DataArray) -> xarray.DataArray:
    """(T, x, y): in 3D, the middle along the last axis."""
    if values.ndim == 4:
        return values.isel({values.dims[3]: values.shape[3] // 2})
    return values


def _edges(points: np.ndarray) -> tuple[float, float]:
    """Outer edges of the cells around uniform points."""
    half = (points[-1] - points[0]) / max(1, len(points) - 1) / 2 if len(points) > 1 else 0.5
    return float(points[0] - half), float(points[-1] + half)


def _range(values: xarray.DataArray) -> str:
    finite = _finite(values)
    if not finite.size:
        return "nowhere finite"
    return f"from {number(float(finite.min()))} to {number(float(finite.max()))}"


def _finite(*arrays: xarray.DataArray) -> Float[np.ndarray, " n"]:
    values = np.concatenate([array.values.ravel() for array in arrays] or [np.zeros(0)])
    return values[np.isfinite(values)].astype(float)
