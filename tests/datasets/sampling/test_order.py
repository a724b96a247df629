"""Permutations of any length: every number once, in an order that looks random."""

from __future__ import annotations

import numpy as np
import pytest

from pelagos.datasets.sampling import order
from pelagos.datasets.sampling.order import Permutation, permutation


def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 64, 65, 1000])
def test_every_number_comes_once(count: int) -> None:
    drawn = [*Permutation(count, generator(0))]
    assert sorted(drawn) == [*range(count)]
    assert [*Permutation(count, generator(0))] == drawn
    if count > 5:
        assert [*Permutation(count, generator(1))] != drawn


def test_the_order_looks_random() -> None:
    """As many pairs of neighbours rise as fall, and no place keeps its number's neighbourhood."""
    count = 20_000
    drawn = np.array(Permutation(count, generator(0))[:])
    assert abs((np.diff(drawn) > 0).mean() - 0.5) < 0.02
    assert abs(np.corrcoef(np.arange(count), drawn)[0, 1]) < 0.02
    bins = np.histogram2d(np.arange(count), drawn, bins=10)[0]
    assert ((bins - count / 100) ** 2 / (count / 100)).sum() < 140  # chi-squared, 81 of freedom


def test_many_numbers_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(permutation(100, generator(0)), np.ndarray)
    many = permutation(10**12, generator(0))
    assert isinstance(many, Permutation)
    drawn = many[:1000]
    assert len({*drawn}) == 1000
    assert 0.4e12 < np.mean(drawn) < 0.6e12
    with pytest.raises(IndexError):
        many[10**12]
    monkeypatch.setattr(order, "MANY", 10)
    assert isinstance(permutation(10, generator(0)), Permutation)
