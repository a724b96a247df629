"""Does all2all training help? All pairs of frames against two other choices, at equal budget.

    OMP_NUM_THREADS=1 python benchmarks/all2all.py --trajectories 8 64 --seeds 0 1 2

A small multiscale transformer learns the viscous Burgers equation from trajectories of 11 frames:
from all their ordered pairs, from the pairs that start at the first frame, or from neighbouring
frames. The same operator, initial weights, optimizer, steps and predictions per step; the weights
of the last step are scored. On 64 test trajectories they predict from the first frame in one
evaluation (the lead time is an input), in steps of five frames, and frame by frame, with
persistence beside it. Prints the VRMSE, mean over trajectories, and its spread over seeds. Runs
that are done are not repeated.
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
from torch import Tensor

from pelagos.datasets import metrics, open_store
from pelagos.datasets.simulate import simulate
from pelagos.operators import Operator, from_pretrained

EQUATION, FRAMES, DT, RESOLUTION = "burgers_1d", 11, 0.07, 64
LAST = FRAMES - 1
LEADS, STRIDES = (1, 2, 5, 10), {"in one evaluation": 0, "by five frames": 5, "by one frame": 1}
MOST = 64  # trajectories for training; recipes take subsets, a smaller one part of a larger one
# Every step makes 20 predictions: a window of the second kind has one per later frame.
OBJECTIVES = {
    "all pairs": ({"kind": "all2all", "horizon": LAST}, 20),
    "pairs from the first frame": ({"kind": "rollout", "horizon": LAST}, 20 // LAST),
    "neighbouring frames": ({"kind": "rollout", "horizon": 1}, 20),
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
    print(
        "| trajectories | trained on | predicts | " + " | ".join(f"after {k}" for k in LEADS) + " |"
    )
    print("|---|---|---|" + "---|" * len(LEADS))
    for count in options.trajectories:
        for name in OBJECTIVES:
            found = [scores(name, count, seed, data, options) for seed in options.seeds]
            for mode in STRIDES:
                row([str(count), name, mode], [seed[mode] for seed in found])
    frames, _ = test_frames(data)
    still = dict.fromkeys(LEADS, frames[:, 0])
    row(["", "persistence", ""], [vrmse(still, frames)])


def scores(name: str, count: int, seed: int, data: Path, options: argparse.Namespace) -> dict:
    """VRMSE after every number of frames, direct and autoregressive, of one training run."""
    run = options.out / f"{name.replace(' ', '-')}-{count}-{seed}-{options.steps}"
    file = run / "scores.json"
    if not file.is_file():
        operator = train(*OBJECTIVES[name], count, seed, data, run, options.steps)
        frames, store = test_frames(data)
        found = {
            mode: vrmse(predict(operator, frames, store, stride), frames)
            for mode, stride in STRIDES.items()
        }
        file.write_text(json.dumps(found))
    return json.loads(file.read_text())


def train(
    objective: dict, batch: int, count: int, seed: int, data: Path, run: Path, steps: int
) -> Operator:
    """The operator after training by this objective."""
    recipe = {
        "data": [{"path": str(data), "trajectories": count}],
        "operator": OPERATOR,
        "normalizer": {"name": "statistics"},
        "time_scale": DT * LAST,
        "objective": {**objective, "loss": "grouped_relative_l1"},
        "optimizer": {"learning_rate": 2e-3, "warmup": 0.1, "weight_decay": 1e-4, "clip": 5.0},
        "steps": steps,
        "batch": batch,
        "micro_batch": batch,
        "seed": seed,
        "log_every": steps,
        "save_every": steps,
        "validation": {"every": steps, "trajectories": 4, "horizon": LAST},
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
def predict(operator: Operator, frames: Tensor, store, stride: int) -> dict[int, Tensor]:
    """The fields after each of `LEADS` that is a multiple of the stride; 0: in one evaluation."""
    context = store.window(0).context
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # neighbouring frames have one lead time
        for lead in LEADS:
            if lead % (stride or lead) == 0:
                step = stride or lead
                dt, count = step * DT, lead // step
                *_, found[lead] = operator.rollout(frames[:, :1], context, dt=dt, steps=count)
    return found


def vrmse(predictions: dict[int, Tensor], frames: Tensor) -> dict[str, float]:
    """Mean over trajectories and fields, by the number of frames ahead."""
    return {
        str(lead): metrics.vrmse(fields, frames[:, lead], frames.ndim - 3).mean().item()
        for lead, fields in predictions.items()
    }


def row(names: list[str], found: list[dict[str, float]]) -> None:
    cells = [spread([seed[str(k)] for seed in found if str(k) in seed]) for k in LEADS]
    print(f"| {' | '.join((*names, *cells))} |", flush=True)


def spread(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.3f}" if values else ""
    return f"{statistics.mean(values):.3f} ± {statistics.stdev(values):.3f}"


if __name__ == "__main__":
    main()
