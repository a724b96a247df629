"""A tank that a known inflow fills, and the operator that solves it exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.operators import Description, Operator

POINTS, FRAMES, DT, START = 8, 9, 0.5, 10.0
TIMES = START + DT * np.arange(FRAMES)


@dataclass(frozen=True)
class TankConfig:
    ndim: int = 1
    history: int = 1


class Tank(Operator):
    """u' = q, exact where q is linear along a step."""

    name: ClassVar[str] = "tank"
    Config: ClassVar[type] = TankConfig
    conditioned = driven = True

    def reset(self, generator: Any) -> None:
        """Nothing is drawn."""

    def step(self, state, dt, observation=None):
        self.check_step(state, dt)
        begin, end = state.channels(state.history[:, -1], dt)
        fields = state.history[:, -1] + dt.reshape(-1, 1, 1) * (begin + end) / 2
        return state.advance(fields, dt), fields


def tank(**about: Any) -> Tank:
    """The operator, which takes `q` as prescribed."""
    known: dict[str, Any] = {"fields": ("u",), "prescribed": ("q",), "time_steps": (DT,)}
    return Tank(TankConfig(), Description(**{**known, **about}))


def inflow(seed: int, count: int, frames: int = FRAMES) -> np.ndarray:
    """(n, T) at times `DT` apart, linear in between."""
    return np.random.default_rng(seed).standard_normal((count, frames))


def level(q: np.ndarray) -> np.ndarray:
    """(n, T, x) of the tanks that these inflows fill, from 1 on at the first point."""
    gained = np.cumsum((q[:, 1:] + q[:, :-1]) / 2 * DT, 1)
    gained = np.concatenate((np.zeros((len(q), 1)), gained), 1)
    return (1.0 + np.arange(POINTS) + gained[:, :, None]).astype(np.float32)


def write_tank(
    root: Path, counts: Mapping[str, int], *, seed: int = 0, scalar: bool = True, **changes: Any
) -> Path:
    """A dataset with the prescribed inflow `q`, a scalar over time or a field."""
    for k, (split, count) in enumerate(counts.items()):
        q = inflow(seed + k, count)
        field = np.broadcast_to(q[:, :, None], (*q.shape, POINTS)).astype(np.float32)
        known: dict[str, Any] = {
            "dataset": root.name,
            "grid": Grid.unit((POINTS,)),
            "times": TIMES,
            "fields": {"u": level(q)} | ({} if scalar else {"q": field}),
            "series": {"q": q} if scalar else {},
            "prescribed": ("q",),
            "units": {"q": "m/s", "u": "m", "time": "s"},
        }
        write_file(root / "data" / split / "a.hdf5", WellData(**{**known, **changes}))
    return root
