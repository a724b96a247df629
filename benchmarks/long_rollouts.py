"""Objectives for long rollouts at an equal budget of one core: one command a row.

    OMP_NUM_THREADS=1 python benchmarks/long_rollouts.py burgers_1d dymixop pushforward --seed 0

makes the data (once), measures what a step costs, trains for as many steps as fit into `--budget`
seconds of processor time (what else runs on the machine does not count), rolls out ten times the
training horizon from every test trajectory, and appends a row to `OUT/rows.jsonl`. A row that is
there is not made again; one that was stopped goes on. `--table` prints all rows so far: mean ±
deviation over seeds.

Blow-ups: the share of test trajectories whose rollout is not finite, or ends beyond ten times the
root mean square of the truth. Memory: the largest resident set of the training process.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import torch
import yaml

from pelagos.datasets import open_store
from pelagos.datasets.metrics import vrmse
from pelagos.operators import from_pretrained

HORIZON = 5
PILOTS = 10, 60  # steps of two short trainings, whose difference is what a step costs
EQUATIONS = {  # settings of `pelagos data simulate`
    "burgers_1d": ["--resolution", "128", "--frames", "61", "--dt", "0.02"],
    "kuramoto_sivashinsky_1d": ["--resolution", "128", "--frames", "81", "--dt", "0.5"],
    "navier_stokes_forced_2d": ["--resolution", "64", "--frames", "61", "--dt", "0.5"],
    "euler_1d": ["--resolution", "128", "--frames", "61"],
    "klein_gordon_1d": ["--resolution", "128", "--frames", "61"],
}
OPERATORS = {
    "dymixop": {"name": "dymixop", "history": 1, "hidden": 32, "layers": 4, "modes": 16},
    "multiscale": {"name": "multiscale", "width": 32},
    "observer": {"name": "observer", "hidden": 32, "layers": 2, "modes": 16},
}
UNROLLED = {"kind": "rollout", "horizon": HORIZON}
OBJECTIVES = {
    "one_step": {"kind": "rollout", "horizon": 1},
    "unrolled": UNROLLED,
    "cut": {**UNROLLED, "truncate": 1},
    "curriculum": {**UNROLLED, "curriculum": {"every": 200}},
    "pushforward": {"kind": "pushforward", "calls": HORIZON - 1},
    "noise": {"kind": "rollout", "noise": 0.01},
    "gtf": {"kind": "forced", "horizon": HORIZON},
    "jacobian": {"kind": "rollout", "jacobian": {"weight": 0.001}},
    "jacobian_constant": {"kind": "rollout", "jacobian": {"weight": 0.001, "adaptive": False}},
    "diverted": {"kind": "diverted", "horizon": HORIZON},
    "leads": {**UNROLLED, "leads": {"learned": True}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("equation", nargs="?", choices=EQUATIONS)
    parser.add_argument("operator", nargs="?", choices=OPERATORS)
    parser.add_argument("objective", nargs="?", choices=OBJECTIVES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=float, default=600.0, help="processor seconds")
    parser.add_argument("--out", type=Path, default=Path("runs/long_rollouts"))
    parser.add_argument("--table", action="store_true", help="print the rows so far")
    asked = parser.parse_args()
    if asked.table:
        table(rows_of(asked.out))
        return
    if asked.objective is None:
        parser.error("name an equation, an operator and an objective, or ask for the --table")
    key = {k: getattr(asked, k) for k in ("equation", "operator", "objective", "seed", "budget")}
    if any(key.items() <= row.items() for row in rows_of(asked.out)):
        return
    row = {**key, **made(asked)}
    with (asked.out / "rows.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row))


def made(asked: argparse.Namespace) -> dict:
    """Train and score one row."""
    data = asked.out / "data" / asked.equation
    counts = ["--train", "64", "--valid", "8", "--test", "16"]
    settings = [*counts, *EQUATIONS[asked.equation]]
    call("pelagos", "data", "simulate", asked.equation, "--out", str(data.parent), *settings)
    name = f"{asked.equation}-{asked.operator}-{asked.objective}-{asked.seed}"
    pilot = asked.out / "pilot"
    short, long = (train(asked, data, pilot / f"{name}-{n}", n)["seconds"] for n in PILOTS)
    each = max(1e-3, (long - short) / (PILOTS[1] - PILOTS[0]))
    steps = max(50, round(asked.budget / each) // 10 * 10)
    run = asked.out / f"{name}-{asked.budget:g}"
    kept = run / "recipe.yaml"
    if kept.exists():  # it goes on with the steps that it was begun with
        steps = yaml.safe_load(kept.read_text())["steps"]
    cost = train(asked, data, run, steps)
    return {"steps": steps, **cost, **score(run, data)}


def train(asked: argparse.Namespace, data: Path, run: Path, steps: int) -> dict:
    """Train, or go on; processor seconds of this and memory."""
    recipe = {
        "data": [{"path": str(data), "cache": "memory"}],
        "operator": OPERATORS[asked.operator],
        "normalizer": {"name": "statistics"},
        "objective": OBJECTIVES[asked.objective],
        "steps": steps,
        "batch": 16,
        "seed": asked.seed,
        "save_every": 10 * max(1, steps // 50),
        "validation": {"every": 10 * max(1, steps // 10), "horizon": 10 * HORIZON},
    }
    run.parent.mkdir(parents=True, exist_ok=True)
    path = run.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(recipe))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    call(sys.executable, "-m", "pelagos.pretrain", str(path), str(run), "--resume", "auto")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(seconds, 1), "mebibytes": round(after.ru_maxrss / 1024)}


@torch.no_grad()
def score(run: Path, data: Path) -> dict:
    """Errors of rollouts over ten times the horizon."""
    store, operator = open_store(data, "test"), from_pretrained(run / "checkpoint").eval()
    steps = min(10 * HORIZON, store.n_frames(0) - operator.history)
    errors, valid, blown = [], [], 0
    for i in range(len(store)):
        window = store.window(i, 0, operator.history, steps)
        frames = operator.rollout(window.history, window.context, dt=store.dt, steps=steps)
        guess, truth = torch.stack([*frames]), window.target
        size = guess[-1].square().mean().sqrt()
        bad = not guess.isfinite().all() or size > 10 * truth.square().mean().sqrt()
        blown += int(bad)
        error = vrmse(guess, truth, window.grid.ndim).mean(1).nan_to_num(10.0).clamp_max(10.0)
        errors.append(error.mean().item())
        wrong = (error > 0.5).nonzero()
        first = int(wrong[0]) if len(wrong) else steps
        valid.append(first * store.dt)
    return {
        "vrmse": statistics.mean(errors),
        "valid_time": statistics.mean(valid),
        "blown": blown / len(store),
        "lyapunov_time": store.provenance.get("lyapunov_time"),
    }


def rows_of(out: Path) -> list[dict]:
    """The rows so far."""
    path = out / "rows.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(rows: list[dict]) -> None:
    """Print means over seeds."""
    columns = ("vrmse", "valid_time", "blown", "steps", "seconds", "mebibytes")
    print("| equation | operator | objective | seeds | " + " | ".join(columns) + " |")
    print("|---" * (4 + len(columns)) + "|")
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        key = (row["equation"], row["operator"], row["objective"], row["budget"])
        groups.setdefault(key, []).append(row)
    for key, found in sorted(groups.items()):
        cells = [spread([row[name] for row in found]) for name in columns]
        print(f"| {' | '.join(key[:3])} | {len(found)} | {' | '.join(cells)} |")


def spread(values: list[float]) -> str:
    """Mean ± deviation."""
    if len(values) == 1:
        return f"{values[0]:.3g}"
    return f"{statistics.mean(values):.3g} ± {statistics.stdev(values):.2g}"


def call(*arguments: str) -> None:
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
