"""The files of a store: which one holds a trajectory, and how many are open."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..layouts.source import Source
from .failures import naming

MAX_OPEN = 32  # files held open at once, by each store


class Files:
    """Sources in the order of their trajectories; at most `MAX_OPEN` files are held open.

    Args:
        sources: of the store; several may lie in one file.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = [*sources]
        self._ends = np.cumsum([len(source) for source in sources]).tolist()
        self.opened: OrderedDict[Path, dict[int, None]] = OrderedDict()

    def __len__(self) -> int:
        return self._ends[-1]

    def locate(self, i: int) -> tuple[int, int]:
        """The source of trajectory i, and the trajectory's number in it."""
        file = bisect_right(self._ends, i)
        return file, i - self._ends[file] + len(self._sources[file])

    @contextmanager
    def reading(self, i: int) -> Iterator[tuple[Source, int]]:
        """The source of trajectory i and its number there; failures inside name the file.

        Raises:
            ValueError: the file is damaged.
        """
        file, local = self.locate(i)
        with naming(self._sources[file].path):
            yield self._use(file), local

    def _use(self, file: int) -> Source:
        """A source that is about to be read; closes the file that was used longest ago."""
        source = self._sources[file]
        self.opened.setdefault(source.path, {})[file] = None
        self.opened.move_to_end(source.path)
        if len(self.opened) > MAX_OPEN:
            for other in self.opened.popitem(last=False)[1]:
                self._sources[other].close()
        return source
