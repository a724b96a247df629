"""In which order numbers are drawn: seeded permutations, of any length in little memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np

MANY = 2**24  # numbers, of which a stored permutation takes 128 MiB
ROUNDS = 6


def permutation(count: int, generator: np.random.Generator) -> Sequence[int] | np.ndarray:
    """The numbers 0 … count − 1 in random order; of `MANY` and more none is stored."""
    if count < MANY:
        return generator.permutation(count)
    return Permutation(count, generator)


class Permutation(Sequence[int]):
    """A permutation that is computed place by place.

    A Feistel network of random functions permutes the 2^2b ≥ n numbers of 2b bits; one that falls
    outside of 0 … n − 1 is permuted again until it falls inside (Black and Rogaway 2002, "cycle
    walking"), at most four times on average.

    Args:
        count: n.
        generator: of the keys.
    """

    def __init__(self, count: int, generator: np.random.Generator) -> None:
        self._count = count
        self._bits = max(1, -(-(count - 1).bit_length() // 2))
        self._keys = generator.integers(2**63, size=ROUNDS, dtype=np.int64).tolist()

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> list[int]: ...
    def __getitem__(self, place: int | slice) -> int | list[int]:
        if isinstance(place, slice):
            return [self[i] for i in range(self._count)[place]]
        number = self._mixed(range(self._count)[place])
        while number >= self._count:
            number = self._mixed(number)
        return number

    def _mixed(self, number: int) -> int:
        mask = (1 << self._bits) - 1
        left, right = number >> self._bits, number & mask
        for key in self._keys:
            left, right = right, left ^ (_hashed(right ^ key) & mask)
        return left << self._bits | right


def _hashed(number: int) -> int:
    """64 bits that look random (the finaliser of SplitMix64)."""
    number = (number + 0x9E3779B97F4A7C15) & (2**64 - 1)
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & (2**64 - 1)
    number = (number ^ number >> 27) * 0x94D049BB133111EB & (2**64 - 1)
    return number ^ number >> 31
