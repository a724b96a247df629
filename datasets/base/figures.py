"""Colours and matplotlib settings that all figures share."""

from __future__ import annotations

from typing import Any

INK, MUTED, RULE, BASELINE = "#1b1c1e", "#5c6066", "#d9dbde", "#8a8f96"
# Told apart under the common colour-vision deficiencies, in this order.
RUNS = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#b58900", "#56646f")
SIGNED, UNSIGNED = "RdBu_r", "cividis"  # colour maps: white at zero; from dark to light
STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # names and units are others' texts, and `$` in them is a dollar
    "svg.hashsalt": "pelagos",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
}
# Land and obstacles: what an image leaves transparent shows no colour of its map, but hatching.
TRANSPARENT = (0.0, 0.0, 0.0, 0.0)
DPI = 130  # of a PNG
STEPS = [1, 2, 5, 10]  # between ticks, times a power of ten


def hatch(axes: Any) -> None:
    """Hatch the ground of axes, where an image on it is transparent."""
    axes.set_facecolor("white")
    axes.patch.set(hatch="//////", edgecolor=BASELINE, linewidth=0.0)
