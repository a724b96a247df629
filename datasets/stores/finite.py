"""Which values of a store were seen to be finite."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..layouts.source import Source


class Finite:
    """Which frames and constant fields this process has seen to be finite.

    Looking at values takes half as long as reading them, and windows overlap.

    Args:
        sources: of the store.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._lengths = [source.header.n_frames for source in sources]
        frames = [len(source) * source.header.n_frames for source in sources]
        self._first = np.cumsum([0, *frames]).tolist()
        self._frames = np.zeros(self._first[-1], dtype=bool)
        self._constants = np.zeros(sum(map(len, sources)), dtype=bool)

    def first_bad(
        self, place: tuple[int, int], frames: slice, values: Float[Tensor, "T C *S"]
    ) -> tuple[int, int] | None:
        """The first of the given frames that is not finite, and its channel.

        Args:
            place: the source, and the trajectory's number in it.
            frames: which frames of the trajectory the values are.
            values: what was read.
        """
        file, local = place
        first = self._first[file] + local * self._lengths[file]
        seen = self._frames[first + frames.start : first + frames.stop : frames.step]
        if seen.all():
            return None
        if not torch.isfinite(values.sum()) and not torch.isfinite(values).all():
            frame, channel = torch.argwhere(~torch.isfinite(values))[0, :2].tolist()
            return frame, channel
        seen[:] = True
        return None

    def seen(self, place: tuple[int, int], frame: int) -> bool:
        """Whether a frame of a trajectory, by its place, was seen to be finite."""
        file, local = place
        return bool(self._frames[self._first[file] + local * self._lengths[file] + frame])

    def seen_constants(self, i: int) -> bool:
        """Whether the constant fields of trajectory i were seen to be finite."""
        return bool(self._constants[i])

    def first_bad_constant(
        self, i: int, values: Float[Tensor, "K *S"], remember: bool = True
    ) -> int | None:
        """The first of the constant fields of trajectory i that is not finite.

        Args:
            i: its number.
            values: what was read.
            remember: whether a file that is finite need not be looked at again.
        """
        if self._constants[i]:
            return None
        bad = torch.argwhere(~torch.isfinite(values))
        if len(bad):
            return int(bad[0, 0])
        self._constants[i] = remember
        return None
