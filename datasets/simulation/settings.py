"""The settings of a simulation: the one list of what a simulated dataset follows from.

Needs no torch: the command line takes its options, and their help, from here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

COUNTS = {"train": 128, "valid": 16, "test": 16}  # default numbers of trajectories per split


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a simulated dataset follows from, beside its equation; None is the equation's default.

    Attributes:
        trajectories: number per split, of "train", "valid" and "test"; None: 128, 16 and 16.
        resolution: points per axis; one number for all axes.
        lengths: length of the domain per axis; one number for all axes.
        frames: saved frames per trajectory, the first one included; not for a steady equation.
        dt: time between saved frames; not for a steady equation.
        warm_up: time before the first saved frame, to leave a transient behind.
        parameters: a value for all trajectories, or a range (low, high) to draw from, by name.
        solver_step: largest internal time step, of equations that have one.
        subsample: solve on a grid finer by this factor per axis than what is stored.
        on_blowup: what becomes of a trajectory that blows up: stop there, or draw it again.
        seed: of all random numbers.
        shard: trajectories per file; memory grows with it.
        dtype: precision of the computation; what is stored is in float32.
        device: where to compute: cpu, cuda, …; results of different devices differ by rounding.
    """

    trajectories: dict[str, int] | None = None
    resolution: int | tuple[int, ...] | None = None
    lengths: float | tuple[float, ...] | None = None
    frames: int | None = None
    dt: float | None = None
    warm_up: float | None = None
    parameters: dict[str, float | tuple[float, float]] = field(default_factory=dict)
    solver_step: float | None = None
    subsample: int | None = None
    on_blowup: Literal["refuse", "redraw"] = "refuse"
    seed: int = 0
    shard: int = 64
    dtype: Literal["float64", "float32"] = "float64"
    device: str = "cpu"
