"""DyMixOp against neuralop's FNO and UNO, on reduced versions of the paper's seven sets.

    pip install 'pelagos[peers]'
    export OMP_NUM_THREADS=1
    python benchmarks/dymixop_tasks.py ks dymixop --seed 0  # one row
    python benchmarks/dymixop_tasks.py               # all that are missing

Every operator is trained by the same loop on the same windows in the same order: same optimizer
steps, batch, loss (relative MSE of the unrolled prediction), learning rate schedule and normaliser
(mean and standard deviation per field). Widths are set such that the numbers of parameters are
alike, modes per axis are the same. The peers get what DyMixOp gets: all history frames as
channels, and coordinates (neuralop's own grid embedding).

Scored is the relative L2 error of the unrolled prediction on the test split, a mean over
trajectories, fields and lead times. One JSON line per row, printed and kept in
runs/dymixop_tasks/results.jsonl; `--table` prints the table of what is there.

`--steps N` and `--normalizer window` (predict scaled increments) make rows of their own.
"""

import argparse
import json
import statistics
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from pelagos.datasets import open_store
from pelagos.datasets.base.config import build as build_config
from pelagos.datasets.simulation.simulate import simulate
from pelagos.finetune.forecast.evaluate import evaluate
from pelagos.operators.core import checkpoint, registry
from pelagos.operators.core.operator import Operator
from pelagos.pretrain.data import open_stores, training_data
from pelagos.pretrain.loop import train
from pelagos.pretrain.optimizer import build_optimizer
from pelagos.pretrain.recipe import TrainRecipe
from pelagos.pretrain.run import state as resume
from pelagos.pretrain.run.directory import Status, create_run, inspect_run
from pelagos.pretrain.start import create_operator

COUNTS = {"train": 64, "valid": 4, "test": 16}
DATA, RUNS = Path("data/dymixop_tasks"), Path("runs/dymixop_tasks")
OPERATORS = ("dymixop", "fno", "uno")


@dataclass(frozen=True)
class Task:
    """A set: how it is simulated, what is predicted, and the operators' sizes.

    `frames` given and predicted; `hidden` of each operator; `every` start frames one window.
    """

    equation: str
    simulation: dict
    modes: int
    hidden: dict[str, int]
    frames: int = 5
    layers: int = 4
    steps: int = 200
    batch: int = 4
    every: int = 1
    fields: tuple[str, ...] = ()


TASKS = {
    "ks": Task(
        "kuramoto_sivashinsky_1d",
        {"resolution": 128, "frames": 40, "dt": 1.0},
        modes=12,
        hidden={"dymixop": 32, "fno": 34, "uno": 32},
        every=5,
    ),
    "burgers": Task(
        "burgers_2d",
        {
            "resolution": 24,
            "frames": 20,
            "dt": 0.025,
            "subsample": 2,
            "parameters": {"viscosity": 0.005},
        },
        modes=6,
        hidden={"dymixop": 16, "fno": 16, "uno": 16},
    ),
    "navier_stokes": Task(
        "navier_stokes_forced_2d",
        {
            "resolution": 24,
            "frames": 20,
            "dt": 1.0,
            "subsample": 2,
            "parameters": {"viscosity": 1e-3},
        },
        modes=6,
        hidden={"dymixop": 16, "fno": 16, "uno": 16},
    ),
    "ce_crp": Task(
        "euler_curved_riemann_2d",
        {"resolution": 24, "frames": 21},
        modes=6,
        hidden={"dymixop": 16, "fno": 16, "uno": 16},
    ),
    "darcy": Task(
        "darcy_2d",
        {"resolution": 24},
        modes=6,
        hidden={"dymixop": 16, "fno": 16, "uno": 16},
        frames=1,
        steps=400,
    ),
    "brusselator": Task(
        "brusselator_response_3d",
        {"resolution": [20, 14, 14]},
        modes=4,
        hidden={"dymixop": 12, "fno": 11, "uno": 9},
        layers=2,
        frames=1,
        steps=300,
    ),
    "shallow_water": Task(
        "rotating_shallow_water_2d",
        {"resolution": [32, 16], "frames": 20},
        modes=6,
        hidden={"dymixop": 16, "fno": 16, "uno": 16},
        fields=("height", "vorticity"),
    ),
}

# ----------------------------------------------------------------------------- the peers


@dataclass(frozen=True)
class PeerConfig:
    """Sizes of a peer; `modes` per axis and sign, as DyMixOp counts them."""

    ndim: int
    history: int = 1
    hidden: int = 16
    layers: int = 4
    modes: int = 8


class Peer(Operator):
    """A network of neuralop behind our interface: frames as channels, one frame per step."""

    Config = PeerConfig

    def __init__(self, config, description):
        super().__init__(config, description)
        self.net = nn.Identity()

    @property
    def history(self):
        return self.config.history

    @property
    def ndim(self):
        return self.config.ndim

    def reset(self, generator):
        # neuralop draws its weights when it builds.
        with torch.random.fork_rng():
            torch.manual_seed(generator.initial_seed())
            self.net = self.build(
                self.config.history * len(self.description.channels), len(self.description.fields)
            )

    def step(self, state, dt, observation=None):
        self.check_step(state, dt, observation)
        scaling = self.scaling(state)
        output = self.net(scaling.encode(state.history).flatten(1, 2))
        fields = scaling.decode(output, state.history[:, -1])
        return state.advance(fields, dt), fields

    def build(self, inputs, outputs):
        raise NotImplementedError

    def state_dict(self, *args, **kwargs):
        # neuralop adds its constructor's arguments, which are no tensors.
        state = super().state_dict(*args, **kwargs)
        for key in [key for key, value in state.items() if not isinstance(value, torch.Tensor)]:
            del state[key]
        return state


class FNO(Peer):
    name = "fno"

    def build(self, inputs, outputs):
        from neuralop.models import FNO as Published

        c = self.config
        return Published((2 * c.modes,) * c.ndim, inputs, outputs, c.hidden, n_layers=c.layers)


class UNO(Peer):
    name = "uno"

    def build(self, inputs, outputs):
        from neuralop.models import UNO as Published

        c = self.config
        scales = [1.0] * c.layers
        scales[c.layers // 2 - 1], scales[-1] = 0.5, 2.0  # down in the first half, up at the end
        wide = [2 * c.modes] * c.ndim
        inner = [c.modes] * c.ndim
        return Published(
            inputs,
            outputs,
            c.hidden,
            lifting_channels=2 * c.hidden,
            projection_channels=2 * c.hidden,
            n_layers=c.layers,
            uno_out_channels=[c.hidden] * c.layers,
            uno_n_modes=[wide if i in (0, c.layers - 1) else inner for i in range(c.layers)],
            uno_scalings=[[s] * c.ndim for s in scales],
            channel_mlp_skip="linear",
        )


for peer in (FNO, UNO):
    registry.register(peer)

# ------------------------------------------------------------------------------- one row


def recipe_of(task, operator, seed, data, normalizer, steps):
    return build_config(
        TrainRecipe,
        {
            "data": [{"path": str(data), "every": task.every}],
            "operator": {
                "name": operator,
                "history": task.frames,
                "hidden": task.hidden[operator],
                "layers": task.layers,
                "modes": task.modes,
            },
            "fields": list(task.fields),
            "normalizer": {"name": normalizer},
            "objective": {"horizon": task.frames, "loss": "relative_mse"},
            "optimizer": {"learning_rate": 2e-3},
            "validation": {"every": 1000, "horizon": task.frames},
            "save_every": 1000,
            "steps": steps,
            "batch": task.batch,
            "micro_batch": task.batch,
            "seed": seed,
        },
    )


def trained(recipe, run):
    """The operator of `run`, which is made, continued or, if it is finished, only read."""
    status = inspect_run(run, recipe, resume=True)
    stores = open_stores(recipe)
    model = create_operator(recipe, stores)
    if status is Status.FINISHED:
        state = checkpoint.read_state(run / "checkpoint")
        checkpoint.load_state(model, state, str(run))
        return model
    if status is Status.NEW:
        create_run(run, recipe)
    return train(
        model,
        build_optimizer(model, recipe.optimizer),
        training_data(recipe, stores, model),
        recipe,
        run,
        Accelerator(cpu=True),
    )


def row(name, operator, seed, normalizer, steps):
    """Simulate, train and score; what is done already is not done again."""
    task = TASKS[name]
    data = simulate(task.equation, DATA, trajectories=COUNTS, name=name, **task.simulation)
    recipe = recipe_of(task, operator, seed, data, normalizer, steps)
    run = RUNS / f"{name}-{operator}-{seed}-{normalizer}-{steps}"
    model = trained(recipe, run)
    store = open_store(data, "test")
    summary = evaluate(model, store, steps=task.frames, batch=32)["summary"]
    return {
        "task": name,
        "operator": operator,
        "seed": seed,
        "normalizer": normalizer,
        "steps": steps,
        "parameters": sum(p.numel() * (1 + p.is_complex()) for p in model.parameters()),
        "seconds": round(resume.read_progress(resume.latest(run)).seconds, 1),  # of all attempts
        "error": summary["nrmse"],
        "persistence": summary["persistence"]["nrmse"],
    }


# ----------------------------------------------------------------------------- the table


def read(path):
    lines = path.read_text().splitlines() if path.exists() else []
    keys = ("task", "operator", "seed", "normalizer", "steps")
    return {tuple(r[key] for key in keys): r for r in map(json.loads, lines)}


def table(rows):
    lines = [
        "| set | seeds | persistence | " + " | ".join(OPERATORS) + " | parameters | seconds |",
        "|---|---|---|" + "---|" * (len(OPERATORS) + 2),
    ]
    for name in TASKS:
        found = {o: [r for k, r in rows.items() if k[:2] == (name, o)] for o in OPERATORS}
        if not any(found.values()):
            continue
        base = next(r["persistence"] for rs in found.values() for r in rs)
        seeds = "/".join(str(len(found[o])) for o in OPERATORS)
        errors = [spread([r["error"] for r in found[o]]) for o in OPERATORS]
        sizes = " / ".join(f"{found[o][0]['parameters'] / 1e3:.0f}k" for o in OPERATORS if found[o])
        times = " / ".join(
            f"{statistics.median(r['seconds'] for r in found[o]):.0f}"
            for o in OPERATORS
            if found[o]
        )
        cells = (name, seeds, f"{base:.3f}", *errors, sizes, times)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values):
    if len(values) < 2:
        return f"{values[0]:.3f}" if values else "–"
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", nargs="?", choices=TASKS)
    parser.add_argument("operator", nargs="?", choices=OPERATORS)
    parser.add_argument("--seed", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="optimizer steps (default: the set's)")
    parser.add_argument("--normalizer", choices=("statistics", "window"), default="statistics")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    arguments = parser.parse_args()
    results = RUNS / "results.jsonl"
    rows = read(results)
    wanted = [
        (task, operator, seed, arguments.normalizer, arguments.steps or TASKS[task].steps)
        for seed in arguments.seed
        for task in TASKS
        for operator in OPERATORS
        if arguments.task in (None, task) and arguments.operator in (None, operator)
    ]
    for key in [] if arguments.table else wanted:
        if key not in rows:
            rows[key] = row(*key)
            results.parent.mkdir(parents=True, exist_ok=True)
            line = json.dumps(rows[key])
            print(line, flush=True)
            with results.open("a") as file:
                file.write(f"{line}\n")
    print(table({key: row for key, row in rows.items() if key in wanted}))


if __name__ == "__main__":
    main()
