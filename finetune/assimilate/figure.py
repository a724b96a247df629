"""The figure of an assimilation: estimates, spread and sensors of every field, and the verdict.

Over time and space in 1D, else at three times.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ...datasets.base.appearing import appearing_file
from ...datasets.base.figures import INK, SIGNED, STYLE, TRANSPARENT, UNSIGNED, hatch
from ...datasets.fields.window import Context
from ...operators.core.observation import Sensors
from ...operators.core.verdict import Verdict
from .assimilator import Estimate
from .writer import shown_mask

_FRAMES = 256  # kept of a long run; then every second one is dropped
_VALUES = 2**25  # in all of them, for fields of many points
_SHOWN = 2_000  # sensors of a field at one time
_FINDINGS = 4
_NOWHERE = np.empty((0, 3))
_SENSORS: dict[str, Any] = {
    "marker": "o", "markersize": 2, "markerfacecolor": "white", "markeredgecolor": INK,
    "markeredgewidth": 0.4, "linestyle": "none",
}  # fmt: skip


@dataclass(frozen=True)
class _Frame:
    """One estimate as it is shown: (C, *S) of at most two axes, and sensors by field, (N, D)."""

    time: float
    mean: np.ndarray
    spread: np.ndarray
    sensors: Mapping[str, np.ndarray]

    @property
    def measured(self) -> int:
        """How many sensors."""
        return sum(map(len, self.sensors.values()))


class Picture:
    """Collects what the figure shows, in bounded memory: every field, a middle plane in 3D."""

    def __init__(self, context: Context, units: Mapping[str, str]) -> None:
        self.context, self.units, self.mask = context, units, shown_mask(context)
        self.frames: list[_Frame] = []
        self.seen, self.stride = 0, 1
        points = len(context.fields) * math.prod(context.grid.shape[:2])
        self.most = min(_FRAMES, max(8, _VALUES // points))

    def add(self, estimate: Estimate, sensors: Sensors | None) -> None:
        """Keep the estimate, if it is one of those that are shown."""
        if self.seen % self.stride == 0:
            mean, spread = (x.float().cpu().numpy() for x in (estimate.mean, estimate.spread))
            if self.mask is not None:
                mean, spread = (np.where(self.mask.numpy(), x, np.nan) for x in (mean, spread))
            if mean.ndim == 4:
                middle = mean.shape[3] // 2
                mean, spread = mean[..., middle], spread[..., middle]
            self.frames.append(_Frame(estimate.time, mean, spread, _by_field(sensors)))
        self.seen += 1
        if len(self.frames) > self.most:
            self.frames, self.stride = self.frames[::2], 2 * self.stride

    def write(self, path: Path, overwrite: bool, verdict: Verdict) -> None:
        """Draw it as SVG or PNG, by the file's name, with the verdict below.

        Raises:
            ValueError: it exists already.
        """
        with matplotlib.rc_context(STYLE):
            figure = self._space_time() if self.context.grid.ndim == 1 else self._maps()
            figure.supxlabel(_told(verdict, figure.get_figwidth()), fontsize=8, x=0.01, ha="left")
            with appearing_file(path, overwrite=overwrite) as draft:
                figure.savefig(draft, dpi=120, metadata=_metadata(path))

    def _space_time(self) -> Figure:
        times = np.array([frame.time for frame in self.frames])
        measured = [frame.time for frame in self.frames if frame.measured]
        fields = self.context.fields
        figure = Figure(figsize=(7, 1 + 4 * len(fields)), layout="constrained")
        x = self.context.grid.coordinates()[0].numpy()
        panels = figure.subplots(2 * len(fields), 1, sharex=True)
        for row, axes in enumerate(panels):
            channel, spread = divmod(row, 2)
            values = np.stack([(f.spread if spread else f.mean)[channel] for f in self.frames], 1)
            hatch(axes)
            shown = axes.pcolormesh(
                times, x, values, shading="nearest", rasterized=True, **_colours(values, not spread)
            )
            axes.autoscale(enable=False)
            axes.set_ylabel(self._label("x", "length"))
            if measured and measured[-1] < times[-1]:
                axes.axvline(measured[-1], color=INK, linewidth=0.8)
            label = self._label(fields[channel])
            figure.colorbar(shown, ax=axes, label=f"spread of {label}" if spread else label)
            if not spread:
                for frame in self.frames:
                    places = frame.sensors.get(fields[channel], _NOWHERE)
                    axes.plot(np.full(len(places), frame.time), places[:, 0], **_SENSORS)
        panels[0].set_title("analyses with the sensors, and behind the line the forecast",
                            fontsize=9.5)  # fmt: skip
        panels[-1].set_xlabel(self._label("time"))
        return figure

    def _maps(self) -> Figure:
        last = max((i for i, frame in enumerate(self.frames) if frame.measured), default=0)
        chosen = list(dict.fromkeys((0, last, len(self.frames) - 1)))
        rows = 2 * len(self.context.fields)
        size = (2.6 * len(chosen) + 1, 2.2 * rows + 0.6)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(rows, len(chosen), squeeze=False)
        for number, row in enumerate(grid):
            channel, spread = divmod(number, 2)
            name = self.context.fields[channel]
            frames = [self.frames[i] for i in chosen]
            images = np.stack([(f.spread if spread else f.mean)[channel] for f in frames])
            shown = self._row(row, images, _colours(images, not spread))
            label = self._label(name)
            figure.colorbar(shown, ax=list(row), label=f"spread of {label}" if spread else label)
            for axes, frame in zip(row, frames, strict=True):
                places = frame.sensors.get(name, _NOWHERE)
                if not spread:
                    axes.plot(places[:, 0], places[:, 1], **_SENSORS)
                if number == 0:
                    what = f"{frame.measured} sensors" if frame.measured else "forecast"
                    axes.set_title(f"time {frame.time:.4g}: {what}", fontsize=9.5)
        return figure

    def _row(self, row: Sequence[Any], images: np.ndarray, style: dict[str, Any]) -> Any:
        lengths, origin = self.context.grid.lengths, self.context.grid.origin
        extent = (origin[0], origin[0] + lengths[0], origin[1], origin[1] + lengths[1])
        shown = None
        for axes, image in zip(row, images, strict=True):
            hatch(axes)
            shown = axes.imshow(image.T, origin="lower", extent=extent, aspect="auto", **style)
            axes.autoscale(enable=False)
        assert shown is not None, "the figure has at least one frame"
        return shown

    def _label(self, name: str, unit: str | None = None) -> str:
        found = self.units.get(unit or name, "")
        return f"{name} [{found}]" if found not in ("", "1") else name


def _by_field(sensors: Sensors | None) -> dict[str, np.ndarray]:
    if sensors is None:
        return {}
    places, fields = sensors.positions.cpu().numpy(), np.array(sensors.fields)
    return {name: places[fields == name][:_SHOWN] for name in dict.fromkeys(sensors.fields)}


def _told(verdict: Verdict, inches: float) -> str:
    """The verdict, and what is outside, in lines that fit."""
    said = [f"{f.quantity}: {f.text}" for f in verdict.outside]
    lines = [verdict.said, *said[:_FINDINGS]]
    if len(said) > _FINDINGS:
        lines.append(f"and {len(said) - _FINDINGS} more (see the file's verdict)")
    return "\n".join(textwrap.fill(line, int(17 * inches)) for line in lines)


def _colours(values: np.ndarray, signed: bool) -> dict[str, Any]:
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    if signed and low < 0 < high:
        top = max(-low, high)
        return {"cmap": _masked(SIGNED), "vmin": -top, "vmax": top}
    return {"cmap": _masked(UNSIGNED), "vmin": low if signed else 0.0, "vmax": high}


def _masked(name: str) -> Any:
    """A colour map that leaves out what is masked."""
    return matplotlib.colormaps[name].with_extremes(bad=TRANSPARENT)


def _metadata(path: Path) -> dict[str, Any]:
    return {"Date": None} if path.suffix.lower() == ".svg" else {"Software": None}
