"""The files of a store: which one holds a trajectory, and how many are open."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from ..layouts.source import Source

MAX_OPEN = 32  # files held open at once, by each store


class Files:
    """Sources in the order of their trajectories; at most `MAX_OPEN` files are held open.

    Args:
        sources: of the store; several may lie in one file.

    Attributes:
        count: of trajectories.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = [*sources]
        self._starts = [0, *accumulate(map(len, sources))]
        self.count = self._starts.pop()
        self.opened: OrderedDict[Path, dict[int, None]] = OrderedDict()

    def locate(self, i: int) -> tuple[int, int]:
        """The source of trajectory i, and the trajectory's number in it."""
        file = bisect_right(self._starts, i) - 1
        return file, i - self._starts[file]

    def use(self, file: int) -> Source:
        """A source that is about to be read; closes the file that was used longest ago."""
        source = self._sources[file]
        self.opened.setdefault(source.path, {})[file] = None
        self.opened.move_to_end(source.path)
        if len(self.opened) > MAX_OPEN:
            for other in self.opened.popitem(last=False)[1]:
                self._sources[other].close()
        return source
