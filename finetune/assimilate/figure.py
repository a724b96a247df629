"""The figure of an assimilation: estimate and spread, over time and space or at three times."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ...datasets.base.appearing import appearing_file
from ...datasets.base.figures import INK, SIGNED, STYLE, TRANSPARENT, UNSIGNED, hatch
from ...datasets.fields.window import Context
from .assimilator import Estimate
from .writer import shown_mask

_FRAMES = 256  # kept of a long run; then every second one is dropped


class Picture:
    """Collects what the figure shows, in bounded memory: the first field, a middle plane in 3D."""

    def __init__(self, context: Context, units: Mapping[str, str]) -> None:
        self.context, self.units, self.mask = context, units, shown_mask(context)
        self.frames: list[tuple[float, np.ndarray, np.ndarray, int]] = []
        self.seen, self.stride = 0, 1

    def add(self, estimate: Estimate, measured: int) -> None:
        """Keep the estimate, if it is one of those that are shown."""
        if self.seen % self.stride == 0:
            mean, spread = (x[0].float().cpu().numpy() for x in (estimate.mean, estimate.spread))
            if self.mask is not None:
                mean, spread = (np.where(self.mask[0].numpy(), x, np.nan) for x in (mean, spread))
            if mean.ndim == 3:
                middle = mean.shape[2] // 2
                mean, spread = mean[..., middle], spread[..., middle]
            self.frames.append((estimate.time, mean, spread, measured))
        self.seen += 1
        if len(self.frames) > _FRAMES:
            self.frames, self.stride = self.frames[::2], 2 * self.stride

    def write(self, path: Path, overwrite: bool) -> None:
        """Draw it as SVG or PNG, by the file's name.

        Raises:
            ValueError: it exists already.
        """
        with matplotlib.rc_context(STYLE):
            figure = self._space_time() if self.context.grid.ndim == 1 else self._maps()
            with appearing_file(path, overwrite=overwrite) as draft:
                figure.savefig(draft, dpi=120, metadata=_metadata(path))

    def _space_time(self) -> Figure:
        times = np.array([frame[0] for frame in self.frames])
        measured = [time for time, _, _, count in self.frames if count]
        figure = Figure(figsize=(7, 5), layout="constrained")
        x = self.context.grid.coordinates()[0].numpy()
        panels = figure.subplots(2, 1, sharex=True)
        for axes, index, words in zip(panels, (1, 2), ("", "spread of "), strict=True):
            values = np.stack([frame[index] for frame in self.frames], 1)
            style = _colours(values, index == 1)
            hatch(axes)
            shown = axes.pcolormesh(times, x, values, shading="nearest", rasterized=True, **style)
            axes.set_ylabel(self._label("x", "length"))
            if measured and measured[-1] < times[-1]:
                axes.axvline(measured[-1], color=INK, linewidth=0.8)
            figure.colorbar(shown, ax=axes, label=words + self._label(self.context.fields[0]))
        panels[0].set_title("analyses, and behind the line the forecast", fontsize=9.5)
        panels[1].set_xlabel(self._label("time"))
        return figure

    def _maps(self) -> Figure:
        last = max((i for i, frame in enumerate(self.frames) if frame[3]), default=0)
        chosen = list(dict.fromkeys((0, last, len(self.frames) - 1)))
        figure = Figure(figsize=(2.6 * len(chosen) + 1, 5), layout="constrained")
        grid = figure.subplots(2, len(chosen), squeeze=False)
        lengths, origin = self.context.grid.lengths, self.context.grid.origin
        extent = (origin[0], origin[0] + lengths[0], origin[1], origin[1] + lengths[1])
        for row, index, words in zip(grid, (1, 2), ("", "spread of "), strict=True):
            images = np.stack([self.frames[i][index] for i in chosen])
            style, shown = _colours(images, index == 1), None
            for axes, i, image in zip(row, chosen, images, strict=True):
                time, measured = self.frames[i][0], self.frames[i][3]
                hatch(axes)
                shown = axes.imshow(image.T, origin="lower", extent=extent, aspect="auto", **style)
                what = f"{measured} sensors" if measured else "forecast"
                axes.set_title(f"time {time:.4g}: {what}", fontsize=9.5)
            assert shown is not None, "the figure has at least one frame"
            figure.colorbar(shown, ax=list(row), label=words + self._label(self.context.fields[0]))
        return figure

    def _label(self, name: str, unit: str | None = None) -> str:
        found = self.units.get(unit or name, "")
        return f"{name} [{found}]" if found not in ("", "1") else name


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
