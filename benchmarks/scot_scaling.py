"""Cost of the multiscale transformer against the number of tokens, beside the published scOT code.

    OMP_NUM_THREADS=1 python benchmarks/scot_scaling.py PATH_OF_A_POSEIDON_CLONE

Inference of one sample on one thread, T preset built for 32² to 256² points (64 to 4,096 tokens),
equal random weights. Times are CPU seconds, medians of alternating runs; memory is the growth of
the process, each in a process of its own. The slope is that of log cost over log tokens.
Needs what `scot_speed.py` needs.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))  # a safe path leaves it out
import scot_speed

SIZES = (32, 64, 128, 256)
CODES = ("published", "ours")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clone", type=Path, help="a clone of the published code")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory", nargs=2, metavar=("CODE", "SIZE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory:
        code, size = options.memory
        print(scot_speed.growth(calls(options.clone, int(size))[code]))
        return
    print("| points | tokens | " + " | ".join(f"{c}, ms | {c}, MiB" for c in CODES) + " | ratio |")
    print("|---|---|" + "---|---|" * len(CODES) + "---|")
    rows = []
    for size in SIZES:
        functions = calls(options.clone, size)
        for function in functions.values():
            function()
        times = [[seconds(functions[code]) for code in CODES] for _ in range(options.rounds)]
        medians = [1e3 * statistics.median(column) for column in zip(*times, strict=True)]
        memory = [in_a_process(options.clone, code, size) for code in CODES]
        rows.append([*medians, *memory])
        ratio = statistics.median(a / b for a, b in times)
        cells = [f"{t:.0f} | {m:.0f}" for t, m in zip(medians, memory, strict=True)]
        print(f"| {size}² | {(size // 4) ** 2} | {' | '.join(cells)} | {ratio:.2f} |", flush=True)
    names = [f"{code}, {what}" for what in ("time", "memory") for code in CODES]
    for name, column in zip(names, zip(*rows, strict=True), strict=True):
        print(f"slope of {name}: {slope(column):.2f}")


def calls(clone: Path, size: int) -> dict[str, Callable]:
    """One forward pass of each code, with equal weights and outputs."""
    scot_speed.CONFIG["image_size"] = size
    theirs, ours = scot_speed.models(clone)
    x = torch.randn(1, 4, size, size, generator=torch.Generator().manual_seed(0))
    t = torch.full((1,), 0.5)

    @torch.no_grad()
    def published() -> torch.Tensor:
        return theirs(pixel_values=x, time=t).output

    @torch.no_grad()
    def own() -> torch.Tensor:
        return ours(x, t)

    return {"published": published, "ours": own}


def in_a_process(clone: Path, code: str, size: int) -> float:
    command = [sys.executable, __file__, str(clone), "--memory", code, str(size)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def seconds(function: Callable) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def slope(costs: tuple[float, ...]) -> float:
    """Least squares of log cost over log tokens."""
    x = [2 * math.log(size / 4) for size in SIZES]
    y = [math.log(max(cost, 1e-3)) for cost in costs]
    mean_x, mean_y = statistics.mean(x), statistics.mean(y)
    top = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return top / sum((a - mean_x) ** 2 for a in x)


if __name__ == "__main__":
    main()
