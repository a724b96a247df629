"""Figures of the report, as inline SVG whose colours and fonts are those of the page.

Drawn with matplotlib; afterwards each named colour becomes a CSS variable (`var(--ink)`,
`var(--run-0)`, …), so that one figure serves light, dark and print, and text takes the page's
font. No figure refers to anything outside itself.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator
from numpy.typing import ArrayLike

from ...datasets.base.figures import (
    BASELINE,
    INK,
    MUTED,
    RULE,
    RUNS,
    SIGNED,
    STEPS,
    STYLE,
    TRANSPARENT,
    UNSIGNED,
    hatch,
)

_VARIABLES = {INK: "ink", MUTED: "muted", RULE: "rule", BASELINE: "baseline"} | {
    color: f"run-{i}" for i, color in enumerate(RUNS)
}
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Line:
    """One curve: NaN leaves a gap; `low` and `high` bound a shaded band.

    Attributes:
        run: index of the run, which fixes the colour; None draws in ink.
        baseline: draw as the persistence baseline (grey, dashed).
        faint: draw thin, as the unsmoothed companion of another line.
    """

    x: ArrayLike
    y: ArrayLike
    run: int | None = None
    low: ArrayLike | None = None
    high: ArrayLike | None = None
    baseline: bool = False
    faint: bool = False


@dataclass(frozen=True)
class Plane:
    """The axes of a line chart.

    Attributes:
        x, y: labels.
        log_x, log_y: logarithmic axes.
        level: draws a thin dotted horizontal line (a threshold).
        top: curves are cut off above this.
    """

    x: str
    y: str
    log_x: bool = False
    log_y: bool = False
    level: float | None = None
    top: float | None = None


@dataclass(frozen=True)
class Panel:
    """One image: `values` (rows, columns), first row at the bottom.

    Attributes:
        extent: left, right, bottom and top coordinate.
        signed: diverging colours, white at zero.
    """

    values: Float[np.ndarray, "..."]
    title: str
    low: float
    high: float
    signed: bool
    extent: tuple[float, float, float, float]


@dataclass(frozen=True)
class Drawing:
    """A finished figure.

    Attributes:
        svg: the `<svg>` element, with its alternative text.
        caption: what it shows.
        runs: indices of the runs in it, for the legend.
        baseline, truth: whether persistence and the truth are drawn too.
    """

    svg: str
    caption: str
    runs: tuple[int, ...] = ()
    baseline: bool = False
    truth: bool = False


def color(run: int) -> str:
    """The colour of a run, as CSS."""
    return f"var(--run-{run % len(RUNS)})"


def dash(run: int) -> str:
    """The line style of a run: solid, then dashed and dotted where the colours repeat."""
    return ("-", "--", ":")[run // len(RUNS) % 3]


def line_chart(lines: Sequence[Line], plane: Plane, *, alt: str, small: bool = False) -> str:
    """Curves over common axes.

    Args:
        lines: what to draw, later ones in front.
        plane: the axes.
        alt: what the chart shows, for those who cannot see it.
        small: for a third of the page's width instead of half.
    """
    with matplotlib.rc_context(STYLE | {"font.size": 9.5 if small else 10.5}):
        figure = Figure(figsize=(3.5, 2.6) if small else (5.0, 3.3), layout="constrained")
        axes = figure.add_subplot()
        axes.grid(True, axis="y")
        if plane.level is not None:
            axes.axhline(plane.level, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
        for line in lines:
            _draw(axes, line)
        axes.set(xlabel=plane.x, ylabel=plane.y)
        _scale(axes, lines, plane)
        return svg(figure, alt)


def image(panel: Panel, *, x: str, y: str, alt: str) -> str:
    """One panel with its axes and colour bar."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.3, 2.75), layout="constrained")
        axes = figure.add_subplot()
        mapped = _show(axes, panel)
        axes.set(xlabel=x, ylabel=y)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
        _color_bar(figure, mapped, axes)
        return svg(figure, alt)


def image_grid(rows: Sequence[Sequence[Panel]], *, labels: Sequence[str], alt: str) -> str:
    """Rows of panels, each row under one label and with one colour bar; titles on the first row."""
    columns = max(len(row) for row in rows)
    with matplotlib.rc_context(STYLE):
        figure = Figure(
            figsize=(1.75 * columns + 0.9, 1.75 * len(rows) + 0.3), layout="constrained"
        )
        grid = figure.subplots(len(rows), columns, squeeze=False)
        for line, row, label in zip(grid, rows, labels, strict=True):
            mapped = [_show(axes, panel) for axes, panel in zip(line, row, strict=True)]
            for axes in line:
                axes.set_aspect("equal")
                axes.set(xticks=[], yticks=[])
            line[0].set_ylabel(label, color=INK)
            _color_bar(figure, mapped[-1], list(line))
        for axes, panel in zip(grid[0], rows[0], strict=True):
            axes.set_title(panel.title, fontsize=9.5, color=MUTED)
        return svg(figure, alt)


def _draw(axes: Axes, line: Line) -> None:
    x, y = np.asarray(line.x, float), np.asarray(line.y, float)
    style: dict[str, Any] = {"color": INK, "linewidth": 1.6}
    if line.run is not None:
        style = {"color": RUNS[line.run % len(RUNS)], "linewidth": 1.6, "linestyle": dash(line.run)}
    if line.baseline:
        style = {"color": BASELINE, "linewidth": 1.4, "linestyle": (0, (4, 2))}
    if line.faint:
        style |= {"linewidth": 0.6, "alpha": 0.35}
    if line.low is not None and line.high is not None:
        low, high = np.asarray(line.low, float), np.asarray(line.high, float)
        axes.fill_between(x, low, high, color=style["color"], alpha=0.13, linewidth=0)
    marker = "o" if np.isfinite(y).sum() == 1 else ""
    axes.plot(x, y, marker=marker, markersize=4, solid_joinstyle="round", **style)


def _scale(axes: Axes, lines: Sequence[Line], plane: Plane) -> None:
    """Axis limits and ticks; an axis that spans less than a factor of 2 stays linear."""
    top = math.inf if plane.top is None else plane.top
    xs = np.concatenate([np.asarray(line.x, float) for line in lines])
    ys = np.concatenate([np.asarray(line.y, float) for line in lines])
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    axes.margins(x=0.02)
    if plane.log_x and _decades(xs) > math.log10(2):
        axes.set_xscale("log")
        _log_ticks(axes.xaxis, xs)
    if plane.log_y and _decades(np.minimum(ys, top)) > math.log10(2):
        axes.set_yscale("log")
        _log_ticks(axes.yaxis, np.minimum(ys, top))
    positive = ys[ys > 0]
    if positive.size and axes.get_ylim()[1] > top:
        axes.set_ylim(positive.min() / 1.5, top)


def _decades(values: Float[np.ndarray, "..."]) -> float:
    """How many powers of ten the positive values span."""
    positive = values[np.isfinite(values) & (values > 0)]
    return math.log10(positive.max() / positive.min()) if positive.size else 0.0


def _log_ticks(axis: Any, values: Float[np.ndarray, "..."]) -> None:
    """Labelled powers of ten; also 2 and 5 times them where the axis spans little."""
    subs = (1.0, 2.0, 5.0) if _decades(values) < 2 else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs, numticks=8))
    axis.set_major_formatter(FuncFormatter(_plain))
    axis.set_minor_formatter(FuncFormatter(lambda value, position: ""))


def _plain(value: float, _position: int | None = None) -> str:
    """`0.02`, `1`, `1,000`, `10⁻⁶`."""
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        return f"{value:,.10g}".replace("-", "−")
    mantissa, exponent = f"{value:.0e}".split("e")
    power = "10" + str(int(exponent)).translate(_SUPERSCRIPTS)
    return power if mantissa == "1" else f"{mantissa.replace('-', '−')}×{power}"


def _show(axes: Axes, panel: Panel) -> Any:
    colors = matplotlib.colormaps[SIGNED if panel.signed else UNSIGNED].with_extremes(
        bad=TRANSPARENT
    )
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=2)
    hatch(axes)
    return axes.imshow(
        np.ma.masked_invalid(panel.values),
        origin="lower",
        aspect="auto",
        interpolation="none",
        extent=panel.extent,
        cmap=colors,
        norm=Normalize(panel.low, panel.high),
    )


def _color_bar(figure: Figure, mapped: Any, axes: Any) -> None:
    bar = figure.colorbar(mapped, ax=axes, aspect=18, pad=0.03, fraction=0.06)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    bar.ax.tick_params(length=2)
    bar.ax.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(_plain))


def svg(figure: Figure, alt: str) -> str:
    """The figure as an `<svg>` element that scales with its column."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None
    label = html.escape(alt, quote=True)
    # Only ids that something refers to (clip paths, markers, images) may stay: these come from a
    # hash of their contents, the others repeat from figure to figure.
    text = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px var(--sans)", text)
    text = re.sub(r"<!--.*?-->\s*|<style.*?</style>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<[^>]*>", lambda tag: re.sub(r"\d+\.\d{3,}", _two_digits, tag[0]), text)
    for value, name in _VARIABLES.items():
        text = text.replace(value, f"var(--{name})")
    opening = f'<svg {box[0]} role="img" aria-label="{label}">'
    return re.sub(r"^<svg[^>]*>", lambda _: opening, text)  # a label may hold a backslash


def _two_digits(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}"
