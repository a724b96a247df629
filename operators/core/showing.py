"""What notebooks show: an operator as a table, a prediction as a figure."""

from __future__ import annotations

import html
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray

from ...datasets.base.figures import INK, SIGNED, STYLE, UNSIGNED
from ...datasets.fields.labelled_axes import find_dims
from ...datasets.fields.units import unit_of
from .predicted import BAND, LEAD, ensemble_dim
from .verdict import Verdict, verdict_from_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .operator import Operator

COLUMNS = 5  # lead times that are drawn, of fields on two or three axes
HOURS, SECONDS = (np.timedelta64(1, "h"), "h"), (np.timedelta64(1, "s"), "s")
WIDTH, HEIGHT = 2.2, 2.0  # inches of a panel


def verdict_of(prediction: xarray.Dataset) -> Verdict:
    """The verdict that a prediction carries.

    Raises:
        ValueError: it carries none.
    """
    text = prediction.attrs.get("verdict")
    if text is None:
        raise ValueError("this dataset carries no verdict; predict with operator.predict")
    return verdict_from_json(text)


def operator_html(operator: Operator) -> str:
    """A table of what an operator maps, on what, and what is known of its training."""
    about = operator.description
    units = [f"{k} [{about.units[k]}]" if k in about.units else k for k in about.fields]
    grid = about.grid
    rows = {
        "fields": ", ".join(units),
        "inputs": ", ".join(about.inputs),
        "conditions": ", ".join((*about.constant_fields, *operator.parameter_names)),
        "prescribed": ", ".join(about.prescribed),
        "history": f"{operator.history} frame(s)",
        "time step": ", ".join(f"{step:g}" for step in about.time_steps[:6]),
        "grid": ""
        if grid is None
        else f"{'×'.join(map(str, grid.shape))} points, lengths "
        f"{', '.join(f'{x:g}' for x in grid.lengths)}, {', '.join(grid.boundary)}",
        "size": f"{sum(p.numel() for p in operator.parameters()):,} weights",
        "trained on": ", ".join(map(str, about.provenance.get("datasets", ()))),
        "error bands": ""
        if about.calibration is None
        else f"{about.calibration.coverage:g} by {about.calibration.trajectories} trajectories",
        "licence": about.license,
    }
    cells = "".join(
        f"<tr><th style='text-align:left'>{key}</th><td style='text-align:left'>"
        f"{html.escape(value)}</td></tr>"
        for key, value in rows.items()
        if value
    )
    return f"<b>{html.escape(operator.name)}</b><table>{cells}</table>"


def plot_prediction(prediction: xarray.Dataset, **chosen: Any) -> Figure:
    """The figure one wants first: every field over lead time.

    Fields on one axis are images of space and lead time, others are shown at some lead times; of
    an ensemble the mean, and the spread below it.

    Args:
        prediction: of `operator.predict`, or a file that `pelagos predict` wrote.
        chosen: dimension -> index of what is shown, in place of the first.

    Raises:
        ValueError: there is no predicted field.
    """
    names = [
        str(name)
        for name, values in prediction.data_vars.items()
        if not str(name).endswith((BAND, "_truth")) and values.ndim > 1
    ]
    if not names:
        raise ValueError("this dataset has no predicted field")
    rows: list[tuple[str, xarray.DataArray]] = []
    members = ensemble_dim(prediction)
    for name in names:
        values = _one_sample(prediction, name, chosen)
        if members is not None and members in values.dims:
            rows.append((f"{name}, mean", values.mean(members)))
            rows.append((f"{name}, spread", values.std(members, ddof=1)))
        else:
            rows.append((name, values))
    return _drawn(prediction, rows)


def _one_sample(prediction: xarray.Dataset, name: str, chosen: dict[str, Any]) -> xarray.DataArray:
    """(member?, time?, *space) of one sample."""
    values = prediction[name]
    lead = (ensemble_dim(prediction), _time(prediction))
    kept = {*lead, *_space(prediction, values)}
    picked = {dim: 0 for dim in values.dims if dim not in kept}
    picked |= {dim: index for dim, index in chosen.items() if dim in values.dims}
    values = values.isel(picked)
    return values.transpose(*(d for d in lead if d in values.dims), ...)


def _space(prediction: xarray.Dataset, values: xarray.DataArray) -> list[Hashable]:
    """The dimensions of space, of which the boundaries tell how many there are."""
    stated = prediction.attrs.get("boundary")
    if stated is not None:
        ndim = len(stated.split(",") if isinstance(stated, str) else np.atleast_1d(stated))
        members = ensemble_dim(prediction)
        alone = values if members is None else values.isel({members: 0}, missing_dims="ignore")
        alone = alone.drop_vars([] if members is None else members, errors="ignore")
        return [*find_dims(alone.to_dataset(name="field"), "field", ndim).space]
    return [
        dim for dim in values.dims if dim != "trajectory" and dim in prediction.coords
        and prediction[dim].ndim == 1
    ]  # fmt: skip


def _time(prediction: xarray.Dataset) -> Any:
    return prediction[LEAD].dims[0] if LEAD in prediction.variables else None


def _drawn(prediction: xarray.Dataset, rows: list[tuple[str, xarray.DataArray]]) -> Figure:
    import matplotlib
    from matplotlib.figure import Figure

    time = _time(prediction)
    flat = rows[0][1].ndim <= 2 and time is not None
    count = 1 if flat or time is None else min(COLUMNS, prediction.sizes[time])
    chosen = np.unique(np.linspace(0, prediction.sizes.get(time, 1) - 1, count).astype(int))
    with matplotlib.rc_context(STYLE):
        size = (4.6 if flat else WIDTH * len(chosen) + 1, HEIGHT * len(rows) + 0.4)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(len(rows), len(chosen), squeeze=False)
        for row, (label, values) in zip(axes, rows, strict=True):
            drawn = [values] if flat or time is None else [values.isel({time: k}) for k in chosen]
            signed = bool((values < 0).any()) and bool((values > 0).any())
            top = float(np.nanmax(np.abs(values))) if signed else float(np.nanmax(values))
            low = -top if signed else float(np.nanmin(values))
            images = []
            for k, (panel, field) in enumerate(zip(row, drawn, strict=True)):
                images.append(_panel(panel, field, signed, low, top))
                if not flat and label == rows[0][0] and time is not None:
                    panel.set_title(_text(prediction[LEAD].values[chosen[k]]), color=INK)
            figure.colorbar(images[-1], ax=list(row), label=label)
    return figure


def _panel(panel: Any, field: xarray.DataArray, signed: bool, low: float, top: float) -> Any:
    """One image; in 3D, the middle along the last axis. The first axis goes to the right, and lead
    times of fields on one axis upwards."""
    while field.ndim > 2:
        field = field.isel({field.dims[-1]: field.shape[-1] // 2})
    flat = LEAD in field.coords and field[LEAD].ndim
    if field.ndim == 1:
        flat, field = True, field.expand_dims(" ")  # a steady field on one axis
    x, y = (field.dims[1], field.dims[0]) if flat else field.dims
    (left, right, xlabel), (bottom, upper, ylabel) = _extent(field, x), _extent(field, y)
    image = panel.imshow(
        field.transpose(y, x).values, origin="lower", aspect="auto", vmin=low, vmax=top,
        cmap=SIGNED if signed else UNSIGNED, interpolation="nearest",
        extent=(left, right, bottom, upper),
    )  # fmt: skip
    panel.set(xlabel=xlabel, ylabel=ylabel)
    if not flat:
        panel.set(xticks=[], yticks=[])
    return image


def _extent(field: xarray.DataArray, dim: Hashable) -> tuple[float, float, str]:
    """Where an axis begins and ends, and its label: lead times along time, else coordinates, else
    the number of a point."""
    name = LEAD if LEAD in field.coords and dim in field[LEAD].dims else dim
    values: Any = np.arange(field.sizes[dim])
    unit = ""
    if name in field.coords and field[name].dtype.kind in "iufm":
        values, unit = field[name].values, unit_of(field[name].attrs)
    if values.dtype.kind == "m":
        scale, unit = HOURS if values.max() >= HOURS[0] else SECONDS
        values = values / scale
    half = (values[-1] - values[0]) / (2 * max(1, len(values) - 1)) or abs(values[0]) / 2 or 0.5
    label = str(name).replace("_", " ") + (f" [{unit}]" if unit not in ("", "1") else "")
    return float(values[0] - half), float(values[-1] + half), label


def _text(lead: Any) -> str:
    if isinstance(lead, np.timedelta64):
        scale, unit = HOURS if lead >= HOURS[0] else SECONDS
        return f"after {lead / scale:g} {unit}"
    return f"after {float(lead):g}"


@xarray.register_dataset_accessor("pelagos")
class Accessor:
    """`dataset.pelagos`: the verdict on a prediction, and a figure of it."""

    def __init__(self, data: xarray.Dataset) -> None:
        self._data = data

    @property
    def verdict(self) -> Verdict:
        """See `verdict_of`."""
        return verdict_of(self._data)

    def __repr__(self) -> str:
        return str(self.verdict)

    def _repr_html_(self) -> str:
        return self.verdict._repr_html_()

    def plot(self, **chosen: Any) -> Figure:
        """See `plot_prediction`."""
        return plot_prediction(self._data, **chosen)
