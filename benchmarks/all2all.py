"""Does all2all training help? All pairs of frames against one-step pairs, at equal budget.

    OMP_NUM_THREADS=1 python benchmarks/all2all.py --trajectories 8 64 --seeds 0 1 2

A small multiscale transformer learns the viscous Burgers equation from trajectories of eight
frames, from all their ordered pairs or from neighbouring frames only: the same operator, initial
weights, optimizer, steps and batch. Of each run the weights of the last step are scored. On 64 test
trajectories they predict every later frame from the first one, directly (the lead time is an input)
and autoregressively (one frame at a time), with persistence beside it. Prints the VRMSE, mean over
trajectories, and its spread over seeds. Runs that are done are not repeated.
"""

import argparse
import json
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

EQUATION, FRAMES, DT, RESOLUTION = "burgers_1d", 8, 0.1, 64
LEADS = (1, 2, 4, 7)
MOST = 64  # trajectories for training; recipes take subsets, a smaller one part of a larger one
OBJECTIVES = {
    "all pairs": {"kind": "all2all", "horizon": FRAMES - 1},
    "one step": {"kind": "rollout", "horizon": 1},
}
OPERATOR = {
    "name": "multiscale",
    "width": 32,
    "depths": [2, 2],
    "heads": [2, 4],
    "skips": [1, 0],
    "patch": 2,
    "window": 8,
    "periodic": True,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trajectories", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--out", type=Path, default=Path("runs/all2all"))
    options = parser.parse_args()
    data = simulate(
        EQUATION,
        options.out / "data",
        trajectories={"train": MOST, "valid": 4, "test": 64},
        resolution=RESOLUTION,
        subsample=2,
        frames=FRAMES,
        dt=DT,
        parameters={"viscosity": 0.01},
    )
    print("| trajectories | trained on | predicts | " + " | ".join(f"after {k}" for k in LEADS))
    print("|---|---|---|" + "---|" * len(LEADS))
    for count in options.trajectories:
        for name in OBJECTIVES:
            found = [scores(name, count, seed, data, options) for seed in options.seeds]
            for mode in ("direct", "autoregressive"):
                row([str(count), name, mode], [seed[mode] for seed in found])
    frames, _ = test_frames(data)
    still = frames[:, :1].expand(-1, FRAMES - 1, *frames.shape[2:])
    row(["", "persistence", ""], [vrmse(still, frames)])


def scores(name: str, count: int, seed: int, data: Path, options: argparse.Namespace) -> dict:
    """VRMSE after every number of frames, direct and autoregressive, of one training run."""
    run = options.out / f"{name.replace(' ', '-')}-{count}-{seed}-{options.steps}"
    file = run / "scores.json"
    if not file.is_file():
        operator = train(OBJECTIVES[name], count, seed, data, run, options.steps)
        frames, store = test_frames(data)
        found = {
            mode: vrmse(predict(operator, frames, store), frames)
            for mode, predict in (("direct", direct), ("autoregressive", autoregressive))
        }
        file.write_text(json.dumps(found))
    return json.loads(file.read_text())


def train(objective: dict, count: int, seed: int, data: Path, run: Path, steps: int) -> Operator:
    """The operator after training by this objective."""
    recipe = {
        "data": [{"path": str(data), "trajectories": count}],
        "operator": OPERATOR,
        "normalizer": {"name": "statistics"},
        "time_scale": DT * (FRAMES - 1),
        "objective": {**objective, "loss": "grouped_relative_l1"},
        "optimizer": {"learning_rate": 2e-3, "warmup": 0.1, "weight_decay": 1e-4, "clip": 5.0},
        "steps": steps,
        "batch": 16,
        "micro_batch": 16,
        "seed": seed,
        "log_every": steps,
        "save_every": steps,
        "validation": {"every": steps, "trajectories": 4, "horizon": FRAMES - 1},
    }
    path = run.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(recipe))
    command = [sys.executable, "-P", "-m", "pelagos.pretrain", str(path), str(run)]
    subprocess.run([*command, "--resume", "auto"], check=True, stdout=subprocess.DEVNULL)
    return from_pretrained(run / "checkpoint").eval()


def test_frames(data: Path):
    """The test trajectories (N, T, C, *S) and their store."""
    store = open_store(data, "test")
    return torch.stack([store.trajectory(i) for i in range(len(store))]), store


@torch.inference_mode()
def direct(operator: Operator, frames: torch.Tensor, store) -> torch.Tensor:
    """Every later frame straight from the first."""
    state = operator.init(frames[:, :1], store.window(0).context)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one-step training has seen the first lead time only
        leads = [torch.full((len(frames),), k * DT) for k in range(1, FRAMES)]
        return torch.stack([operator.step(state, dt)[1] for dt in leads], 1)


@torch.inference_mode()
def autoregressive(operator: Operator, frames: torch.Tensor, store) -> torch.Tensor:
    """One frame at a time, from the first."""
    context = store.window(0).context
    steps = operator.rollout(frames[:, :1], context, dt=DT, steps=FRAMES - 1)
    return torch.stack(list(steps), 1)


def vrmse(prediction: torch.Tensor, frames: torch.Tensor) -> list[float]:
    """Mean over trajectories and fields, per number of frames ahead."""
    return metrics.vrmse(prediction, frames[:, 1:], frames.ndim - 3).mean((0, 2)).tolist()


def row(names: list[str], found: list[list[float]]) -> None:
    cells = [spread([values[k - 1] for values in found]) for k in LEADS]
    print(f"| {' | '.join((*names, *cells))} |", flush=True)


def spread(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


if __name__ == "__main__":
    main()
