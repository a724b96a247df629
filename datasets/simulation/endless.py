"""Datasets without end: trajectories that are simulated when they are read, and never stored.

A dataset comes in blocks of n trajectories that are solved at once: block e of a split holds the
trajectories e·n … (e + 1)·n − 1 of `simulate`'s numbering, so it depends on (seed, equation,
settings, split, e) alone, whoever computes it and in whatever order.
"""

from __future__ import annotations

from typing import Any

from ..layouts.memory import MemorySource
from ..stores.store import Store
from .settings import Run, prepare
from .trajectories import Block, solve


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
