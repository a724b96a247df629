"""What training the fixed gain costs: a correction and its gradient, over modes and grids.

    OMP_NUM_THREADS=1 python benchmarks/gain.py --rounds 5
    OMP_NUM_THREADS=2 python benchmarks/gain.py --rounds 5

For each trajectory and measured step, the least of all rounds, in milliseconds, forward and
backward; rounds go through all cases in turn, so that a busy minute meets all of them. With one
thread it is CPU time, which other jobs disturb less. `--step` measures whole training steps
instead: windows of an observer, the gain alone trained.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch

from pelagos.datasets.fields import Context, Grid, Window
from pelagos.operators import Observation, create
from pelagos.operators.assimilation.correction import Correction, CorrectionConfig
from pelagos.pretrain.objectives.assimilation import (
    Assimilation,
    AssimilationConfig,
    AssimilationObjectiveConfig,
)

CASES = (
    ((64,), 1, 24),
    ((256,), 3, 24),
    ((56, 40), 3, 4),
    ((56, 40), 3, 6),
    ((56, 40), 3, 8),
    ((128, 128), 3, 6),
    ((128, 128), 1, 8),
    ((24, 24, 24), 1, 4),
)
BATCH = 4  # trajectories at a time
HORIZON, MEASURED = 16, 0.75  # frames of a window in a whole step, and their share measured
SENSORS = 0.3  # share of the grid's points


def case(space: tuple[int, ...], fields: int, modes: int, kind: str) -> Callable[[], None]:
    """One correction of `BATCH` trajectories with its gradient, fresh weights."""
    generator = torch.Generator().manual_seed(0)
    config = CorrectionConfig(modes=modes, fields=kind)  # pyright: ignore[reportArgumentType]
    correction = Correction(len(space), fields, config)
    correction.reset(generator)
    context = Context(tuple(f"field_{i}" for i in range(fields)), Grid.unit(space))
    shape, ones = (BATCH, fields, *space), (1, fields, *(1,) * len(space))
    forecast, values = (torch.randn(shape, generator=generator) for _ in range(2))
    mask = torch.rand(shape, generator=generator) < SENSORS
    observation = Observation(values, mask, context.fields, torch.full(shape, 0.05))
    forecast.requires_grad_()
    one, zero, variance = torch.ones(ones), torch.zeros(ones), torch.full(shape, 0.5)

    def run() -> None:
        analysis, left = correction(forecast, observation, context, zero, one, variance)
        (analysis.square().mean() + left.mean()).backward()

    return run


def step(
    space: tuple[int, ...], fields: int, modes: int, kind: str, truncate: int | None = None
) -> Callable[[], None]:
    """A training step of the gain of an observer on `BATCH` windows of `HORIZON` frames."""
    generator = torch.Generator().manual_seed(0)
    names = tuple(f"field_{i}" for i in range(fields))
    correction = {"modes": modes, "fields": kind}
    operator = create(
        "observer", fields=names, ndim=len(space), dynamics="residual", correction=correction
    )
    for name, parameter in operator.named_parameters():
        parameter.requires_grad_(name.startswith("correction."))
    frames = torch.randn(BATCH, HORIZON + 1, fields, *space, generator=generator)
    lead = torch.arange(1.0, HORIZON + 1).expand(BATCH, -1)
    window = Window(frames[:, :1], frames[:, 1:], lead, Context(names, Grid.unit(space)))
    drawn = AssimilationConfig(
        warm_up=round(MEASURED * HORIZON), observed=(0.0, 0.0), truncate=truncate
    )
    objective = Assimilation(AssimilationObjectiveConfig(horizon=HORIZON, assimilation=drawn))

    def run() -> None:
        objective.loss(operator, window, operator.description.normalizer, 0).backward()

    return run


def least(runs: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Seconds of the fastest call of each, in turns, after one that is not counted."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    best = dict.fromkeys(runs, float("inf"))
    for number in range(rounds + 1):
        for name, run in runs.items():
            start = clock()
            run()
            spent = clock() - start
            best[name] = min(best[name], spent) if number else best[name]
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--step", action="store_true", help="whole training steps, in seconds")
    parser.add_argument("--truncate", type=int, help="gradients of --step, as in a recipe")
    parser.add_argument("--only", default="", help="cases whose grid and fields begin so")
    given = parser.parse_args()
    whole = partial(step, truncate=given.truncate)
    prepare, unit = (whole, 1.0) if given.step else (case, 1e3 / BATCH)
    runs: dict[str, Callable[[], None]] = {}
    labels: list[tuple[str, int, int]] = []
    for space, fields, modes in CASES:
        label = f"{' × '.join(map(str, (*space, fields)))}"
        if not label.startswith(given.only):
            continue
        rows = fields * (2 * modes - 1) ** len(space)
        labels.append((label, modes, rows))
        for kind in ("coupled", "apart"):
            runs[f"{label} {modes} {kind}"] = prepare(space, fields, modes, kind)
    best = least(runs, given.rounds)
    print(f"threads: {torch.get_num_threads()}")
    print("| grid × fields | modes | rows | coupled | apart |\n|---|---|---|---|---|")
    for label, modes, rows in labels:
        spent = (best[f"{label} {modes} {kind}"] * unit for kind in ("coupled", "apart"))
        print(f"| {label} | {modes} | {rows} |", *(f"{x:.3g} |" for x in spent))


if __name__ == "__main__":
    main()
