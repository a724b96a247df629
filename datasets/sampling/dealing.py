"""Micro-batches of a step dealt to processes, so that all are done at about the same time."""

from __future__ import annotations

from collections.abc import Sequence


def deal(costs: Sequence[float], processes: int) -> list[list[int]]:
    """Places of equally many micro-batches for each process, with sums of costs that are alike.

    The dearest one goes first, each to the process that has least to do (longest processing time
    first; Graham 1969). Micro-batches of equal cost are dealt in rows, as if there were no costs.

    Args:
        costs: of the micro-batches, in their order; a multiple of `processes`.
        processes: how many there are.
    """
    share, rest = divmod(len(costs), processes)
    assert not rest
    hands: list[list[int]] = [[] for _ in range(processes)]
    if len({*costs}) <= 1:
        return [[*range(i * share, (i + 1) * share)] for i in range(processes)]
    loads = [0.0] * processes
    for place in sorted(range(len(costs)), key=lambda i: -costs[i]):
        free = [i for i in range(processes) if len(hands[i]) < share]
        least = min(free, key=loads.__getitem__)
        hands[least].append(place)
        loads[least] += costs[place]
    return [sorted(hand) for hand in hands]


def busy(costs: Sequence[float], processes: int, dealt: Sequence[Sequence[int]]) -> float:
    """Which share of the processes' time a step uses: the rest waits for the slowest."""
    slowest = max(sum(costs[place] for place in hand) for hand in dealt)
    return sum(costs) / processes / slowest
