"""What a pass over the values notes of frames: constant ones, and marks of missing values."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

# What files write where they have no value: of ocean, weather and satellite data, of NetCDF's
# defaults, and the ends of the integers that values are packed into.
_WHOLE = (-128, 127, 255, -32768, -32767, 32767, 65535, -2147483648, -2147483647, 2147483647)
_NINES = tuple(sign * (10**n - 1) for n in range(3, 9) for sign in (-1, 1))
_LARGE = (1e10, 1e15, 1e20, 9.999e20, 1e30, 1e34, 1e35, 1e36, 1e37, 9.96920996838687e36, 1.7e38)
_LARGEST = float(np.finfo(np.float32).max)
MARKS = np.array(
    [*_WHOLE, *_NINES, *_LARGE, *(-value for value in _LARGE), -_LARGEST, _LARGEST], np.float32
)
HUGE = 1e15  # where every value that is there more than once in a frame is taken for a mark


@dataclass(frozen=True)
class Flat:
    """Frames that are constant in space, per trajectory and field.

    Attributes:
        count: how many there are.
        start: whether the first frame is one.
        drop: the largest range of a frame that such a frame follows at once.
        at: the frame that follows it; -1 where there is none.
    """

    count: Int64[np.ndarray, "n C"]
    start: Bool[np.ndarray, "n C"]
    drop: Float64[np.ndarray, "n C"]
    at: Int64[np.ndarray, "n C"]

    @staticmethod
    def empty(shape: tuple[int, int]) -> Flat:
        """Nothing seen yet."""
        return Flat(
            np.zeros(shape, np.int64),
            np.zeros(shape, bool),
            np.zeros(shape),
            np.full(shape, -1),
        )

    def add(
        self, where: tuple[int, int], first: int, low: np.ndarray, high: np.ndarray, before: int
    ) -> None:
        """Take in the least and largest value of frames; number `before` of them is `first`."""
        spread = high.astype(np.float64) - low
        flat = spread == 0
        if not flat[before:].any():
            return
        self.count[where] += int(flat[before:].sum())
        if first == 0 and not before:
            self.start[where] = flat[0]
        falls = np.where(flat[1:], spread[:-1], 0.0)
        if falls.size and falls.max() > self.drop[where]:
            self.drop[where] = falls.max()
            self.at[where] = first - before + 1 + int(falls.argmax())


@dataclass
class Marked:
    """The marks of missing values that one field may hold, and what it holds beside them.

    Attributes:
        found: mark -> (frames that hold it, values of the first of them, trajectory, frame).
        low, high: range of everything else.
    """

    found: dict[float, tuple[int, int, int, int]] = field(default_factory=dict)
    low: float = np.inf
    high: float = -np.inf

    def add(
        self,
        i: int,
        first: int,
        frames: Float32[np.ndarray, "T N"],
        low: Float32[np.ndarray, " T"],
        high: Float32[np.ndarray, " T"],
    ) -> None:
        """Take in frames of trajectory i, the first of which is frame `first`."""
        suspect = np.isin(low, MARKS) | np.isin(high, MARKS)
        suspect |= (np.abs(low) >= HUGE) | (np.abs(high) >= HUGE)
        plain = ~suspect
        if plain.any():
            self._widen(float(low[plain].min()), float(high[plain].max()))
        for t in np.flatnonzero(suspect).tolist():
            self._take_apart(i, first + t, frames[t])

    def _take_apart(self, i: int, frame: int, values: np.ndarray) -> None:
        """Marks at the ends of a frame's range, from outside in, and the rest."""
        rest = values
        while rest.size:
            ends = [end for end in {float(rest.min()), float(rest.max())} if _is_mark(end, rest)]
            if not ends:
                self._widen(float(rest.min()), float(rest.max()))
                return
            for end in ends:
                same = rest == end
                count, n, where, when = self.found.get(end, (0, int(same.sum()), i, frame))
                self.found[end] = count + 1, n, where, when
                rest = rest[~same]

    def _widen(self, low: float, high: float) -> None:
        self.low, self.high = min(self.low, low), max(self.high, high)


def _is_mark(value: float, values: np.ndarray) -> bool:
    known = bool(np.isin(np.float32(value), MARKS))
    return known or (abs(value) >= HUGE and int((values == value).sum()) > 1)
