"""One set of weights on other grids: errors at 1/2, 1, 2 and 4 times the training resolution.

    pip install 'pelagos[peers]'
    OMP_NUM_THREADS=1 python benchmarks/resolutions.py darcy dymixop --seed 0  # one row
    python benchmarks/resolutions.py --table

The data are simulated once, at four times the training resolution; every coarser set is every k-th
point of the same solutions. All operators see the same windows in the same order for as many
optimizer steps. `native` rows are trained at twice the resolution, for comparison, and `thinned`
ones there too, on every second point in half of their micro-batches.

Scored is the relative L2 error of the rollout on the test split (of the solution, where the problem
is steady), a mean over trajectories, fields and lead times. One JSON line a row in
runs/resolutions/rows.jsonl; a row that is there is not made again.
"""

import argparse
import json
import statistics
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pelagos.datasets import WellData, open_store, write_file, write_stats
from pelagos.datasets.base.config import build
from pelagos.datasets.simulation.simulate import simulate
from pelagos.finetune.forecast.evaluate import evaluate
from pelagos.finetune.study.peer import register
from pelagos.operators import from_pretrained
from pelagos.pretrain import TrainRecipe, pretrain

FACTORS = (0.5, 1, 2, 4)  # times the training resolution
COUNTS = {"train": 128, "valid": 4, "test": 16}


@dataclass(frozen=True)
class Task:
    """Data, and how long and how far they are learned; `conditions` are told to all operators."""

    equation: str
    points: int
    modes: int
    simulation: dict = field(default_factory=dict)
    horizon: int = 1
    steps: int = 400
    frames: int = 1
    patch: int = 4
    conditions: tuple[str, ...] = ()


TASKS = {
    "darcy": Task("darcy_2d", 24, 6),
    "burgers": Task(
        "burgers_1d",
        64,
        12,
        {"frames": 21, "dt": 0.05},
        horizon=5,
        steps=500,
        frames=20,
        conditions=("viscosity",),
    ),
    "ks": Task(
        "kuramoto_sivashinsky_1d",
        64,
        16,
        {"frames": 21, "dt": 0.5, "lengths": 32.0},
        horizon=5,
        steps=500,
        frames=20,
    ),
    "navier_stokes": Task(
        "navier_stokes_forced_2d",
        24,
        6,
        {"frames": 11, "dt": 0.2},
        horizon=2,
        frames=10,
        conditions=("viscosity",),
    ),
}
OPTIMIZER = {"learning_rate": 5e-3, "betas": [0.9, 0.98]}
DYMIXOP = {"name": "dymixop", "hidden": 24, "layers": 4}
MULTISCALE = {
    "name": "multiscale",
    "width": 24,
    "depths": [2, 2],
    "heads": [3, 6],
    "skips": [1, 0],
    "window": 4,
}
ROWS = {  # operator, and the factor of the data that it is trained on
    "fno": ({"name": "fno", "hidden": 24, "layers": 4}, 1),
    "dymixop": (DYMIXOP, 1),
    "dymixop points": ({**DYMIXOP, "kernels": "points"}, 1),
    "dymixop unscaled": ({**DYMIXOP, "resolution": []}, 1),
    "dymixop thinned": (DYMIXOP, 2),
    "dymixop native": (DYMIXOP, 2),
    "multiscale": (MULTISCALE, 1),
    "multiscale as it is": ({**MULTISCALE, "resolution": []}, 1),
    "multiscale native": (MULTISCALE, 2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", nargs="?", choices=TASKS)
    parser.add_argument("row", nargs="?", choices=ROWS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/resolutions"))
    parser.add_argument("--table", action="store_true", help="print the rows so far")
    asked = parser.parse_args()
    rows = rows_of(asked.out)
    if asked.table:
        table(rows)
        return
    if asked.row is None:
        parser.error("name a task and a row, or ask for the --table")
    register()
    key = {"task": asked.task, "row": asked.row, "seed": asked.seed}
    if any(key.items() <= row.items() for row in rows):
        return
    row = {**key, "errors": errors(asked)}
    with (asked.out / "rows.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row))


def errors(asked: argparse.Namespace) -> list[float | None]:
    """Train one row, and score it at every resolution; None where it refuses one."""
    task, (operator, factor) = TASKS[asked.task], ROWS[asked.row]
    paths = {f: data(asked.task, task, f, asked.out / "data") for f in FACTORS}
    operator = dict(operator)
    operator |= {"patch": task.patch} if operator["name"] == "multiscale" else {"modes": task.modes}
    objective = {"horizon": task.horizon, "loss": "relative_l2"}
    thin = {"thin": [1, 2]} if asked.row.endswith("thinned") else {}
    recipe = build(
        TrainRecipe,
        {
            "data": [{"path": str(paths[factor]), "cache": "memory"}],
            "operator": operator,
            "conditions": list(task.conditions),
            "normalizer": {"name": "statistics"},
            "objective": {**objective, **thin},
            "optimizer": OPTIMIZER,
            "validation": {"every": 10_000, "horizon": task.horizon},
            "save_every": 100,
            "steps": task.steps,
            "batch": 8,
            "micro_batch": 8,
            "seed": asked.seed,
        },
    )
    run = asked.out / f"{asked.task}-{asked.row.replace(' ', '_')}-{asked.seed}"
    pretrain(recipe, run, resume=True)
    model, found = from_pretrained(run / "checkpoint"), []
    for path in paths.values():
        store = open_store(path, "test")
        try:
            scores = evaluate(model, store, steps=task.frames, batch=16)["summary"]
            found.append(scores["nrmse"])
        except ValueError as error:
            print(f"{asked.row} on {path}: {error}")
            found.append(None)
    return found


def data(name: str, task: Task, factor: float, folder: Path) -> Path:
    """A dataset at `factor` times the training resolution: points of the finest one."""
    finest, own = folder / "finest" / name, folder / f"{factor:g}" / name
    settings = dict(task.simulation)
    simulate(
        task.equation,
        finest.parent,
        trajectories=COUNTS,
        name=name,
        resolution=task.points * FACTORS[-1],
        **settings,
    )
    every = round(FACTORS[-1] / factor)
    if not own.exists():
        for split in COUNTS:
            coarse(finest, own, split, every)
        write_stats(own)
    return own


def coarse(source: Path, target: Path, split: str, every: int) -> None:
    """Write every `every`-th point of a split."""
    store = open_store(source, split)
    grid = store.grid
    keep = (..., *(slice(None, None, every),) * grid.ndim)
    windows = [store.window(i, 0, 1, 0) for i in range(len(store))]
    frames = np.stack([store.trajectory(i).numpy()[keep] for i in range(len(store))])
    shape = tuple(n // every for n in grid.shape)
    constants = {}
    if windows[0].constants is not None:
        values = np.stack([window.constants.numpy()[keep] for window in windows])
        constants = {name: values[:, k] for k, name in enumerate(store.constant_fields)}
    parameters = {}
    if windows[0].parameters is not None:
        values = np.stack([window.parameters.numpy() for window in windows])
        parameters = {name: values[:, k] for k, name in enumerate(store.parameter_names)}
    write_file(
        target / "data" / split / "part.hdf5",
        WellData(
            target.name,
            replace(grid, shape=shape),
            np.arange(frames.shape[1]) * (store.dt or 1.0),
            {name: frames[:, :, c] for c, name in enumerate(store.fields)},
            constants,
            parameters,
        ),
    )


def rows_of(out: Path) -> list[dict]:
    """The rows so far."""
    path = out / "rows.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(rows: list[dict]) -> None:
    """Print means over seeds."""
    print("| task | row | seeds | " + " | ".join(f"{f:g}×" for f in FACTORS) + " |")
    print("|---" * (3 + len(FACTORS)) + "|")
    for task in TASKS:
        for name in ROWS:
            found = [row["errors"] for row in rows if (row["task"], row["row"]) == (task, name)]
            if found:
                cells = [spread(values) for values in zip(*found, strict=True)]
                print(f"| {task} | {name} | {len(found)} | {' | '.join(cells)} |")


def spread(values: tuple) -> str:
    """Mean ± deviation."""
    if None in values:
        return "refused"
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


if __name__ == "__main__":
    main()
