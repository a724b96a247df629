"""Objectives for long rollouts at an equal budget of one core: one command a row.

    OMP_NUM_THREADS=1 python benchmarks/long_rollouts.py ks dymixop pushforward --seed 0
    python benchmarks/long_rollouts.py --table

makes the data (once), measures what a step costs (once for all seeds), trains for as many steps as
fit into `--budget` seconds of processor time (what else runs on the machine does not count), rolls
1,000 steps out from every test trajectory, and appends a row to `OUT/rows.jsonl`. A row that is
there is not made again; one that was stopped goes on. `a+b` is objective a with the keys of b that
a does not have itself; b may also be other keys of a recipe (`DEVICES`). `--table` prints means ±
deviations over seeds:

- vrmse: mean over fields and ten times the training horizon, at most 10 for a frame;
- valid: time in which the forecast is valid (correlation of at least 0.8, or an NRMSE of at most
  0.1 where the flow does not decorrelate), in the equation's units, and as `lyapunov` in Lyapunov
  times; `typical` is its geometric mean, in these where there is one: the mean is that of the few
  flows that are hardly chaotic, which are predicted ten times as long as others;
- occupation, spectrum: where long rollouts live, against a truth that is as long; over what two
  halves of the true trajectories have between each other (1 is as good as another sample);
- steepest: largest |u_x| over that of the truth, a mean over ten times the training horizon: below
  1 where fronts are smeared; fronts: the mean distance of that ratio from 1, in which too steep
  ones do not make up for smeared ones;
- blown: trajectories that are not finite, or beyond ten times the root mean square of the truth,
  within 1,000 steps;
- steps, ms (processor time of a step), MiB (largest resident set of the training process).
"""

import argparse
import contextlib
import json
import math
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import yaml
from torch import Tensor

from pelagos.datasets import metrics, open_store
from pelagos.datasets.base.config import build
from pelagos.datasets.base.manifest import MANIFEST
from pelagos.datasets.fields import Window, collate
from pelagos.datasets.fields.dynamics import by_differences
from pelagos.datasets.metrics import largest_lyapunov
from pelagos.datasets.stores import Store
from pelagos.operators import Operator, from_pretrained
from pelagos.pretrain import TrainRecipe, pretrain
from pelagos.pretrain.objectives import reference_of
from pelagos.pretrain.objectives.jacobian import steepness

HORIZON = 5
STEPS = 1000
PILOTS = 10, 20, 120  # steps of short trainings: one to warm up, two whose difference is the cost


@dataclass(frozen=True)
class Task:
    """Data: a training set, and test trajectories of their own that are longer.

    Attributes:
        settings: of `pelagos data simulate`.
        frames: of a training trajectory, and of a test trajectory.
        counts: trajectories for training and for the test.
        valid: metric and threshold of the valid time.
        starts: frames of a test trajectory from which errors and valid times are taken.
        recurrent: whether there is an attractor to compare with.
        conserved: fields whose mean stays the same.
        conditions: parameters that differ between trajectories, and are told to the operator.
        batch: windows of an optimizer step.
        small: keys of the operators that cost less here.
    """

    equation: str
    settings: list[str]
    frames: tuple[int, int]
    counts: tuple[int, int] = (64, 16)
    valid: tuple[str, float] = ("correlation", 0.8)
    starts: int = 1
    recurrent: bool = True
    conserved: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    batch: int = 16
    small: dict[str, int] = field(default_factory=dict)


DECAYING = {"valid": ("nrmse", 0.1), "recurrent": False}
TASKS = {
    "burgers": Task(
        "burgers_1d",
        ["--resolution", "128", "--dt", "0.05"],
        (21, 61),
        **DECAYING,
        conserved=("u",),
        conditions=("viscosity",),
    ),
    "ks": Task(
        "kuramoto_sivashinsky_1d",
        ["--resolution", "64", "--dt", "1"],
        (61, 1001),
        starts=4,
        conserved=("u",),
    ),
    "navier_stokes": Task(
        "kolmogorov_2d",
        ["--resolution", "32", "--dt", "0.5"],
        (31, 201),
        counts=(32, 8),
        starts=3,
        conserved=("vorticity",),
        conditions=("viscosity",),
        batch=8,
        small={"hidden": 16, "modes": 10},
    ),
    "navier_stokes_64": Task(
        "kolmogorov_2d",
        ["--resolution", "64", "--dt", "0.5"],
        (31, 201),
        counts=(32, 8),
        starts=3,
        conserved=("vorticity",),
        conditions=("viscosity",),
        batch=8,
        small={"hidden": 16, "modes": 12},
    ),
    "euler": Task("euler_1d", ["--resolution", "128", "--dt", "0.005"], (26, 61), **DECAYING),
    "klein_gordon": Task(
        "klein_gordon_1d",
        ["--resolution", "128", "--dt", "0.2"],
        (41, 501),
        conditions=("mass_squared", "coupling"),
    ),
}
TASKS |= {  # where data are few
    "ks_few": replace(TASKS["ks"], counts=(2, 16)),
    "burgers_few": replace(TASKS["burgers"], counts=(4, 16)),
}
OPERATORS = {
    "dymixop": {"name": "dymixop", "history": 1, "hidden": 24, "layers": 3, "modes": 16},
    "multiscale": {"name": "multiscale", "width": 24, "depths": [2, 2], "heads": [3, 6]},
    "observer": {"name": "observer", "hidden": 24, "layers": 2, "modes": 16},
}
OPERATORS["multiscale"] |= {"skips": [1, 0], "window": 8}
UNROLLED = {"kind": "rollout", "horizon": HORIZON}
OBJECTIVES = {
    "one_step": {"kind": "rollout", "horizon": 1},
    "unrolled": UNROLLED,
    "cut": {**UNROLLED, "truncate": 1},
    # `every` is a share of the training: a frame more every tenth, or all four from there on.
    "curriculum": {**UNROLLED, "curriculum": {"every": 0.1}},
    "half": {**UNROLLED, "curriculum": {"every": 0.5, "growth": HORIZON - 1}},
    "late": {**UNROLLED, "curriculum": {"every": 0.8, "growth": HORIZON - 1}},
    "pushforward": {"kind": "pushforward", "calls": HORIZON - 1},
    "noise": {"kind": "rollout", "noise": 0.01},
    "gtf": {"kind": "forced", "horizon": HORIZON},
    "jacobian": {"kind": "rollout", "jacobian": {"weight": 0.001}},
    "jacobian_constant": {"kind": "rollout", "jacobian": {"weight": 0.001, "adaptive": False}},
    "diverted": {"kind": "diverted", "horizon": HORIZON},
    "residual": {"kind": "rollout", "residual": {"weight": 0.1}},
    "residual_heavy": {"kind": "rollout", "residual": {"weight": 1.0}},
    "leads": {**UNROLLED, "leads": {"learned": True}},
    # Twice as far, a frame more every tenth; all ten in the second half; gradients two frames back.
    "far": {"kind": "rollout", "horizon": 2 * HORIZON, "curriculum": {"every": 0.1}},
    "far_half": {
        "kind": "rollout",
        "horizon": 2 * HORIZON,
        "curriculum": {"every": 0.5, "growth": 2 * HORIZON - 1},
    },
    "far_cut": {
        "kind": "rollout",
        "horizon": 2 * HORIZON,
        "curriculum": {"every": 0.1},
        "truncate": 2,
    },
}

# Other keys of a recipe, which go with any objective. Parameters that vary are told (`conditions`),
# as in a recipe that Pelagos drafts; "blind" is without.
DEVICES: dict[str, dict] = {
    "fast": {"optimizer": {"learning_rate": 3e-3}},
    "brisk": {"optimizer": {"learning_rate": 5e-3, "betas": [0.9, 0.98]}},
    "faster": {"optimizer": {"learning_rate": 1e-2}},
    "averaged": {"average": {"decay": 0.98}, "publish": "average"},
    "small": {"batch": 4, "micro_batch": 4},
    "large": {"batch": 32, "micro_batch": 32},
    "tiny": {"batch": 2, "micro_batch": 2},
    "thin": {"objective": {"thin": [1, 2]}},
    "blind": {"conditions": []},
    "kept": {"conserved": "the task's"},
}
FREE = ("fast", "brisk", "faster", "averaged", "blind", "kept")  # of which a step takes as long
NAMES = ", ".join((*OBJECTIVES, *DEVICES))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", nargs="?", choices=TASKS)
    parser.add_argument("operator", nargs="?", choices=OPERATORS)
    parser.add_argument("objective", nargs="?", help=f"{NAMES}, or some with +")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=float, default=20.0, help="processor seconds")
    parser.add_argument("--bounded", type=float, help="score the same weights within a bound")
    parser.add_argument("--out", type=Path, default=Path("runs/long_rollouts"))
    parser.add_argument("--table", action="store_true", help="print the rows so far")
    asked = parser.parse_args()
    if asked.table:
        table(rows_of(asked.out))
        return
    if asked.objective is None or not {*asked.objective.split("+")} <= {*OBJECTIVES, *DEVICES}:
        parser.error(f"name a task, an operator and an objective ({NAMES})")
    names = ("task", "operator", "objective", "seed", "budget", "bounded")
    key = {k: getattr(asked, k) for k in names}
    if any(key.items() <= {"bounded": None, **row}.items() for row in rows_of(asked.out)):
        return
    row = {**key, **made(asked)}
    with (asked.out / "rows.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row))


def made(asked: argparse.Namespace) -> dict:
    """Train and score one row."""
    task = TASKS[asked.task]
    data, truth = (asked.out / part / asked.task for part in ("data", "truth"))
    simulate(task, data, [*("--train", str(task.counts[0])), "--valid", "4", "--test", "0"], 0)
    simulate(task, truth, ["--train", "1", "--valid", "0", "--test", str(task.counts[1])], 1)
    each = cost(asked, data)
    run = asked.out / f"{asked.task}-{asked.operator}-{asked.objective}-{asked.seed}"
    run = run.with_name(f"{run.name}-{asked.budget:g}")
    steps = max(50, round(asked.budget / each) // 10 * 10)
    seconds = train(asked, data, run, steps)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    about = {"steps": steps, "ms": 1000 * each, "seconds": seconds, "mib": round(memory)}
    return {**about, **score(task, run, truth, asked.bounded)}


def simulate(task: Task, folder: Path, counts: list[str], seed: int) -> None:
    """Make a dataset, in a process whose memory is not counted."""
    if (folder / MANIFEST).exists():
        return
    command = ["pelagos", "data", "simulate", task.equation, "--out", str(folder.parent)]
    settings = ["--name", folder.name, "--frames", str(task.frames[seed]), "--seed", str(seed)]
    subprocess.run([*command, *settings, *counts, *task.settings], check=True, stdout=sys.stderr)


def cost(asked: argparse.Namespace, data: Path) -> float:
    """Processor seconds of an optimizer step, measured once for all seeds."""
    path = asked.out / "costs.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    dear = "+".join(part for part in asked.objective.split("+") if part not in FREE)
    name = f"{asked.task}-{asked.operator}-{dear}"
    if name not in known:
        runs = [(asked.out / "pilots" / f"{name}-{k}", n) for k, n in enumerate(PILOTS)]
        _, short, long = (train(asked, data, run, n) for run, n in runs)
        assert long > short, f"no cost to be had of {PILOTS} steps: {short:.2g} s and {long:.2g} s"
        known[name] = (long - short) / (PILOTS[2] - PILOTS[1])
        path.write_text(json.dumps(known, indent=1))
    return known[name]


def objective(name: str, steps: int) -> dict:
    """The keys of an objective, or of several, of which the first ones count."""
    merged: dict = {}
    for part in name.split("+"):
        own = OBJECTIVES[part] if part in OBJECTIVES else DEVICES[part].get("objective", {})
        merged = {**own, **merged}
    if "curriculum" in merged:
        growing = merged["curriculum"]
        merged["curriculum"] = {**growing, "every": max(1, round(steps * growing["every"]))}
    return merged


def train(asked: argparse.Namespace, data: Path, run: Path, steps: int) -> float:
    """Train, or go on; processor seconds of this."""
    task, operator = TASKS[asked.task], OPERATORS[asked.operator]
    operator = operator | {k: v for k, v in task.small.items() if k in operator}
    recipe = {
        "data": [{"path": str(data), "cache": "memory"}],
        "operator": operator,
        "normalizer": {"name": "statistics"},
        "objective": objective(asked.objective, steps),
        "steps": steps,
        "batch": task.batch,
        "micro_batch": task.batch,
        "seed": asked.seed,
        "save_every": steps if steps < 200 else 10 * (steps // 100),  # pilots: at the end
        "validation": {"every": steps, "horizon": HORIZON},
        "conditions": list(task.conditions),
    }
    for part in asked.objective.split("+"):
        recipe |= {k: v for k, v in DEVICES.get(part, {}).items() if k != "objective"}
    if "conserved" in recipe:
        recipe["conserved"] = list(task.conserved)
    run.parent.mkdir(parents=True, exist_ok=True)
    run.with_suffix(".yaml").write_text(yaml.safe_dump(recipe))
    begun = time.process_time()
    with contextlib.redirect_stdout(sys.stderr):
        pretrain(build(TrainRecipe, recipe), run, resume=True)
    return time.process_time() - begun


@torch.no_grad()
def score(task: Task, run: Path, truth: Path, bounded: float | None) -> dict:
    """What 1,000 steps from the start of every test trajectory are worth, and fewer from more."""
    store, operator = open_store(truth, "test"), from_pretrained(run / "checkpoint").eval()
    operator.description = replace(operator.description, bounded=bounded)
    known = store.n_frames(0) - operator.history
    window = started(store, operator.history, 1)
    limit = 10 * window.target.square().flatten(1).mean(1).sqrt()
    frames, sound = [], torch.ones(len(store), dtype=torch.bool)
    begun = time.process_time()
    for frame in operator.rollout(window.history, window.context, dt=store.dt, steps=STEPS):
        size = frame.flatten(1).square().mean(1).sqrt()
        sound &= size.isfinite() & (size <= limit)
        if len(frames) < known:
            frames.append(frame)
        elif not sound.any():
            break
    spent = {"rollout_ms": 1000 * (time.process_time() - begun) / STEPS}
    guess, blown = torch.stack(frames, 1), 1 - sound.double().mean().item()
    found = {
        **spent,
        "blown": blown,
        **short(operator, started(store, operator.history, task.starts), task),
    }
    if task.recurrent:
        kept = guess[sound]
        found |= attractor(window.target, kept) if len(kept) else {}
        found["lyapunov_time"] = lyapunov_time(truth, store, window)
    return found


def lyapunov_time(truth: Path, store: Store, window: Window) -> float | None:
    """The equation's, or 1 / the largest exponent of the solver, measured once; None if tiny."""
    if "lyapunov_time" in store.provenance:
        return store.provenance["lyapunov_time"]
    path, steps = truth.with_suffix(".lyapunov.json"), 200
    if not path.exists():
        reference, start = reference_of(store), window.history[:, -1].double()
        generator = torch.Generator().manual_seed(0)
        tangent = torch.randn(start.shape, dtype=torch.float64, generator=generator)

        def step(states: Tensor) -> Tensor:
            count = len(states) // len(start)
            context = window.context.map(lambda x: x.repeat(count, *(1,) * (x.ndim - 1)))
            return reference.after(states, context, store.dt)[0]

        advance = by_differences(step)
        rate = largest_lyapunov(advance, start, tangent, store.dt, steps, steps // 4).mean().item()
        path.write_text(json.dumps(1 / rate if rate > 1 / (steps * store.dt) else None))
    return json.loads(path.read_text())


def started(store: Store, history: int, starts: int) -> Window:
    """Windows from so many frames of every trajectory on, all as long as they can be."""
    apart = store.n_frames(0) // starts
    known = store.n_frames(0) - (starts - 1) * apart - history
    return collate(
        [
            store.window(i, k * apart, history, known)
            for i in range(len(store))
            for k in range(starts)
        ]
    )


def short(operator: Operator, window: Window, task: Task) -> dict:
    """Errors over ten times the training horizon, the valid time, and fronts."""
    ndim, reach = window.grid.ndim, 10 * HORIZON
    truth, (metric, threshold) = window.target, task.valid
    guess = operator(window)
    times = metrics.valid_time(guess, truth, window.lead_times[0], ndim, threshold, metric)
    guess, truth = guess[:, :reach], truth[:, :reach]
    errors = metrics.vrmse(guess, truth, ndim).nan_to_num(10.0).clamp_max(10.0)
    slopes = [
        steepness(frames.flatten(0, 1), window.grid).flatten(2).amax(2) for frames in (guess, truth)
    ]
    ratio = (slopes[0] / slopes[1]).nan_to_num(10.0).clamp_max(10.0)
    by_time = errors.mean((0, 2)).tolist()
    return {
        "vrmse": errors.mean().item(),
        "vrmse_after": {k: by_time[k - 1] for k in (1, HORIZON, 2 * HORIZON, reach)},
        "valid": times.mean().item(),
        "typical": times.clamp_min(window.lead_times.min()).log().mean().exp().item(),
        "steepest": ratio.mean().item(),
        "fronts": (ratio - 1).abs().mean().item(),
    }


def attractor(truth: Tensor, guess: Tensor) -> dict:
    """Divergences of states and of spectra in time over those of two halves of the truth."""
    scale = truth.std((0, 1, *range(3, truth.ndim)), correction=0)
    truth, guess = (x / scale.reshape(-1, *(1,) * (truth.ndim - 3)) for x in (truth, guess))
    frames = truth.flatten(0, 1)
    modes = metrics.orthogonal_modes(frames[:: math.ceil(len(frames) / 2000)], 10)
    true, ours = modes.coefficients(truth), modes.coefficients(guess)
    half = len(true) // 2
    compared = {"": (true, ours), "_floor": (true[:half], true[half:])}
    found = {}
    for name, (one, two) in compared.items():
        states = (x[..., :2].flatten(0, 1) for x in (one, two))
        found[f"occupation{name}"] = metrics.occupation_divergence(*states).item()
        found[f"spectrum{name}"] = metrics.spectral_distance(one, two).item()
    return found


def rows_of(out: Path) -> list[dict]:
    """The rows so far."""
    path = out / "rows.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(rows: list[dict]) -> None:
    """Print means over seeds."""
    columns = (
        "vrmse",
        "valid",
        "lyapunov",
        "typical",
        "occupation",
        "spectrum",
        "steepest",
        "fronts",
    )
    columns = (*columns, "blown", "steps", "ms", "mib")
    print("| task | operator | objective | budget | seeds | " + " | ".join(columns) + " |")
    print("|---" * (5 + len(columns)) + "|")
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        bound = f", bounded {row['bounded']:g}" if row.get("bounded") else ""
        key = (row["task"], row["operator"], row["objective"] + bound, row["budget"])
        groups.setdefault(key, []).append(row)
    for key, found in sorted(groups.items()):
        cells = [spread([value_of(row, name) for row in found]) for name in columns]
        print(f"| {' | '.join(key[:3])} | {key[3]:g} | {len(found)} | {' | '.join(cells)} |")


def value_of(row: dict, column: str) -> float | None:
    """A cell of one row; None where there is none."""
    if column in ("lyapunov", "typical") and row.get("lyapunov_time"):
        return row["valid" if column == "lyapunov" else column] / row["lyapunov_time"]
    if column == "lyapunov":
        return None
    if column in ("occupation", "spectrum"):
        return row[column] / row[f"{column}_floor"] if column in row else None
    return row.get(column)


def spread(values: list[float | None]) -> str:
    """Mean ± deviation over the rows that have a value."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    mean = f"{statistics.mean(known):.3g}"
    return mean if len(known) == 1 else f"{mean} ± {statistics.stdev(known):.2g}"


if __name__ == "__main__":
    main()
