"""Reading of single trajectories: what a store offers of each, by its number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64
from torch import Tensor

from .files import Files
from .missing import Gaps
from .timeline import Timeline, Timelines, stretches
from .values import Values


class Trajectories:
    """Frames, times, constant fields and masks of trajectory i; see `Store`.

    Attributes:
        constant_fields: names of the fields that do not vary in time.
        first: the frame from which on frames are equally far apart.
    """

    constant_fields: tuple[str, ...]
    first: int
    _files: Files
    _values: Values
    _timelines: Timelines

    def n_frames(self, i: int) -> int:
        """Number of frames of trajectory i."""
        return self._files.n_frames(i)

    def trajectory_times(self, i: int) -> Float64[np.ndarray, " T"]:
        """Physical times of the frames of trajectory i."""
        return self._files.times(i)

    def timeline(self, i: int) -> Timeline:
        """The time step of trajectory i, and where frames of it are missing."""
        return self._timelines(*self._files.locate(i))

    def stretches(self, i: int) -> list[range]:
        """The frames of trajectory i, from `first` on, in ranges in which none is missing."""
        return stretches(self.n_frames(i), self.first, self.timeline(i).breaks)

    def trajectory(self, i: int) -> Float[Tensor, "T C *S"]:
        """All frames of trajectory i."""
        return self.read(i, 0, self.n_frames(i))

    def read(self, i: int, start: int, stop: int, step: int = 1) -> Float[Tensor, "T C *S"]:
        """Frames start, start + step, … before `stop` of trajectory i; only these are read.

        What the mask leaves out and the file does not hold is filled (see `missing`).

        Raises:
            ValueError: there are no such frames, or a value that is not masked is NaN or infinite.
        """
        return self._values.read(i, start, stop, step)

    def read_raw(
        self, i: int, frames: slice, channels: Sequence[int] | None = None
    ) -> Float32[np.ndarray, "T C *S"]:
        """As `read`, for the given channels, without looking at the values: NaN where missing.

        Raises:
            ValueError: the file is damaged, or this is more than the memory that is available.
        """
        return self._files.read(i, frames, channels)

    def with_holes(self, i: int, frame: int) -> Float[Tensor, "C *S"]:
        """A frame of trajectory i as `read` gives it, but NaN where it has holes."""
        return self._values.with_holes(i, frame)

    def constants(self, i: int) -> Float[Tensor, "K *S"] | None:
        """Constant fields of trajectory i, or None if there are none.

        Raises:
            ValueError: a value is NaN or infinite.
        """
        return self._values.constants(i) if self.constant_fields else None

    def holds_all_constants(self, i: int) -> bool:
        """Whether the constant fields of trajectory i, read before, have no missing values."""
        return self._values.holds_all_constants(i)

    def constants_raw(self, i: int) -> Float32[np.ndarray, "K *S"]:
        """As `constants`, an empty array if there are none, without looking at the values."""
        return self._files.constants(i)

    def mask(self, i: int) -> Bool[Tensor, "C *S"] | None:
        """Where the fields of trajectory i are predicted; None: everywhere."""
        return self._values.mask(i)

    def mask_after_reading(self, i: int) -> Bool[Tensor, "C *S"] | None:
        """As `mask`, of a trajectory that frames have been read of; reads no other."""
        return self._values.mask_after_reading(i)

    def gaps(self, i: int) -> Gaps | None:
        """Where the values of trajectory i are missing; None where it is not known to lack any."""
        return self._values.gaps(i)
