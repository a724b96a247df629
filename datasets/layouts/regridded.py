"""A source whose frames are interpolated to a uniform grid as they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64

from ..fields.grid import Grid
from .regridding import Regridding, blocks
from .source import Source

BLOCK = 2**22  # values of the source that are held at once, or one frame


class Regridded(Source):
    """The trajectories of another source on another grid.

    What rests on a missing value, or lies outside of a mesh, is missing (NaN). Interpolation is in
    double precision, from values as exact as the file has them.

    Args:
        source: as its file is.
        regridding: from its points to the new ones.
        grid: the new one.
        said: what the provenance says of it.
    """

    def __init__(
        self, source: Source, regridding: Regridding, grid: Grid, said: dict[str, Any]
    ) -> None:
        self.path, self._source, self._regridding = source.path, source, regridding
        provenance = {**source.header.provenance, "regridded": said}
        self.header = replace(source.header, grid=grid, provenance=provenance)

    def read(
        self, trajectory: int, frames: slice, channels: Sequence[int]
    ) -> Float32[np.ndarray, "T C *S"]:
        """The given frames and channels of a trajectory."""
        with np.errstate(over="ignore"):
            return self.read_exactly(trajectory, frames, channels).astype(np.float32)

    def read_exactly(
        self, trajectory: int, frames: slice, channels: Sequence[int]
    ) -> Float64[np.ndarray, "T C *S"]:
        """The same in double precision."""
        asked = range(self.header.n_frames)[frames]
        out = np.empty((len(asked), len(channels), *self.header.grid.shape))
        size = len(channels) * int(np.prod(self._source.header.grid.shape))
        for part in blocks(len(asked), size, BLOCK):
            chosen = asked[part]
            inner = slice(chosen.start, chosen.stop, chosen.step)
            out[part] = self._moved(self._source.read_exactly(trajectory, inner, channels))
        return out

    def constants(self, trajectory: int) -> Float32[np.ndarray, "K *S"]:
        """The constant fields of a trajectory."""
        values = self._source.constants(trajectory).astype(np.float64)
        return self._moved(values[None])[0].astype(np.float32)

    def mask(self, trajectory: int) -> Bool[np.ndarray, "C *S"] | None:
        """Where the fields are predicted: where nothing that they rest on is masked."""
        mask = self._source.mask(trajectory)
        if mask is None:
            return None
        return ~np.isnan(self._moved(np.where(mask, 0.0, np.nan)[None])[0])

    def close(self) -> None:
        """Give the file back; the next access opens it again."""
        self._source.close()

    def _moved(self, values: Float64[np.ndarray, "T C *S"]) -> Float64[np.ndarray, "T C *R"]:
        count, channels = values.shape[:2]
        out = self._regridding(values.reshape(-1, *values.shape[2:]))
        return out.reshape(count, channels, *self.header.grid.shape)
