"""Trajectories in memory, as a source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from ..fields.vocabulary import AXES
from .source import Header, Source
from .well import WellData


class MemorySource(Source):
    """Trajectories in memory."""

    def __init__(self, data: WellData) -> None:
        count = len(next(iter(data.fields.values())))
        columns = [np.broadcast_to(values, count) for values in data.parameters.values()]
        self.path = Path(f"{data.dataset} (in memory)")
        self.header = Header(
            name=data.dataset,
            axes=AXES[: data.grid.ndim],
            grid=data.grid,
            times=data.times,
            rows=range(count),
            fields=tuple(data.fields),
            constant_fields=tuple(data.constant_fields),
            parameter_names=tuple(data.parameters),
            parameters=np.array(columns, np.float64).reshape(-1, count).T,
            units=data.units,
            series=data.series,
            prescribed=tuple(data.prescribed),
            provenance=data.provenance,
        )
        self._fields = _stacked([*data.fields.values()])
        shape = (count, 0, *data.grid.shape)
        constants = [*data.constant_fields.values()]
        self._constants = _stacked(constants) if constants else np.empty(shape, np.float32)

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
