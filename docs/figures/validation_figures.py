"""One figure per family of equations: its solver against what is known of the solutions.

`python docs/figures/validation_figures.py docs [FAMILY …]` draws `docs/validation/FAMILY.png`
of the families named, or of all (half a minute).
"""

from __future__ import annotations

import argparse
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import validation_grids
import validation_spectral
from matplotlib.figure import Figure
from PIL import Image
from validation import Curve, Panel

from pelagos.datasets.base.appearing import appearing_file
from pelagos.datasets.base.figures import BASELINE, INK, RUNS, STYLE

# By family, as in `equations.FAMILIES.ours`.
PANELS: dict[str, Callable[[], tuple[Panel, ...]]] = {
    "model_equations": validation_spectral.model_equations,
    "navier_stokes": validation_spectral.navier_stokes,
    "incompressible": validation_spectral.incompressible,
    "reaction_diffusion": validation_spectral.reaction_diffusion,
    "diffusion_sorption": validation_grids.diffusion_sorption,
    "klein_gordon": validation_spectral.klein_gordon,
    "elliptic": validation_grids.elliptic,
    "compressible": validation_grids.compressible,
    "shallow_water": validation_grids.shallow_water,
    "waves": validation_grids.waves,
}
_MARKS = "os^Dv"
_FEW = 8  # ticks, each labelled
_DPI, _COLORS = 120, 48


def draw(family: str, path: Path) -> None:
    """Solve a family's problems and draw them (PNG).

    Args:
        family: a key of `PANELS`.
        path: the file; replaced if it exists.
    """
    panels = PANELS[family]()
    with matplotlib.rc_context({**STYLE, "text.parse_math": True}):  # powers of ten are formulas
        figure = Figure(figsize=(8.6, 3.6), layout="constrained", facecolor="white")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for ax, panel in zip(axes, panels, strict=True):
            _draw(ax, panel)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=_DPI)
    with appearing_file(path, overwrite=True) as partial:
        # Few colours make a file a quarter of the size.
        Image.open(picture).convert("RGB").quantize(_COLORS).save(partial, "PNG", optimize=True)


def _draw(ax: Any, panel: Panel) -> None:
    ax.set_title(panel.title, fontsize=10, color=INK, loc="left")
    ax.set(xlabel=panel.x, ylabel=panel.y)
    if panel.logarithmic:
        ax.set_yscale("log")
        _decades(ax, panel.curves)
    if panel.logarithmic == "xy":
        ax.set_xscale("log")
        _fractions(ax, panel.curves)
    labels = list(dict.fromkeys(curve.label for curve in panel.curves if not curve.exact))
    for curve in panel.curves:
        if curve.exact:
            ax.plot(curve.x, curve.y, color=BASELINE, linewidth=1.2, label=curve.label)
        else:
            kind = labels.index(curve.label)
            lone = len(labels) < len(panel.curves) and not panel.logarithmic
            _points(ax, curve, kind, "none" if lone else "-")
        if curve.order:
            _slope(ax, curve)
    ax.grid(visible=True)
    handles, names = ax.get_legend_handles_labels()
    once = dict(zip(names, handles, strict=True))
    ax.legend(
        once.values(),
        once.keys(),
        loc="upper center",
        bbox_to_anchor=(0.5, -0.2),
        ncols=2,
        frameon=False,
        fontsize=8,
        labelcolor=INK,
    )


def _points(ax: Any, curve: Curve, kind: int, line: str) -> None:
    many = len(curve.x) > 24 and line != "none"
    ax.plot(
        curve.x,
        curve.y,
        linestyle=line,
        linewidth=1.2,
        marker="" if many else _MARKS[kind],
        markersize=3.6,
        color=RUNS[kind],
        label=curve.label,
    )


def _slope(ax: Any, curve: Curve) -> None:
    """A dashed line of the curve's order, below it."""
    last, height = (
        max(curve.x),
        min(y / x**curve.order for x, y in zip(curve.x, curve.y, strict=True)),
    )
    ends = (min(curve.x), last)
    ax.plot(
        ends,
        [0.4 * height * x**curve.order for x in ends],
        "--",
        color=BASELINE,
        linewidth=1,
        label=f"order {curve.order}",
    )


def _decades(ax: Any, curves: Sequence[Curve]) -> None:
    """Whole decades where the values lie within one or two, so that some are labelled."""
    low, high = (f(y for curve in curves for y in curve.y) for f in (min, max))
    if high < 30 * low:
        ax.set_ylim(10 ** (math.floor(math.log10(low)) - 1), 10 ** math.ceil(math.log10(high)))


def _fractions(ax: Any, curves: Sequence[Curve]) -> None:
    """Ticks where the points are: 1, 1/2, 1/4 …"""
    at = sorted({x for curve in curves for x in curve.x})
    assert len(at) <= _FEW
    names = [f"1/{1 / x:.0f}" if x < 1 else f"{x:g}" for x in at]
    ax.set_xticks(at, names)
    ax.minorticks_off()


def main() -> None:
    """Draw the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("docs", type=Path, help="folder of the documentation")
    parser.add_argument("families", nargs="*", metavar="FAMILY", help="all by default")
    given = parser.parse_args()
    (given.docs / "validation").mkdir(parents=True, exist_ok=True)
    for family in given.families or PANELS:
        draw(family, given.docs / "validation" / f"{family}.png")


if __name__ == "__main__":
    main()
