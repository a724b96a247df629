"""Some trajectories, and some frames, of a source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float32, Float64

from ..layouts.source import Source


class View(Source):
    """Trajectories of a source, and of each the frames of a range.

    Args:
        source: the whole.
        trajectories: which of its trajectories, counted from 0.
        frames: which of their frames; None: all.
    """

    def __init__(
        self, source: Source, trajectories: Sequence[int], frames: range | None = None
    ) -> None:
        whole, chosen = source.header, [*trajectories]
        self.path, self._source, self._chosen = source.path, source, chosen
        self._frames = range(whole.n_frames) if frames is None else frames
        part = slice(self._frames.start, self._frames.stop, self._frames.step)

        def of_these(values: np.ndarray) -> np.ndarray:
            return values[part] if values.ndim == 1 else values[chosen][:, part]

        self.header = replace(
            whole,
            rows=[whole.rows[i] for i in chosen],
            parameters=whole.parameters[chosen],
            times=of_these(whole.times),
            series={name: of_these(values) for name, values in whole.series.items()},
        )

    def read(
        self, trajectory: int, frames: slice, channels: Sequence[int]
    ) -> Float32[np.ndarray, "T C *S"]:
        """The given frames and channels of a trajectory."""
        return self._source.read(self._chosen[trajectory], self._inner(frames), channels)

    def read_exactly(
        self, trajectory: int, frames: slice, channels: Sequence[int]
    ) -> Float64[np.ndarray, "T C *S"]:
        """The same in double precision, as exactly as the file has it."""
        return self._source.read_exactly(self._chosen[trajectory], self._inner(frames), channels)

    def _inner(self, frames: slice) -> slice:
        chosen = self._frames[frames]
        return slice(chosen.start, chosen.stop, chosen.step)

    def constants(self, trajectory: int) -> Float32[np.ndarray, "K *S"]:
        """The constant fields of a trajectory."""
        return self._source.constants(self._chosen[trajectory])

    def mask(self, trajectory: int) -> Bool[np.ndarray, "C *S"] | None:
        """Where the fields of a trajectory are predicted; None: everywhere."""
        return self._source.mask(self._chosen[trajectory])

    def close(self) -> None:
        """Give the file back; the next access opens it again."""
        self._source.close()
