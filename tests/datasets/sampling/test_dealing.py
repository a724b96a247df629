"""Micro-batches dealt by cost: each to one process, equally many, with sums that are alike."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pelagos.datasets.sampling.dealing import busy, deal


@given(st.integers(1, 8), st.integers(1, 6), st.data())
def test_each_is_dealt_once_and_all_get_equally_many(
    processes: int, share: int, data: st.DataObject
) -> None:
    size = processes * share
    costs = data.draw(st.lists(st.floats(0.1, 100), min_size=size, max_size=size))
    dealt = deal(costs, processes)
    assert sorted(place for hand in dealt for place in hand) == [*range(size)]
    assert {len(hand) for hand in dealt} == {share}
    assert all(hand == sorted(hand) for hand in dealt)
    assert 0 < busy(costs, processes, dealt) <= 1 + 1e-9


def test_equal_ones_are_dealt_in_rows() -> None:
    assert deal([2.0] * 6, 3) == [[0, 1], [2, 3], [4, 5]]
    assert deal([1.0, 5.0, 2.0], 1) == [[0, 1, 2]]


@pytest.mark.parametrize("share", [2, 4, 8])
def test_nobody_waits_as_long_as_before(share: int) -> None:
    draw = random.Random(0)
    costs = [draw.choice((1.0, 4.0, 16.0)) for _ in range(32 * share)]
    rows = [[*range(i * share, (i + 1) * share)] for i in range(32)]
    assert busy(costs, 32, deal(costs, 32)) > 1.2 * busy(costs, 32, rows)
