"""Trajectories in memory, as a source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

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
