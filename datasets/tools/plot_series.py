"""Time series of a dataset as a picture: mean and size of its fields, trajectory by trajectory."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..base.figures import DPI, INK, MUTED, RUNS, STEPS
from ..stores.store import Store
from ..stores.survey import blocks
from .summary import with_unit

LINES = 8  # trajectories in a chart
ROUNDING = 1e-5  # of the size of a field, within which its mean is constant
BLOCK = 2**22  # values to hold at once


def draw_series(store: Store, fields: tuple[str, ...], path: Path) -> None:
    """Mean and root mean square over space of some trajectories, and their kinetic energy."""
    chosen = np.unique(np.linspace(0, len(store) - 1, LINES).round().astype(int)).tolist()
    velocity = [k for k, name in enumerate(fields) if name.startswith("velocity_")]
    rows = len(fields) + bool(velocity)
    figure = Figure(figsize=(9, 1.9 * rows + 0.5), layout="constrained")
    axes, sizes = figure.subplots(rows, 2, squeeze=False), [0.0] * len(fields)
    for number, i in enumerate(chosen):
        times, (mean, square) = store.trajectory_times(i), _averages(store, i, fields)
        style: dict[str, Any] = {
            "color": RUNS[number % len(RUNS)],
            "linewidth": 1.2,
            "linestyle": "-" if number < len(RUNS) else "--",
            "label": str(i),
        }
        for k in range(len(fields)):
            sizes[k] = max(sizes[k], math.sqrt(np.nanmax(square[:, k], initial=0.0)))
            axes[k, 0].plot(times, mean[:, k], **style)
            axes[k, 1].plot(times, np.sqrt(square[:, k]), **style)
        if velocity:
            axes[-1, 0].plot(times, 0.5 * square[:, velocity].sum(1), **style)
    for k, name in enumerate(fields):
        axes[k, 0].set_ylabel(with_unit(store, name))
        for ax in axes[k]:
            _leave_out_rounding(ax, sizes[k])
    if velocity:
        axes[-1, 0].set_ylabel("½⟨|velocity|²⟩")
        axes[-1, 1].set_axis_off()
    axes[0, 0].set_title("mean over space", color=MUTED, fontsize=9.5)
    axes[0, 1].set_title("root mean square over space", color=MUTED, fontsize=9.5)
    for ax in axes.flat:
        ax.grid(True, axis="y")
        ax.yaxis.set_major_locator(MaxNLocator(4, steps=STEPS))
    for ax in (axes[-1, 0], axes[len(fields) - 1, 1]):
        ax.set_xlabel(with_unit(store, "time"))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, title="trajectory", loc="outside right upper", frameon=False, fontsize=8
    )
    figure.suptitle(store.name, color=INK)
    figure.savefig(path, dpi=DPI, format="png")


def _leave_out_rounding(ax: Axes, size: float) -> None:
    """Give what is constant up to rounding an axis on which it is a straight line."""
    low, high = ax.get_ylim()
    if high - low < ROUNDING * size:
        middle = (low + high) / 2
        ax.set_ylim(middle - 0.02 * size, middle + 0.02 * size)


def _averages(store: Store, i: int, fields: tuple[str, ...]) -> np.ndarray:
    """Mean and mean square over space (2, T, C) of a trajectory, where fields are predicted."""
    channels = [store.fields.index(name) for name in fields]
    mask = store.mask(i)
    weight = np.ones((len(channels), *store.grid.shape)) if mask is None else mask.numpy()[channels]
    points = weight.sum(tuple(range(1, weight.ndim)), keepdims=True)
    weight = (weight / np.maximum(points, 1))[None]
    parts = []
    for part in blocks(store, i, BLOCK, channels=len(channels)):
        frames = slice(part.start, part.stop)
        values = store.read_raw(i, frames, channels).astype(np.float64)
        values = np.where(weight > 0, values, 0.0)
        axes = tuple(range(2, values.ndim))
        parts.append([(values * weight).sum(axes), (np.square(values) * weight).sum(axes)])
    return np.concatenate(parts, axis=1)
