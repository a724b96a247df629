"""Datasets without end: trajectories that are simulated when they are read, and never stored.

A dataset comes in blocks of n trajectories that are solved at once: block e of a split holds the
trajectories e·n … (e + 1)·n − 1 of `simulate`'s numbering, so it depends on (seed, equation,
settings, split, e) alone, whoever computes it and in whatever order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..equations.equation import Equation
from ..layouts.memory import MemorySource
from ..stores.renaming import renamed_header
from ..stores.store import Store
from .resolved import Simulation, resolve
from .settings import Settings
from .trajectories import Block, solve


class EndlessStore(Store):
    """The first block of a split of an endless dataset; `epoch(e)` is the store of block e.

    Args:
        equation: registry name, or an equation of your own.
        split: "train", "valid" or "test".
        size: trajectories per block, which are solved at once.
        settings: what the trajectories follow from; the equation's defaults where None. How many
            are stored, and in which files, has no meaning here.
        name: of the dataset; the equation's by default.
        rename: other names for its fields, constant fields and parameters.
        changes: fields of `Settings` by name, in place of those in `settings`.

    Raises:
        ValueError: a setting is unknown or impossible, or a trajectory blew up.
    """

    endless = True

    def __init__(
        self,
        equation: str | Equation,
        split: str,
        size: int,
        settings: Settings | None = None,
        *,
        name: str | None = None,
        rename: Mapping[str, str] | None = None,
        **changes: Any,
    ) -> None:
        if size < 1:
            raise ValueError(f"a block needs at least 1 trajectory; got {size}")
        self._made: dict[int, tuple[int, Store]] = {}
        self._rename = dict(rename or {})
        self._split, self._size = split, size
        self._what = (equation, replace(settings or Settings(), **changes), name)
        self._simulation: Simulation | None = None
        super().__init__([(split, self._solve(0))])

    def epoch(self, number: int, streams: int = 1) -> Store:
        """The trajectories of block `number`; the latest of each of `streams` streams is kept."""
        if number == 0:
            return self
        stream = number % streams
        kept, store = self._made.get(stream, (0, self))
        if kept != number:
            self._made.pop(stream, None)  # its memory, before the next is solved
            store = Store([(self._split, self._solve(number))])
            self._made[stream] = number, store
        return store

    def __getstate__(self) -> dict[str, Any]:
        """Without what another process makes again."""
        return {**vars(self), "_simulation": None, "_made": {}}

    def _solve(self, number: int) -> MemorySource:
        if self._simulation is None:
            self._simulation = resolve(*self._what)
        block = Block(self._split, number * self._size, self._size)
        source = MemorySource(solve(self._simulation, block))
        source.header = renamed_header(source.header, self._rename)
        return source
