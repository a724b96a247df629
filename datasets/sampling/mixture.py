"""The order of training data: a pure function of (seed, number of the micro-batch).

Training consumes micro-batches, each drawn from ONE dataset, so that fields, grid, time step and
shapes are uniform within it. Micro-batch k is the same for every number of processes; process r
of W takes its share of the numbers k. Nothing has to be replayed to continue at any k.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence

import numpy as np

from ..fields.window import Window, collate
from .augmentation import Augmentation
from .order import permutation
from .windows import Windows

TURN = 2**32  # one turn of the wheel on which the datasets' shares lie
STEP = 2654435769  # the turn's golden section, coprime to it: evenly spread at every length


class Mixture:
    """Weighted datasets, drawn in a fixed order.

    The datasets' shares w lie side by side on a wheel that advances by the golden section from
    each micro-batch to the next and starts at a point given by the seed. So each dataset is drawn
    w·k times among the first k micro-batches, up to a few, evenly spread; and how often is counted
    in O(log k) operations. Within a dataset, windows come in seeded permutations: every window
    once before any comes again.

    An endless dataset is drawn in streams, micro-batch k from stream k mod `streams`, and every
    stream has blocks of its own. With as many streams as micro-batches in an optimizer step, a
    process solves only what its own micro-batches need, and all see the same as one would alone.

    Args:
        parts: windows of each dataset, and its weight (positive; need not sum to 1).
        batch: windows per micro-batch,
        batches: and of each part, where they differ: of large grids fewer fit, of small ones more
            are needed to keep a processor busy.
        seed: of the order.
        streams: of endless datasets; the others have one.
        augmentations: one per part, or None for windows as they are; each sample is moved by
            random numbers that depend on the seed and its number alone.

    Raises:
        ValueError: no parts, an impossible number, or windows of a part differ in time step.
    """

    def __init__(
        self,
        parts: Sequence[tuple[Windows, float]],
        batch: int,
        seed: int,
        augmentations: Sequence[Augmentation | None] = (),
        streams: int = 1,
        batches: Sequence[int] = (),
    ) -> None:
        if not parts:
            raise ValueError("a mixture needs at least one dataset; got none")
        sizes = tuple(batches) or (batch,) * len(parts)
        if min(sizes) < 1 or not 0 <= seed < 2**63:
            raise ValueError(f"batch must be positive, seed in [0, 2⁶³); got {batch} and {seed}")
        for windows, weight in parts:
            _check_part(windows, weight)
        self.parts = [windows for windows, _ in parts]
        self.augmentations = tuple(augmentations) or (None,) * len(parts)
        assert len(self.augmentations) == len(self.parts) == len(sizes)
        self.sizes, self.seed = sizes, seed
        shares = np.cumsum([0.0, *(weight for _, weight in parts)])
        self._edges = [round(TURN * share / shares[-1]) for share in shares.tolist()]
        self._offset = int(_generator(seed).integers(TURN))
        self._streams = [streams if windows.store.endless else 1 for windows in self.parts]
        self._orders: dict[tuple[int, int], tuple[int, Sequence[int] | np.ndarray]] = {}

    def reordered(self, seed: int) -> Mixture:
        """The same windows with the same shares, in the order of another seed."""
        other = copy.copy(self)
        other.seed, other._orders = seed, {}
        other._offset = int(_generator(seed).integers(TURN))
        return other

    def draw(self, k: int) -> tuple[int, list[int]]:
        """Part and window indices of micro-batch k = 0, 1, …"""
        part, places = self._places(k)
        return part, [index for _, index in places]

    def batch(self, k: int) -> Window:
        """The windows of micro-batch k, collated."""
        part, places = self._places(k)
        windows, augmentation = self.parts[part], self.augmentations[part]
        streams = self._streams[part]
        chosen = [windows.in_epoch(epoch, streams)[index] for epoch, index in places]
        if augmentation is not None:
            first = k * max(self.sizes)
            chosen = [
                augmentation(window, _sample_generator(self.seed, first + i))
                for i, window in enumerate(chosen)
            ]
        return collate(chosen)

    def origins(self, k: int) -> list[str]:
        """Where the windows of micro-batch k come from, in words."""
        part, places = self._places(k)
        windows, streams = self.parts[part], self._streams[part]
        return [windows.in_epoch(epoch, streams).origin(index) for epoch, index in places]

    def costs(self, numbers: Iterable[int]) -> list[float]:
        """About what micro-batches cost, relative to each other: their points.

        All cost the same where a dataset is endless: a process solves what its own micro-batches
        need, and these must stay its own.
        """
        if any(windows.store.endless for windows in self.parts):
            return [1.0 for _ in numbers]
        points = [math.prod(windows.store.grid.shape) for windows in self.parts]
        chosen = (self._part(k) for k in numbers)
        return [float(points[part] * self.sizes[part]) for part in chosen]

    def windows_before(self, k: int) -> int:
        """How many windows the micro-batches before number k hold."""
        if len({*self.sizes}) == 1:
            return k * self.sizes[0]
        total = 0
        for part, size in enumerate(self.sizes):
            for stream in range(self._streams[part]):
                count = max(0, -(-(k - stream) // self._streams[part]))
                total += size * self._drawn_before(count, part, stream)
        return total

    def _part(self, k: int) -> int:
        """The part of micro-batch k."""
        position = (self._offset + k * STEP) % TURN
        return int(np.searchsorted(self._edges, position, side="right")) - 1

    def _places(self, k: int) -> tuple[int, list[tuple[int, int]]]:
        """Part of micro-batch k, and the epoch and index of its windows."""
        part = self._part(k)
        before, stream = divmod(k, self._streams[part])
        first = self._drawn_before(before, part, stream) * self.sizes[part]
        return part, [self._window(part, stream, first + i) for i in range(self.sizes[part])]

    def _drawn_before(self, count: int, part: int, stream: int) -> int:
        """How many of the first `count` micro-batches of a stream are of `part`.

        A position in [low, high) is one where (position − low) has passed one more full turn than
        (position − high), so the count is a difference of two sums of floors.
        """
        low, high = self._edges[part], self._edges[part + 1]
        step, start = self._streams[part] * STEP, self._offset + stream * STEP
        passed = _floor_sum(count, TURN, step, start - low + TURN)
        return passed - _floor_sum(count, TURN, step, start - high + TURN)

    def _window(self, part: int, stream: int, position: int) -> tuple[int, int]:
        """Epoch and window at a position of a stream's endless sequence of permutations."""
        turn, place = divmod(position, len(self.parts[part]))
        epoch = turn * self._streams[part] + stream
        known, order = self._orders.get((part, stream), (-1, np.empty(0, np.int64)))
        if known != epoch:
            generator = _generator(self.seed, part + 1, epoch)
            order = permutation(len(self.parts[part]), generator)
            self._orders[part, stream] = (epoch, order)
        return epoch, int(order[place])


def _check_part(windows: Windows, weight: float) -> None:
    name = windows.store.name
    if not 0 < weight < float("inf"):
        raise ValueError(f"the weight of {name!r} must be positive and finite; got {weight}")
    if windows.dt is None and windows.history > 1:
        raise ValueError(
            f"{name!r} has no uniform time step common to all its trajectories, so its windows do "
            f"not fit one batch; give the trajectories of each step as a part (Windows.by_step)"
        )


def _generator(seed: int, part: int = 0, epoch: int = 0) -> np.random.Generator:
    """A counter-based generator: independent streams without any state."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, part, epoch]))


def _sample_generator(seed: int, number: int) -> np.random.Generator:
    """The random numbers of one sample, apart from those of the order."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 1, 0, number]))


def _floor_sum(n: int, m: int, a: int, b: int) -> int:
    """Σ ⌊(a·i + b) / m⌋ over i = 0 … n − 1, for a, b ≥ 0, by Euclid's algorithm on (a, m)."""
    total = 0
    while n > 0:
        total += n * (n - 1) // 2 * (a // m) + n * (b // m)
        a, b = a % m, b % m
        n, b = divmod(a * n + b, m)
        a, m = m, a
    return total
