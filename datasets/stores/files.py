"""The files of a store: which one holds a trajectory, what it has there, and how many are open."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from torch import Tensor

from ..layouts.failures import check_memory, naming
from ..layouts.source import Header, Source

MAX_OPEN = 32  # files held open at once, by each store


class Files:
    """Trajectories by their number in a store, as sources hold them.

    At most `MAX_OPEN` files are held open.

    Args:
        sources: of the store, in the order of their trajectories; several may lie in one file.

    Attributes:
        sources: the same.
        header: of the first; its names are those of all.
        count: of trajectories.

    Raises:
        ValueError: every method, where there is no such trajectory.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = [*sources]
        self.header: Header = self.sources[0].header
        self._starts = [0, *accumulate(map(len, sources))]
        self.count = self._starts.pop()
        self.opened: OrderedDict[Path, dict[int, None]] = OrderedDict()

    def locate(self, i: int) -> tuple[int, int]:
        """The source of trajectory i, by its place, and the trajectory's number in it."""
        if not 0 <= i < self.count:
            raise ValueError(
                f"{self.header.name!r} has trajectories 0 to {self.count - 1}; got {i}"
            )
        file = bisect_right(self._starts, i) - 1
        return file, i - self._starts[file]

    def source_of(self, i: int) -> tuple[Source, int]:
        """The source of trajectory i, and its number in it."""
        file, local = self.locate(i)
        return self.sources[file], local

    def origin(self, i: int) -> tuple[Path, int]:
        """The file of trajectory i, and its number in that file."""
        source, local = self.source_of(i)
        return source.path, source.header.rows[local]

    def n_frames(self, i: int) -> int:
        """Number of frames of trajectory i."""
        return self.source_of(i)[0].header.n_frames

    def times(self, i: int) -> Float64[np.ndarray, " T"]:
        """Physical times of the frames of trajectory i."""
        source, local = self.source_of(i)
        times = source.header.times
        return times if times.ndim == 1 else times[local]

    def read(
        self, i: int, frames: slice, channels: Sequence[int] | None = None
    ) -> Float32[np.ndarray, "T C *S"]:
        """Frames of trajectory i, of all channels unless some are given; NaN where missing.

        Raises:
            ValueError: the file is damaged, or this is more than the memory that is available.
        """
        file, local = self.locate(i)
        source = self._use(file)
        channels = range(len(self.header.fields)) if channels is None else channels
        count = len(range(source.header.n_frames)[frames])
        size = 4 * count * len(channels) * math.prod(self.header.grid.shape)
        check_memory(size, self.origin, i)
        with naming(source.path):
            return source.read(local, frames, channels)

    def constants(self, i: int) -> Float32[np.ndarray, "K *S"]:
        """The constant fields of trajectory i; NaN where missing."""
        file, local = self.locate(i)
        source = self._use(file)
        with naming(source.path):
            return source.constants(local)

    def mask(self, i: int) -> Bool[Tensor, "C *S"] | None:
        """The mask that the file of trajectory i states."""
        file, local = self.locate(i)
        source = self._use(file)
        with naming(source.path):
            values = source.mask(local)
        return None if values is None else torch.from_numpy(values)

    def _use(self, file: int) -> Source:
        """A source that is about to be read; closes the file that was used longest ago."""
        source = self.sources[file]
        self.opened.setdefault(source.path, {})[file] = None
        self.opened.move_to_end(source.path)
        if len(self.opened) > MAX_OPEN:
            for other in self.opened.popitem(last=False)[1]:
                self.sources[other].close()
        return source
