"""Datasets without end: trajectories that are simulated when they are read, and never stored.

A dataset comes in blocks of n trajectories that are solved at once: block e of a split holds the
trajectories e·n … (e + 1)·n − 1 of `simulate`'s numbering, so it depends on (seed, equation,
settings, split, e) alone, whoever computes it and in whatever order.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from .simulation_settings import Run, prepare
from .store import Store
from .trajectories import Block, solve
from .well import AXES, WellData


class MemorySource:
    """Trajectories in memory; a `Source`."""

    def __init__(self, data: WellData) -> None:
        count = len(next(iter(data.fields.values())))
        self.path = Path(f"{data.dataset} (in memory)")
        self.name, self.grid, self.times = data.dataset, data.grid, data.times
        self.axes: tuple[str, ...] = AXES[: data.grid.ndim]
        self.fields, self.constant_fields = tuple(data.fields), tuple(data.constant_fields)
        self.parameter_names, self.units = tuple(data.parameters), data.units
        columns = [np.broadcast_to(values, count) for values in data.parameters.values()]
        self.parameters = np.array(columns, np.float64).reshape(-1, count).T
        self.series: dict[str, np.ndarray] = {}
        self.provenance = data.provenance
        self._fields = _stacked([*data.fields.values()])
        shape = (count, 0, *data.grid.shape)
        constants = [*data.constant_fields.values()]
        self._constants = _stacked(constants) if constants else np.empty(shape, np.float32)

    def __len__(self) -> int:
        return len(self._fields)

    def read(
        self, trajectory: int, frames: slice, channels: Sequence[int]
    ) -> Float32[np.ndarray, "T C *S"]:
        """The given frames and channels of a trajectory."""
        return self._fields[trajectory, list(channels), frames].swapaxes(0, 1)

    def constants(self, trajectory: int) -> Float32[np.ndarray, "K *S"]:
        """The constant fields of a trajectory."""
        return self._constants[trajectory].copy()

    def close(self) -> None:
        """Nothing is open."""


def _stacked(fields: Sequence[np.ndarray]) -> np.ndarray:
    """(n, C, …) in single precision from (n, …) of each of C fields."""
    return np.stack([np.asarray(values, np.float32) for values in fields], 1)


class EndlessStore(Store):
    """The first block of a split of an endless dataset; `epoch(e)` is the store of block e.

    Args:
        equation: a registered equation.
        split: "train", "valid" or "test".
        size: trajectories per block, which are solved at once.
        settings: as for `simulation_settings.prepare`.

    Raises:
        ValueError: a setting is unknown or impossible, or a trajectory blew up.
    """

    endless = True

    def __init__(self, equation: str, split: str, size: int, **settings: Any) -> None:
        if size < 1:
            raise ValueError(f"a block needs at least 1 trajectory; got {size}")
        self._made: dict[int, tuple[int, Store]] = {}
        self._what = (equation, split, size, settings)
        self._run: Run | None = None
        super().__init__([(split, self._solve(0))])

    def epoch(self, number: int, streams: int = 1) -> Store:
        """The trajectories of block `number`; the latest of each of `streams` streams is kept."""
        if number == 0:
            return self
        stream = number % streams
        kept, store = self._made.get(stream, (0, self))
        if kept != number:
            self._made.pop(stream, None)  # its memory, before the next is solved
            store = Store([(self._what[1], self._solve(number))])
            self._made[stream] = number, store
        return store

    def __getstate__(self) -> dict[str, Any]:
        """Without what another process makes again."""
        return {**vars(self), "_run": None, "_made": {}}

    def _solve(self, number: int) -> MemorySource:
        equation, split, size, settings = self._what
        if self._run is None:
            self._run = prepare(equation, **settings)
        return MemorySource(solve(self._run, Block(split, number * size, size)))
