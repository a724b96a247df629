"""How much data do pretrained checkpoints save on PDEs that pretraining never saw?

First the data, and a checkpoint in 1D, 2D or 3D (the recipes mixture_1d, mixture_2d, mixture_3d):

    OMP_NUM_THREADS=1 python benchmarks/mixtures.py held_out

Then a row each; a row that was stopped goes on, and a finished one is only read:

    OMP_NUM_THREADS=1 python benchmarks/transfer_study.py --checkpoint runs/mixture_2d allen_cahn_2d
    OMP_NUM_THREADS=1 python benchmarks/transfer_study.py --checkpoint runs/mixture_1d --all 1d
    python benchmarks/transfer_study.py --table

Each row is a study in `runs/transfer_study/ROW`: the checkpoint fine-tuned against the same
operator from scratch (and neuraloperator's FNO with --peer), two budgets, three seeds with other
training trajectories each, learning rates chosen by validation, statistics of the training
trajectories alone. None of the rows is an equation of pretraining: there is a phase field and a
pattern-forming reaction on a finer grid, driven turbulence, a tracer in a flow, waves in layers
(with the speed as an input that pretraining did not have), rotating flow with fields of its own on
another grid, a shock that meets an interface, and a steady problem; in 1D solitons, a phase field
and another wave; in 3D a phase field.
"""

import argparse
import json
import statistics
from pathlib import Path

import yaml

from pelagos.finetune.study.command import study
from pelagos.finetune.study.result import headline, shown, warnings_of
from pelagos.finetune.study.scores import METRICS

# Frames that training looks ahead: as many choose rates and weights.
HORIZON = 5
STEADY = {
    "operator": {"history": 1},
    "normalizer": {"name": "statistics"},
    "objective": {"horizon": 1, "loss": "vrmse"},
    "validation": {"every": 50, "trajectories": 16, "horizon": 1},
}
# Time scale (the frame spacing, as in pretraining), and what differs from the shipped recipe.
ROWS = {
    "korteweg_de_vries_1d": (0.2, {}),
    "allen_cahn_1d": (0.25, {}),
    "sine_gordon_1d": (0.4, {}),
    "allen_cahn_2d": (0.5, {}),
    "gray_scott_2d": (100.0, {}),
    "kolmogorov_2d": (0.2, {}),
    "navier_stokes_tracer_2d": (0.05, {}),
    "wave_layers_2d": (0.015, {"conditions": ["wave_speed"]}),
    "rotating_shallow_water_2d": (2.0, {}),
    "richtmyer_meshkov_2d": (0.1, {}),
    "darcy_2d": (None, STEADY),
    "allen_cahn_3d": (0.25, {}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []])
    parser.add_argument("--all", choices=("1d", "2d", "3d"), help="all rows of this dimension")
    parser.add_argument("--checkpoint", help="a checkpoint or a run")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs/transfer_study"))
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, nargs="+", default=[250, 1000])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--tuned-at", type=int, nargs="*", default=[4, 32])
    rates = {"default": [1e-3, 3e-3, 1e-2], "help": "tried for every start"}
    parser.add_argument("--rates", type=float, nargs="+", **rates)
    parser.add_argument("--peer", action="store_true", help="neuraloperator's FNO, too")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    asked = parser.parse_args()
    rows = asked.rows + [row for row in ROWS if asked.all and row.endswith(asked.all)]
    if not asked.table and not (rows and asked.checkpoint):
        parser.error("name rows (or --all) and a --checkpoint, or ask for the --table")
    for row in [] if asked.table else rows:
        folder = asked.out / row
        study("study", folder, words(row, asked), workers=asked.workers, progress=True)
        print_row(row, folder)
    if asked.table:
        for row in ROWS:
            print_row(row, asked.out / row)
        print_summary(asked.out)


def words(row: str, asked: argparse.Namespace) -> list[str]:
    """The overrides of the recipe `study` by which a row is made."""
    scale, changes = ROWS[row]
    data = {"path": str(asked.data / row)} | ({"time_scale": scale} if scale else {})
    values = {
        "init_from": asked.checkpoint,
        "data": [data],
        **({"validation.horizon": HORIZON} if scale else {}),
        **changes,
        "batch": asked.batch,
        "micro_batch": asked.batch,
        "study.trajectories": asked.counts,
        "study.seeds": asked.seeds,
        "study.steps": asked.steps,
        "study.learning_rates": dict.fromkeys(("pretrained", "scratch", "peer"), asked.rates),
        "study.tuned_at": [count for count in asked.tuned_at if count in asked.counts],
        "study.peer": {"hidden": 32, "layers": 4, "modes": 12} if asked.peer else None,
    }
    text = {key: yaml.safe_dump(value, default_flow_style=True) for key, value in values.items()}
    return [word for key, value in text.items() for word in (f"--{key}", value.split("\n...")[0])]


def read(folder: Path) -> dict | None:
    path = folder / "study.json"
    return json.loads(path.read_text()) if path.is_file() else None


def print_row(row: str, folder: Path) -> None:
    """A line of the table for every budget and rival, and what makes it say little."""
    result = read(folder)
    if result is None:
        return
    for budget in result["budgets"]:
        for start in budget["gains"]:
            for metric in METRICS:
                found = headline(budget, start, metric)
                cells = [f"{shown(one)} at {one['trajectories']}" for one in found.values()]
                rest = "" if result["complete"] else " (not finished)"
                line = [row, f"{budget['steps']} steps", start, metric, *cells]
                print(f"| {' | '.join(line)} |{rest}")
    for line in warnings_of(result):
        print(f"  {row}: {line}")


def print_summary(out: Path) -> None:
    """Median EG and mean AG over the rows, by budget, rival and error; bounds count as they are."""
    gains: dict[tuple, dict[str, list[float]]] = {}
    for row in ROWS:
        result = read(out / row)
        for budget in result["budgets"] if result and result["complete"] else ():
            for start in budget["gains"]:
                for metric in METRICS:
                    at = gains.setdefault((budget["steps"], start, metric), {"EG": [], "AG": []})
                    for name, values in at.items():
                        value = headline(budget, start, metric)[name]["value"]
                        if value is not None:
                            values.append(value["number"])
    for (steps, start, metric), found in gains.items():
        if found["EG"] and found["AG"]:
            print(
                f"{steps} steps against {start}, {metric}: median EG "
                f"{statistics.median(found['EG']):.3g}, mean AG {statistics.mean(found['AG']):.3g} "
                f"over {len(found['EG'])} rows"
            )


if __name__ == "__main__":
    main()
