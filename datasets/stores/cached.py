"""Trajectories that stay in memory once they are read, for stores that fit there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import psutil
from jaxtyping import Bool, Float32, Float64

from ..layouts.source import Source
from .store import Store

SHARE = 0.5  # of the available memory that stores may take


def keep_in_memory(stores: Sequence[Store], copies: int = 1) -> list[Store]:
    """The same stores, which keep what they read of a trajectory in memory, with all its frames.

    Every process that reads holds a copy of its own, made as it reads; a store is pickled without
    what it keeps.

    Args:
        stores: what to keep.
        copies: how many processes of this machine will read them.

    Raises:
        ValueError: the copies of all trajectories would take over half of the available memory.
    """
    needed = copies * sum(map(memory, stores))
    available = int(SHARE * psutil.virtual_memory().available)
    if needed > available:
        names = ", ".join(store.name for store in stores)
        each = f" in {copies} processes" if copies > 1 else ""
        raise ValueError(
            f"{names} would take {needed / 2**30:.3g} GiB{each} in memory, over half of what is "
            f"available ({available / 2**30:.3g} GiB is half); read from files instead, or with "
            f"fewer processes"
        )
    return [_kept(store) for store in stores]


def memory(store: Store) -> int:
    """Bytes of all frames and constant fields of a store in single precision."""
    point = np.dtype(np.float32).itemsize * math.prod(store.grid.shape)
    fields, constants = len(store.sources[0].header.fields), len(store.constant_fields)
    frames = sum(len(source) * source.header.n_frames for source in store.sources)
    return point * (fields * frames + constants * len(store))


def _kept(store: Store) -> Store:
    return store.over([KeptSource(source) for source in store.sources])


class KeptSource(Source):
    """A source that reads every trajectory of another one once."""

    def __init__(self, source: Source) -> None:
        self.path, self.header = source.path, source.header
        self._source = source
        self._frames: dict[int, np.ndarray] = {}
        self._constants: dict[int, np.ndarray] = {}
        self._masks: dict[int, np.ndarray | None] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without what another process reads itself."""
        return {**vars(self), "_frames": {}, "_constants": {}, "_masks": {}}

    def read(
        self, trajectory: int, frames: slice, channels: Sequence[int]
    ) -> Float32[np.ndarray, "T C *S"]:
        """The given frames and channels of a trajectory."""
        if trajectory not in self._frames:
            everything = range(len(self.header.fields))
            self._frames[trajectory] = self._source.read(trajectory, slice(None), everything)
        return self._frames[trajectory][frames].take(channels, 1)

    def read_exactly(
        self, trajectory: int, frames: slice, channels: Sequence[int]
    ) -> Float64[np.ndarray, "T C *S"]:
        """The same in double precision."""
        return self._source.read_exactly(trajectory, frames, channels)

    def constants(self, trajectory: int) -> Float32[np.ndarray, "K *S"]:
        """The constant fields of a trajectory."""
        if trajectory not in self._constants:
            self._constants[trajectory] = self._source.constants(trajectory)
        return self._constants[trajectory].copy()

    def mask(self, trajectory: int) -> Bool[np.ndarray, "C *S"] | None:
        """True where the fields are predicted; None: everywhere."""
        if trajectory not in self._masks:
            self._masks[trajectory] = self._source.mask(trajectory)
        mask = self._masks[trajectory]
        return None if mask is None else mask.copy()

    def close(self) -> None:
        """Give the file back; what was read stays."""
        self._source.close()
