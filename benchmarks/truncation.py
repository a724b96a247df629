"""Whether the gain needs gradients through forecasts: `truncate` at equal CPU time.

    OMP_NUM_THREADS=1 python benchmarks/truncation.py ks rows.jsonl --seeds 3
    python benchmarks/truncation.py table rows.jsonl

The problems are those of `assimilation.py`. A forecast is trained once per seed; from it the gain
is trained with every `truncate` (0: the whole gradient), for as many steps as fit in the CPU time
that `--steps` steps of the whole gradient take, each on a learning-rate schedule of its own. Errors
are RMSE over the standard deviation on trajectories held out, from the mean of the training data,
after the warm-up, mean over the settings. A row that is in the file is left out.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from assimilation import CENTRE, PROBLEMS, Model, Problem, Setting, fresh, rmse
from assimilation_methods import WARM_UP, feed, observer
from torch import Tensor

from pelagos.datasets.fields.window import Window
from pelagos.operators import Operator
from pelagos.pretrain.objectives.assimilation import (
    Assimilation,
    AssimilationConfig,
    AssimilationObjectiveConfig,
    is_gain,
)
from pelagos.pretrain.objectives.losses import loss_of

TRUNCATE = (0, 1, 2)
SETTINGS: tuple[Setting, ...] = (
    CENTRE, (1.0, 0.05, 0.3), (0.1, 0.05, 0.3), (0.25, 0.2, 0.3), (0.25, 0.05, 0.1),
    (0.25, 0.05, 1.0), (0.1, 0.02, 1.0),
)  # fmt: skip
FORECAST = {"ks": 1000, "kdv": 1000, "ns": 400}  # steps of training the forecast
HORIZON, BATCH, RATE, TESTS = 16, 8, 3e-3, 50


def windows(problem: Problem, model: Model, data: Tensor, horizon: int, seed: int
            ) -> Iterator[Window]:  # fmt: skip
    """Batches of training windows, endless."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        starts = torch.randint(data.shape[1] - horizon, (BATCH,), generator=generator)
        chosen = torch.randint(len(data), (BATCH,), generator=generator)
        pairs = zip(chosen, starts, strict=True)
        frames = torch.stack([data[i, s : s + horizon + 1] for i, s in pairs])
        lead = problem.dt * torch.arange(1, horizon + 1).expand(BATCH, -1)
        yield Window(frames[:, :1], frames[:, 1:], lead, model.context)


def optimize(operator: Operator, losses: Iterator[Tensor], steps: int) -> None:
    """AdamW on whatever has a gradient, a cosine after a short warm-up."""
    trained = [p for p in operator.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, RATE)
    for step, loss in zip(range(steps), losses, strict=False):
        rate = RATE * min(1, (step + 1) / 20) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()


def forecasting(problem: Problem, model: Model, data: Tensor, name: str, seed: int) -> Operator:
    """An observer whose forecast is trained, and whose gain has the spectrum of the data."""
    operator = fresh(problem, model, data, "exponential", seed)
    normalizer = operator.description.normalizer
    batches = windows(problem, model, data, 4, seed)
    losses = (loss_of("vrmse", operator(w), w, normalizer) for w in batches)
    optimize(operator, losses, FORECAST[name])
    for name, parameter in operator.named_parameters():
        parameter.requires_grad_(is_gain(name))
    return operator


def gain_losses(
    operator: Operator, problem: Problem, model: Model, data: Tensor, truncate: int, seed: int
) -> Iterator[Tensor]:
    """The loss of the gain along batches of windows."""
    drawn = AssimilationConfig(warm_up=HORIZON // 2, truncate=truncate)
    objective = Assimilation(
        AssimilationObjectiveConfig(horizon=HORIZON, loss="vrmse", assimilation=drawn)
    )
    for step, window in enumerate(windows(problem, model, data, HORIZON, seed + 100)):
        yield objective.loss(operator, window, operator.description.normalizer, 10**6 * seed + step)


def seconds_of(operator: Operator, problem: Problem, model: Model, data: Tensor) -> list[float]:
    """CPU seconds of a step with every `truncate`: medians, in turns."""
    running = [gain_losses(copy.deepcopy(operator), problem, model, data, t, 0) for t in TRUNCATE]
    spent = []
    for _ in range(8):
        row = []
        for losses in running:
            start = time.process_time()
            next(losses).backward()
            row.append(time.process_time() - start)
        spent.append(row)
    return np.median(spent[1:], 0).tolist()


@torch.no_grad()
def errors(operator: Operator, problem: Problem, model: Model, test: Tensor, std: float
           ) -> list[float]:  # fmt: skip
    """Of the analyses after the warm-up, for every setting."""
    found = []
    for setting in SETTINGS:
        analyses = observer(operator, model.context, problem.dt, feed(test, std, setting, 0))
        found.append(float(np.mean(rmse(analyses, test, std)[WARM_UP:])))
    return found


def run(name: str, path: Path, seeds: int, budgets: list[int]) -> None:
    """Add a row per seed, budget and `truncate`."""
    problem = PROBLEMS[name]
    model = Model(problem)
    data, test = model.draw(*problem.train, seed=1), model.draw(8, TESTS + 1, seed=2)[:, 1:]
    std = data.std().item()
    known = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(row["case"], row["seed"], row["budget"], row["truncate"]) for row in known}
    for seed in range(seeds):
        left = [
            (budget, number)
            for budget in budgets
            for number, truncate in enumerate(TRUNCATE)
            if (name, seed, budget, truncate) not in done
        ]
        if not left:
            continue
        trained = forecasting(problem, model, data, name, seed)
        spent = seconds_of(trained, problem, model, data)
        before = errors(trained, problem, model, test, std)
        for budget, number in left:
            truncate, each = TRUNCATE[number], spent[number]
            steps, operator = round(budget * spent[0] / each), copy.deepcopy(trained)
            losses = gain_losses(operator, problem, model, data, truncate, seed)
            start = time.process_time()
            optimize(operator, losses, steps)
            row = {
                "case": name, "seed": seed, "budget": budget, "truncate": truncate, "steps": steps,
                "seconds": time.process_time() - start, "step": each, "before": before,
                "errors": errors(operator, problem, model, test, std),
            }  # fmt: skip
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


def table(path: Path) -> None:
    """Means over seeds and settings, with the spread over seeds, as Markdown."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    print("| | steps | " + " | ".join(f"truncate: {t}" for t in TRUNCATE) + " |")
    print("|---|---|" + "---|" * len(TRUNCATE))
    for case, budget in sorted({(row["case"], row["budget"]) for row in rows}):
        cells = []
        for truncate in TRUNCATE:
            wanted = (case, budget, truncate)
            found = [r for r in rows if (r["case"], r["budget"], r["truncate"]) == wanted]
            means = [np.mean(row["errors"]) for row in found]
            each = np.median([row["step"] for row in found])
            cells.append(f"{np.mean(means):.4f} ± {np.std(means):.4f} ({each:.2f} s)")
        print(f"| {case} | {budget} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=(*PROBLEMS, "table"))
    parser.add_argument("file", type=Path, help="of the rows, JSON lines")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, nargs="+", default=[300], help="of truncate: 0")
    given = parser.parse_args()
    if given.case == "table":
        table(given.file)
    else:
        run(given.case, given.file, given.seeds, given.steps)


if __name__ == "__main__":
    main()
