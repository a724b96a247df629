"""Pictures of a dataset: fields over time, their mean and size, and an animation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.animation import PillowWriter
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..base.appearing import appearing_file, refuse_existing
from ..base.figures import (
    DPI,
    INK,
    MUTED,
    RUNS,
    SIGNED,
    STEPS,
    STYLE,
    TRANSPARENT,
    UNSIGNED,
    hatch,
)
from ..base.progress import Bar
from ..fields.grid import spacing
from ..stores.store import Store
from ..stores.whole import whole
from .plot_series import draw_series
from .summary import with_unit

COLUMNS = 6  # frames beside each other
ROWS = 8  # fields below each other
EVEN = 512  # rows of an image over times that are not even
FRAMES = 100  # of an animation, at most
RATE = 12  # of them per second
THIN = 10.0  # a domain so many times as long as wide is not shown to scale
_Box: TypeAlias = tuple[float, float, float, float]  # left, right, bottom, top
_Aspect: TypeAlias = Literal["equal", "auto"]


@dataclass(frozen=True)
class _Scale:
    """The colours of a field: the same in all its pictures."""

    low: float
    high: float

    @staticmethod
    def of(values: np.ndarray) -> _Scale:
        """The range of the values; symmetric about zero where they have both signs."""
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        if low < 0 < high:
            low, high = -max(-low, high), max(-low, high)
        return _Scale(low, high)

    @property
    def colors(self) -> Any:
        """The colour map; what is not finite, or not predicted, is left out."""
        name = SIGNED if self.low < 0 < self.high else UNSIGNED
        return matplotlib.colormaps[name].with_extremes(bad=TRANSPARENT)

    @property
    def norm(self) -> Normalize:
        """From values to colours; a single value is in the middle."""
        margin = (0.05 * abs(self.low) or 1.0) if self.low == self.high else 0.0
        return Normalize(self.low - margin, self.high + margin)


@dataclass(frozen=True)
class _Picture:
    """What is drawn: some frames (T, C, *S) of a trajectory, masked, and its constant fields."""

    store: Store
    trajectory: int
    fields: tuple[str, ...]
    times: Float[np.ndarray, " T"]
    values: Float[np.ndarray, "T C *S"]
    constants: Float[np.ndarray, "K *S"]

    @property
    def title(self) -> str:
        """Dataset and trajectory."""
        return f"{self.store.name}\ntrajectory {self.trajectory}{_plane(self.store)}"


def plot(
    store: Store,
    out: Path,
    *,
    trajectory: int = 0,
    fields: Sequence[str] = (),
    animate: bool = False,
    overwrite: bool = False,
    progress: bool = False,
) -> list[Path]:
    """Draw a trajectory into the folder `out`.

    `NAME_fields.png` shows frames side by side: in 1D over space and time, in 2D as images, in 3D
    in the middle plane of the last axis; a steady problem's inputs and solution. `NAME_series.png`
    shows mean and root mean square of some trajectories over time, and `NAME.gif` moves.

    Args:
        store: the dataset.
        out: folder of the pictures.
        trajectory: which one.
        fields: which ones; all, up to `ROWS`, if empty.
        animate: make the animation too.
        overwrite: replace pictures of these names.
        progress: show a progress bar on stderr.

    Returns:
        The files.

    Raises:
        ValueError: there is no such trajectory or field, or a picture exists.
    """
    store = whole(store)
    for name in fields:
        if name not in store.fields:
            known = ", ".join(store.fields)
            raise ValueError(f"dataset {store.name!r} has no field {name!r}; it has {known}")
    shown = tuple(fields) or store.fields[:ROWS]
    moving = store.n_frames(trajectory) > 1
    stem = "".join(c if c.isalnum() or c in "_-." else "_" for c in store.name)
    jobs: dict[Path, Callable[[Path], None]] = {
        out / f"{stem}_fields.png": lambda path: _draw_fields(store, trajectory, shown, path)
    }
    if moving:
        jobs[out / f"{stem}_series.png"] = lambda path: draw_series(store, shown, path)
    if moving and animate:
        jobs[out / f"{stem}.gif"] = lambda path: _animate(store, trajectory, shown, path, progress)
    for path in jobs:
        refuse_existing(path, overwrite)
    for path, draw in jobs.items():
        with (
            appearing_file(path, overwrite=overwrite) as draft,
            matplotlib.rc_context(STYLE),
        ):
            draw(draft)
    return [*jobs]


def _picture(store: Store, i: int, fields: tuple[str, ...], count: int) -> _Picture:
    """Frames spread evenly over the trajectory, from `store.first` on."""
    chosen = np.linspace(store.first, store.n_frames(i) - 1, count).round().astype(int)
    chosen = np.unique(chosen)
    channels = [store.fields.index(name) for name in fields]
    frames = [store.read_raw(i, slice(int(k), int(k) + 1), channels)[0] for k in chosen]
    values, mask = np.stack(frames).astype(np.float64), store.mask(i)
    if mask is not None:
        values[:, ~mask.numpy()[channels]] = np.nan
    constants = store.constants_raw(i)[: len(fields) if not store.steady else ROWS]
    if store.grid.ndim == 3:
        values, constants = _middle(values), _middle(constants)
    return _Picture(store, i, fields, store.trajectory_times(i)[chosen], values, constants)


def _middle(values: np.ndarray) -> np.ndarray:
    return values[..., values.shape[-1] // 2]


def _draw_fields(store: Store, trajectory: int, fields: tuple[str, ...], path: Path) -> None:
    if store.grid.ndim == 1 and not store.steady:
        figure = _space_time(_picture(store, trajectory, fields, store.n_frames(trajectory)))
    else:
        figure = _images(_picture(store, trajectory, fields, COLUMNS))
    figure.savefig(path, dpi=DPI, format="png")


def _space_time(picture: _Picture) -> Figure:
    """1D: a row per field, with its values over space and time and its profile at some times."""
    store, (rows_shown, times) = picture.store, _even(picture.times)
    (x,), rows = store.grid.coordinates(), len(picture.fields) + len(picture.constants)
    figure = Figure(figsize=(9, 2.4 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False)
    label = with_unit(store, "length", store.axes[0])
    for (left, right), name, values in zip(
        axes, picture.fields, np.moveaxis(picture.values, 1, 0), strict=False
    ):
        scale = _Scale.of(values)
        extent = (*_edges(x.numpy()), *_edges(times))
        mapped = _show(left, values[rows_shown], scale, extent)
        left.set(ylabel=with_unit(store, "time"), title=with_unit(store, name))
        _color_bar(figure, mapped, left)
        chosen = np.unique(np.linspace(0, len(values) - 1, 5).round().astype(int))
        for k, shade in zip(chosen, np.linspace(0.0, 0.9, len(chosen)), strict=True):
            color = matplotlib.colormaps[UNSIGNED](shade)
            right.plot(x, values[k], color=color, linewidth=1.3, label=f"{picture.times[k]:.4g}")
        right.grid(True, axis="y")
        right.legend(title="time", frameon=False, fontsize=8, loc="center left",
                     bbox_to_anchor=(1.0, 0.5))  # fmt: skip
    for (left, right), name, values in zip(
        axes[len(picture.fields) :], store.constant_fields, picture.constants, strict=False
    ):
        left.plot(x, values, color=RUNS[0])
        left.set_title(f"{with_unit(store, name)} (constant)")
        right.set_axis_off()
    for ax in axes[-1]:
        ax.set_xlabel(label)
    figure.suptitle(picture.title, color=INK, fontsize=11)
    return figure


def _even(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames at even times, as the rows of an image are, and these times.

    Where a trajectory's own times are not even, each row shows the frame nearest in time.
    """
    if len(times) < 2 or spacing(times) is not None:
        return np.arange(len(times)), times
    even = np.linspace(times.min(), times.max(), EVEN)
    return np.abs(times[:, None] - even).argmin(0), even


def _images(picture: _Picture) -> Figure:
    """2D and 3D: a row per field and a column per frame; constant fields in rows of their own."""
    store, steady = picture.store, picture.store.steady
    fields = [
        (name, list(values), _Scale.of(values))
        for name, values in zip(picture.fields, np.moveaxis(picture.values, 1, 0), strict=True)
    ]
    fixed = [
        (f"{name}\n(input)" if steady else f"{name}\n(constant)", [values], _Scale.of(values))
        for name, values in zip(store.constant_fields, picture.constants, strict=False)
    ]
    rows = [*fixed, *fields] if steady else [*fields, *fixed]
    columns = 1 if steady else len(picture.times)
    if store.grid.ndim == 1:
        return _profiles(picture, rows)
    height, width = _panel_size(store)
    size = max(width * columns + 2.2, 4.5), height * len(rows) + 1.5
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, panels, scale) in zip(axes, rows, strict=True):
        for ax in line[len(panels) :]:
            ax.set_axis_off()
        mapped = [
            _show(ax, _image(store, values), scale, _extent(store), _aspect(store))
            for ax, values in zip(line, panels, strict=False)
        ]
        for ax in line[1:]:
            ax.tick_params(labelleft=False)
        label = with_unit(store, name.split("\n")[0], name)
        line[0].set_ylabel(label, color=INK, rotation=0, ha="right", va="center")
        _color_bar(figure, mapped[-1], list(line))
    lowest = len(fields) - 1 if not steady else len(rows) - 1  # of most columns
    for ax in axes[:lowest].flat:
        ax.tick_params(labelbottom=False)
    figure.supxlabel(_axes_label(store), color=MUTED, fontsize=9.5)
    if not steady:
        for ax, time in zip(axes[0], picture.times, strict=True):
            ax.set_title(_time_label(store, time), fontsize=9.5, color=MUTED)
    figure.suptitle(picture.title, color=INK, fontsize=11)
    return figure


def _axes_label(store: Store) -> str:
    """What lies across and upwards in an image, and whether as long as it is."""
    across, up = (with_unit(store, "length", store.axes[axis]) for axis in _drawn(store))
    return f"{across} →   {up} ↑" + (", not to scale" if _aspect(store) == "auto" else "")


def _time_label(store: Store, time: float) -> str:
    unit = store.units.get("time", "1")
    return f"t = {time:.4g}" + (f" {unit}" if unit != "1" else "")


def _profiles(picture: _Picture, rows: Sequence[tuple[str, list[np.ndarray], _Scale]]) -> Figure:
    """A steady problem in 1D."""
    store = picture.store
    (x,) = store.grid.coordinates()
    figure = Figure(figsize=(6, 2.0 * len(rows) + 0.5), layout="constrained")
    axes = figure.subplots(len(rows), 1, squeeze=False)[:, 0]
    for ax, (name, panels, _) in zip(axes, rows, strict=True):
        ax.plot(x, panels[0], color=RUNS[0])
        ax.set_ylabel(with_unit(store, name.split("\n")[0], name))
    axes[-1].set_xlabel(with_unit(store, "length", store.axes[0]))
    figure.suptitle(picture.title, color=INK, fontsize=11)
    return figure


def _animate(
    store: Store, trajectory: int, fields: tuple[str, ...], path: Path, progress: bool
) -> None:
    picture = _picture(store, trajectory, fields[:4], FRAMES)
    scales = [_Scale.of(values) for values in np.moveaxis(picture.values, 1, 0)]
    height, width = (2.2, 3.2) if store.grid.ndim == 1 else _panel_size(store, 3.0)
    figure = Figure(
        figsize=(max(width * len(scales) + 0.9, 4.0), height + 1.0), layout="constrained", dpi=100
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(scales), squeeze=False)[0]
    moving = [
        _first_frame(ax, picture, channel, scale)
        for channel, (ax, scale) in enumerate(zip(axes, scales, strict=True))
    ]
    for ax, artist in zip(axes, moving, strict=True):
        if store.grid.ndim > 1:
            _color_bar(figure, artist, ax)
    title = figure.suptitle(f"{store.name}\nt = ", color=INK, fontsize=10)
    writer = PillowWriter(fps=RATE)
    bar = Bar("drawing", len(picture.times), unit="frames", active=progress)
    with bar, writer.saving(figure, str(path), 100):
        for time, frame in zip(picture.times, picture.values, strict=True):
            title.set_text(f"{store.name}\n{_time_label(store, time)}{_plane(store)}")
            for artist, values in zip(moving, frame, strict=True):
                if values.ndim == 1:
                    artist.set_ydata(values)
                else:
                    artist.set_data(np.ma.masked_invalid(_image(store, values)))
            if time == picture.times[0]:  # once, as it takes longer than a frame, and nothing jumps
                figure.draw_without_rendering()
                figure.set_layout_engine("none")
            writer.grab_frame()
            bar.advance(1.0)


def _first_frame(ax: Axes, picture: _Picture, channel: int, scale: _Scale) -> Any:
    """A curve in 1D, else an image."""
    store, name = picture.store, picture.fields[channel]
    ax.set_title(with_unit(store, name), fontsize=9.5)
    if store.grid.ndim > 1:
        across, up = _drawn(store)
        ax.set(xlabel=with_unit(store, "length", store.axes[across]))
        ax.set(ylabel=with_unit(store, "length", store.axes[up]))
        values = _image(store, picture.values[0, channel])
        return _show(ax, values, scale, _extent(store), _aspect(store))
    (x,) = store.grid.coordinates()
    margin = 0.05 * (scale.high - scale.low) or 1.0
    ax.set(ylim=(scale.low - margin, scale.high + margin), xlabel=store.axes[0])
    ax.grid(True, axis="y")
    return ax.plot(x, picture.values[0, channel], color=RUNS[0], linewidth=1.5)[0]


def _show(
    ax: Axes, values: np.ndarray, scale: _Scale, extent: _Box, aspect: _Aspect = "auto"
) -> Any:
    ax.xaxis.set_major_locator(MaxNLocator(3, steps=STEPS))
    ax.yaxis.set_major_locator(MaxNLocator(4, steps=STEPS))
    for spine in ax.spines.values():
        spine.set_visible(False)
    hatch(ax)
    return ax.imshow(
        np.ma.masked_invalid(values),
        origin="lower",
        aspect=aspect,
        interpolation="none",
        extent=extent,
        cmap=scale.colors,
        norm=scale.norm,
    )


def _color_bar(figure: Figure, mapped: Any, axes: Any) -> None:
    bar = figure.colorbar(mapped, ax=axes, aspect=18, pad=0.02, fraction=0.06)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.ax.tick_params(length=2)
    bar.ax.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))


def _panel_size(store: Store, largest: float = 1.7) -> tuple[float, float]:
    """Height and width of an image in inches, as the domain is shaped, within 1 : 4."""
    width, height = (store.grid.lengths[axis] for axis in _drawn(store))
    ratio = min(4.0, max(1 / 4, height / width))
    return (largest * ratio, largest) if ratio <= 1 else (largest * 1.2, largest * 1.2 / ratio)


def _aspect(store: Store) -> _Aspect:
    """Lengths to scale, but of domains that would be a line."""
    width, height = (store.grid.lengths[axis] for axis in _drawn(store))
    return "equal" if 1 / THIN <= height / width <= THIN else "auto"


def _extent(store: Store) -> _Box:
    x, y = (store.grid.coordinates()[axis].numpy() for axis in _drawn(store))
    return (*_edges(x), *_edges(y))


def _drawn(store: Store) -> tuple[int, int]:
    """The axes that lie across and upwards: the first and the second, but of maps (latitude first)
    and of arrays (y, x) the second and the first.
    """
    first, second = (axis.lower() for axis in store.axes[:2])
    north = first.startswith("lat") or first.endswith("y")
    east = second.startswith("lon") or second.endswith("x")
    return (1, 0) if north and east else (0, 1)


def _image(store: Store, values: np.ndarray) -> np.ndarray:
    """A frame (X, Y) as an image has it: rows upwards."""
    return values if _drawn(store) == (1, 0) else values.T


def _edges(points: np.ndarray) -> tuple[float, float]:
    """Outer edges of the cells around points."""
    half = (points[-1] - points[0]) / max(1, len(points) - 1) / 2 if len(points) > 1 else 0.5
    return float(points[0] - half), float(points[-1] + half)


def _plane(store: Store) -> str:
    """Where a 3D field is cut."""
    if store.grid.ndim < 3:
        return ""
    z, unit = store.grid.coordinates()[2], store.units.get("length", "1")
    place = f"{float(z[len(z) // 2]):.4g}" + (f" {unit}" if unit != "1" else "")
    return f", plane {store.axes[2]} = {place}"
