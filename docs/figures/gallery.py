"""The equations in motion: a page with one small animation of each, the first of its trajectories.

`python docs/figures/gallery.py docs [NAME …]` draws `docs/gallery/NAME.webp` of the equations
named, or of all (minutes), and renews the page `docs/gallery.md`.
"""

from __future__ import annotations

import argparse
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from pelagos.datasets import equations
from pelagos.datasets.base.appearing import appearing_file
from pelagos.datasets.base.figures import INK, RUNS, SIGNED, STYLE, UNSIGNED
from pelagos.datasets.equations.equation import Equation
from pelagos.datasets.equations.registry import Family, ours
from pelagos.datasets.simulation.endless import EndlessStore
from pelagos.datasets.stores.store import Store

FRAMES = 20  # of an animation, at most
DRAWS = 8  # solutions of a steady problem
PANELS = 4  # fields beside each other, at most
RATE = 6  # frames per second
_DPI = 80

_INTRODUCTION = """\
# Gallery

One trajectory of every equation of [equations.md](equations.md) at its defaults: trajectory 0 of
seed 0, as `pelagos data simulate NAME` makes it. Constant fields stand on the left; steady problems
show some solutions one after the other; in 3D the middle plane of the last axis is shown, of a
response in space–time the planes of its times. Colours keep their range over time; white is zero
where a field has both signs. Made by `python docs/figures/gallery.py docs`.
"""


def page() -> str:
    """The page in Markdown; pictures are beside it in `gallery/`."""
    return "\n".join([_INTRODUCTION, *map(_family, ours())])


def _family(family: Family) -> str:
    return "\n\n".join([f"## {family.title}", *map(_section, family.equations)]) + "\n"


def _section(equation: Equation) -> str:
    # As headings of the page of the equations become anchors.
    anchor = re.sub(r"[^\w\- ]", "", f"{equation.name} {equation.title}".lower()).replace(" ", "-")
    link = f"[`{equation.name}`](equations.md#{anchor})"
    picture = f"![{equation.title}](gallery/{equation.name}.webp)"
    return f"{equation.title}:\n{link}\n\n{picture}"


def draw(equation: str, path: Path, **settings: Any) -> None:
    """Simulate an equation and write its animation (WebP).

    Args:
        equation: registry name.
        path: the file; replaced if it exists.
        settings: fields of `Settings` by name.

    Raises:
        ValueError: a setting is unknown or impossible.
    """
    steady = equations.get(equation).steady
    store = EndlessStore(equation, "train", DRAWS if steady else 1, **settings)
    with matplotlib.rc_context(STYLE):
        frames = list(_frames(store))
    first, rest = frames[0], frames[1:]
    with appearing_file(path, overwrite=True) as partial:
        first.save(
            partial,
            "WEBP",
            save_all=True,
            append_images=rest,
            duration=1000 // RATE,
            loop=0,
            quality=60,
            method=4,
        )


def _frames(store: Store) -> Iterator[Image.Image]:
    """The pictures: constant fields, then fields, under the equation's name and the time."""
    names, values, labels = _panels(store)
    norms = [_norm(values[:, k]) for k in range(len(names))]
    width, height = _panel_size(store)
    size = (max(width * len(names), 2.6), height + 0.5)
    figure = Figure(figsize=size, layout="constrained", dpi=_DPI)
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    shown = [
        _first(ax, name, values[0, k], norms[k])
        for k, (ax, name) in enumerate(zip(axes, names, strict=True))
    ]
    for label, panels in zip(labels, values, strict=True):
        figure.suptitle(f"{store.name.split()[0]}   {label}", color=INK, fontsize=9)
        for artist, panel in zip(shown, panels, strict=True):
            artist.set_ydata(panel) if panel.ndim == 1 else artist.set_data(panel.T)
        picture = io.BytesIO()
        canvas.print_figure(picture, format="png")
        yield Image.open(picture).convert("RGB")


def _panels(store: Store) -> tuple[list[str], np.ndarray, list[str]]:
    """Names of the panels, their values (T, panels, *S) in one or two dimensions, and the times."""
    fields = range(min(PANELS - min(len(store.constant_fields), 1), len(store.fields)))
    names = [*store.constant_fields, *(store.fields[k] for k in fields)]
    if store.steady:
        values = np.stack([_state(store, i, slice(0, 1), fields)[0] for i in range(len(store))])
        if values.ndim == 5:  # in space–time: over the times of the first
            times = store.grid.coordinates()[0]
            return names, np.moveaxis(values[0], 1, 0), [f"t = {t:.3g}" for t in times]
        return names, values, [f"draw {i + 1}" for i in range(len(values))]
    values, times = _state(store, 0, slice(None), fields), store.trajectory_times(0)
    chosen = np.unique(np.linspace(0, len(times) - 1, FRAMES).round().astype(int))
    if values.ndim == 5:
        values = values[..., values.shape[-1] // 2]
    return names, values[chosen], [f"t = {times[k]:.3g}" for k in chosen]


def _state(store: Store, trajectory: int, frames: slice, channels: Sequence[int]) -> np.ndarray:
    """Constant fields and fields (T, panels, *S) of a trajectory."""
    fields = store.read_raw(trajectory, frames, list(channels))
    constants = store.constants_raw(trajectory)[None]
    return np.concatenate((np.repeat(constants, len(fields), 0), fields), 1)


def _norm(values: np.ndarray) -> Normalize:
    """The range of colours or heights: all values but the outermost; symmetric if signs differ."""
    low, high = np.quantile(values, (0.001, 0.999))
    if low < 0 < high and max(-low, high) < 5 * min(-low, high):
        low, high = -max(-low, high), max(-low, high)
    return Normalize(low, high if high > low else low + 1)


def _first(ax: Any, name: str, values: np.ndarray, norm: Normalize) -> Any:
    """The artist of a panel: a curve in 1D, else an image."""
    ax.set_title(name, fontsize=8, pad=3)
    ax.set(xticks=[])
    low, high = float(norm.vmin or 0), float(norm.vmax or 0)
    if values.ndim == 1:
        margin = 0.08 * (high - low)
        ax.set(ylim=(low - margin, high + margin))
        ax.tick_params(labelsize=7)
        return ax.plot(values, color=RUNS[0], linewidth=1.3)[0]
    ax.set(yticks=[])
    for spine in ax.spines.values():
        spine.set_visible(False)
    colors = SIGNED if low == -high else UNSIGNED
    return ax.imshow(values.T, origin="lower", cmap=colors, norm=norm)


def _panel_size(store: Store) -> tuple[float, float]:
    """Width and height of a panel in inches, as the domain is shaped."""
    if store.grid.ndim == 1:
        return 2.6, 1.4
    x, y = store.grid.lengths[-2:] if store.steady else store.grid.lengths[:2]
    return (1.5, 1.5 * y / x) if y <= x else (1.5 * x / y, 1.5)


def main() -> None:
    """Draw the pictures and the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("docs", type=Path, help="folder of the documentation")
    parser.add_argument("names", nargs="*", metavar="NAME", help="equations; all by default")
    given = parser.parse_args()
    (given.docs / "gallery").mkdir(parents=True, exist_ok=True)
    for name in given.names or equations.names():
        draw(name, given.docs / "gallery" / f"{name}.webp")
    (given.docs / "gallery.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
