"""Does all2all training help? All pairs of frames against one-step pairs, at equal budget.

    OMP_NUM_THREADS=1 python benchmarks/all2all.py --seeds 0 1 2

A small multiscale transformer learns two-dimensional flow from a few trajectories of eight frames,
from all their ordered pairs or from neighbouring frames only: the same operator, initial weights,
optimizer, steps and batch. On the test split it then predicts every later frame from the first one,
directly (the lead time is an input) and autoregressively (one frame at a time), with persistence
beside it. Prints the VRMSE, mean over trajectories and fields, and its spread over seeds.
"""

import argparse
import statistics
import subprocess
import sys
import warnings
from pathlib import Path

import torch
import yaml

from pelagos.datasets import metrics, open_store
from pelagos.datasets.simulate import simulate
from pelagos.operators import Operator, from_pretrained

EQUATION, FRAMES, RESOLUTION = "navier_stokes_sines_2d", 8, 32
LEADS = (1, 2, 4, 7)
OBJECTIVES = {
    "all2all": {"kind": "all2all", "horizon": FRAMES - 1},
    "one step": {"kind": "rollout", "horizon": 1},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--trajectories", type=int, default=64, help="for training")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path("runs/all2all"))
    options = parser.parse_args()
    torch.manual_seed(0)
    data = simulate(
        EQUATION,
        options.out / "data",
        trajectories={"train": options.trajectories, "valid": 4, "test": 32},
        resolution=RESOLUTION,
        frames=FRAMES,
    )
    store = open_store(data, "test")
    frames = torch.stack([store.trajectory(i) for i in range(len(store))])
    scores: dict[tuple[str, str], list[list[float]]] = {}
    for name, objective in OBJECTIVES.items():
        for seed in options.seeds:
            operator = train(name, objective, seed, data, options)
            for mode, predict in (("direct", direct), ("autoregressive", autoregressive)):
                found = vrmse(predict(operator, frames, store), frames)
                scores.setdefault((name, mode), []).append(found)
    still = frames[:, :1].expand(-1, FRAMES - 1, *frames.shape[2:])
    print("| trained on | predicts | " + " | ".join(f"after {k}" for k in LEADS) + " |")
    print("|---|---|" + "---|" * len(LEADS))
    for (name, mode), found in scores.items():
        cells = [spread([row[k - 1] for row in found]) for k in LEADS]
        print(f"| {name} | {mode} | {' | '.join(cells)} |")
    print(
        "| persistence | | "
        + " | ".join(f"{vrmse(still, frames)[k - 1]:.3f}" for k in LEADS)
        + " |"
    )


def train(
    name: str, objective: dict, seed: int, data: Path, options: argparse.Namespace
) -> Operator:
    """The operator after training by this objective (unless it was trained before)."""
    store = open_store(data, "train")
    recipe = {
        "data": [{"path": str(data)}],
        "operator": {
            "name": "multiscale",
            "width": 24,
            "depths": [2, 2],
            "heads": [3, 6],
            "skips": [1, 0],
            "patch": 2,
            "window": 8,
            "periodic": True,
            "learn_residual": False,
        },
        "normalizer": {"name": "statistics"},
        "time_scale": float(store.dt) * (FRAMES - 1),
        "objective": {**objective, "loss": "grouped_relative_l1"},
        "optimizer": {"learning_rate": 2e-3, "warmup": 0.1, "weight_decay": 1e-4, "clip": 5.0},
        "steps": options.steps,
        "batch": 16,
        "micro_batch": 16,
        "seed": seed,
        "log_every": options.steps,
        "save_every": options.steps,
        "validation": {"every": options.steps, "trajectories": 4, "horizon": FRAMES - 1},
    }
    run = options.out / f"{name.replace(' ', '-')}-{seed}"
    path = options.out / f"{run.name}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    command = [sys.executable, "-m", "pelagos.pretrain", str(path), str(run), "--resume", "auto"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return from_pretrained(run / "checkpoint").eval()


@torch.inference_mode()
def direct(operator: Operator, frames: torch.Tensor, store) -> torch.Tensor:
    """Every later frame straight from the first."""
    state = operator.init(frames[:, :1], store.window(0).context)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one-step training has seen the first lead time only
        leads = [torch.full((len(frames),), k * store.dt) for k in range(1, FRAMES)]
        return torch.stack([operator.step(state, dt)[1] for dt in leads], 1)


@torch.inference_mode()
def autoregressive(operator: Operator, frames: torch.Tensor, store) -> torch.Tensor:
    """One frame at a time, from the first."""
    context = store.window(0).context
    steps = operator.rollout(frames[:, :1], context, dt=store.dt, steps=FRAMES - 1)
    return torch.stack(list(steps), 1)


def vrmse(prediction: torch.Tensor, frames: torch.Tensor) -> list[float]:
    """Mean over trajectories and fields, per lead time."""
    return metrics.vrmse(prediction, frames[:, 1:], 2).mean((0, 2)).tolist()


def spread(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


if __name__ == "__main__":
    main()
