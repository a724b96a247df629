"""Does all2all training help? All pairs of frames against two other choices, at equal budget.

    OMP_NUM_THREADS=1 python benchmarks/all2all.py --trajectories 8 --seeds 0 1 2 [--refine 5]
    OMP_NUM_THREADS=1 python benchmarks/all2all.py --equation klein_gordon_1d …

A small multiscale transformer learns the viscous Burgers equation, whose errors die out, or the
nonlinear Klein–Gordon equation, whose errors stay, from trajectories of eleven frames
(`--refine 5`: 51 frames in the same time): from all their ordered pairs, from the pairs that start
at the first frame, from neighbouring frames or, of finely stored trajectories, from frames as far
apart as those of eleven. The same operator, initial
weights, optimizer, steps and predictions per step; the weights of the last step are scored. On 64
test trajectories they predict from the first frame in one evaluation (the lead time is an input)
and in steps of several lengths, with persistence beside it. Prints the VRMSE, mean over
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
from torch import Tensor

from pelagos.datasets import open_store
from pelagos.datasets.fields import metrics
from pelagos.datasets.simulation.simulate import simulate
from pelagos.operators import Operator, from_pretrained

RESOLUTION, COUNT = 64, 10
# The time between two of eleven frames, and the equation's parameters.
PROBLEMS = {
    "burgers_1d": (0.07, {"viscosity": 0.01}),
    "klein_gordon_1d": (0.5, {"mass_squared": 1.0, "coupling": 1.0}),
}
# Predictions at these multiples of that time, in one evaluation (None) or by steps of so many.
LEADS, STRIDES = (1, 2, 5, 10), (None, 5, 1)
MOST = 64  # trajectories for training; recipes take subsets, a smaller one part of a larger one
# What is learned from, and the windows of a step: together they make 20 predictions.
OBJECTIVES = {
    "all pairs": ("all2all", None, 20),
    "pairs from the first frame": ("rollout", None, 2),
    "neighbouring frames": ("rollout", 1, 20),
    "distant frames": ("rollout", 1, 20),
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
    parser.add_argument("--equation", choices=PROBLEMS, default="burgers_1d")
    parser.add_argument("--trajectories", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--refine", type=int, default=1, help="frames per frame of eleven")
    parser.add_argument("--out", type=Path, default=Path("runs/all2all"))
    options = parser.parse_args()
    options.out = options.out / f"{options.equation}-{options.refine}"
    options.step, parameters = PROBLEMS[options.equation]
    data = simulate(
        options.equation,
        options.out / "data",
        trajectories={"train": MOST, "valid": 4, "test": 64},
        resolution=RESOLUTION,
        subsample=2,
        frames=COUNT * options.refine + 1,
        dt=options.step / options.refine,
        parameters=parameters,
    )
    print(
        "| trajectories | trained on | predicts | "
        + " | ".join(f"t = {k * options.step:g}" for k in LEADS),
        "|",
    )
    print("|---|---|---|" + "---|" * len(LEADS))
    # With fine frames, the first one has more pairs than a step has predictions.
    left_out = "distant frames" if options.refine == 1 else "pairs from the first frame"
    names = [name for name in OBJECTIVES if name != left_out]
    for count in options.trajectories:
        for name in names:
            found = [scores(name, count, seed, data, options) for seed in options.seeds]
            for mode in found[0]:
                row([str(count), name, mode], [seed[mode] for seed in found])
    frames = test_frames(data, options.refine)[0]
    row(["", "persistence", ""], [vrmse(dict.fromkeys(LEADS, frames[:, 0]), frames)])


def scores(name: str, count: int, seed: int, data: Path, options: argparse.Namespace) -> dict:
    """VRMSE by way of predicting and lead time, of one training run."""
    run = options.out / f"{name.replace(' ', '-')}-{count}-{seed}-{options.steps}"
    file = run / "scores.json"
    if not file.is_file():
        operator = train(name, count, seed, data, run, options)
        frames, store = test_frames(data, options.refine)
        found = {}
        for stride in (*STRIDES, 1 / options.refine) if options.refine > 1 else STRIDES:
            mode = f"by {stride * options.step:g}" if stride else "in one evaluation"
            found[mode] = vrmse(predict(operator, frames, store, stride, options.step), frames)
        file.write_text(json.dumps(found))
    return json.loads(file.read_text())


def train(
    name: str, count: int, seed: int, data: Path, run: Path, options: argparse.Namespace
) -> Operator:
    """The operator after training by this objective."""
    kind, horizon, batch = OBJECTIVES[name]
    last, steps = COUNT * options.refine, options.steps
    stride = options.refine if name == "distant frames" else 1
    recipe = {
        "data": [{"path": str(data), "trajectories": count, "stride": stride}],
        "operator": OPERATOR,
        "normalizer": {"name": "statistics"},
        "time_scale": options.step * COUNT,
        "objective": {"kind": kind, "horizon": horizon or last, "loss": "grouped_relative_l1"},
        "optimizer": {"learning_rate": 2e-3, "warmup": 0.1, "weight_decay": 1e-4, "clip": 5.0},
        "steps": steps,
        "batch": batch,
        "micro_batch": batch,
        "seed": seed,
        "log_every": steps,
        "save_every": steps,
        "validation": {"every": steps, "trajectories": 4, "horizon": last // stride},
    }
    path = run.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(recipe))
    command = [sys.executable, "-P", "-m", "pelagos.pretrain", str(path), str(run)]
    subprocess.run([*command, "--resume", "auto"], check=True, stdout=subprocess.DEVNULL)
    return from_pretrained(run / "checkpoint").eval()


def test_frames(data: Path, refine: int):
    """The test trajectories (N, T, C, *S) at the times of eleven frames, and their store."""
    store = open_store(data, "test")
    frames = torch.stack([store.trajectory(i) for i in range(len(store))])
    return frames[:, ::refine], store


@torch.inference_mode()
def predict(
    operator: Operator, frames: Tensor, store, stride: float | None, step: float
) -> dict[int, Tensor]:
    """The fields at `LEADS`, where they are multiples of the stride; both in units of `step`."""
    context = store.window(0).context
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # neighbouring frames have one lead time
        for lead in LEADS:
            count = lead / stride if stride else 1
            if count == int(count):
                dt = step * (stride or lead)
                *_, found[lead] = operator.rollout(frames[:, :1], context, dt=dt, steps=int(count))
    return found


def vrmse(predictions: dict[int, Tensor], frames: Tensor) -> dict[str, float]:
    """Mean over trajectories and fields, by lead time."""
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
