"""How busy processes are where the grids of a mixture differ: computed from the order.

    python benchmarks/balance.py [--processes 32] [--steps 200]

Three datasets of equal shares whose windows cost 1, 4 and 16. A step ends when the slowest process
is done; what the others have computed meanwhile is the share that is printed: micro-batches in rows
(as before), dealt by cost, and with as many windows of each dataset as make them equal.
"""

from __future__ import annotations

import argparse
import statistics

from pelagos.datasets.sampling.dealing import busy, deal
from pelagos.datasets.sampling.mixture import STEP, TURN

COSTS = (1.0, 4.0, 16.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=32)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    print("| micro-batches of a process | in rows | dealt by cost | sizes 16, 4, 1 |")
    print("|---|---|---|---|")
    for share in (1, 2, 4, 8):
        rows, dealt, sized = [], [], []
        for step in range(options.steps):
            first = step * options.processes * share
            costs = [cost_of(first + i) for i in range(options.processes * share)]
            plain = [[*range(i, i + share)] for i in range(0, len(costs), share)]
            rows.append(busy(costs, options.processes, plain))
            dealt.append(busy(costs, options.processes, deal(costs, options.processes)))
            equal = [16.0] * len(costs)
            sized.append(busy(equal, options.processes, deal(equal, options.processes)))
        print(
            f"| {share} | "
            + " | ".join(f"{statistics.mean(x):.0%}" for x in (rows, dealt, sized))
            + " |"
        )


def cost_of(number: int) -> float:
    """The cost of a micro-batch, by the wheel of the mixture."""
    return COSTS[3 * (number * STEP % TURN) // TURN]


if __name__ == "__main__":
    main()
