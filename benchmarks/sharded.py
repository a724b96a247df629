"""Learning curves with sharded parameters (FSDP2) beside those without (DDP), on two processes.

    python benchmarks/sharded.py [--steps 100]

Small operators of each kind learn linear advection, offset by 100 deviations, on the CPU; the same
windows, seeds and schedule. A difference of curves is the largest of |a - b| / b over all steps.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import torch

from pelagos.datasets.base.config import build
from pelagos.datasets.simulation.simulate import simulate
from pelagos.pretrain import TrainRecipe, pretrain

PROCESSES = 2
OPERATORS: dict[str, dict[str, Any]] = {
    "dymixop": {"hidden": 16, "layers": 2, "modes": 8, "history": 2},
    "multiscale": {"width": 16, "depths": (2, 2), "heads": (2, 2), "skips": (1, 0), "window": 4},
    "observer": {"hidden": 16, "layers": 2, "modes": 8, "correction": {"modes": 8, "hidden": 8}},
}
KINDS = [(precision, sharded) for precision in ("fp32", "bf16") for sharded in (False, True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100)
    steps = parser.parse_args().steps
    print("| | last loss, DDP fp32 | FSDP2 to DDP, fp32 | FSDP2 to DDP, bf16 | bf16 to fp32, DDP |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = offset(folder)
        for name in OPERATORS:
            curves = [curve(name, kind, data, folder, steps) for kind in KINDS]
            single, shards, half, half_shards = curves
            apart = [difference(shards, single), difference(half_shards, half)]
            apart.append(difference(half, single))
            numbers = " | ".join(f"{each:.1e}" for each in apart)
            print(f"| {name} | {single[-1]:.4f} | {numbers} |", flush=True)


def offset(folder: Path) -> Path:
    """Data far from zero."""
    sizes: dict[str, Any] = {"trajectories": {"train": 8, "valid": 1}, "frames": 9}
    data = simulate("advection_1d", folder, resolution=64, **sizes)
    for file in (data / "data").rglob("*.hdf5"):
        with h5py.File(file, "r+") as h5:
            h5["t0_fields/u"][...] += 100
    return data


def curve(name: str, kind: tuple[str, bool], data: Path, folder: Path, steps: int) -> list[float]:
    """The losses of a training."""
    precision, sharded = kind
    values: dict[str, Any] = {
        "data": [{"path": str(data)}],
        "operator": {"name": name, **OPERATORS[name]},
        "normalizer": {"name": "statistics"},
        "steps": steps,
        "batch": 8,
        "micro_batch": 2,
        "log_every": 1,
        "save_every": steps,
        "validation": {"every": steps, "trajectories": 1, "horizon": 2},
    }
    recipe = replace(build(TrainRecipe, values), precision=precision)
    run = folder / f"{name}-{precision}-{sharded}"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [forked(recipe, run, rank, port, sharded) for rank in range(PROCESSES)]
    if any([os.waitpid(child, 0)[1] for child in children]):
        sys.exit(f"{run.name} failed")
    records = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return [record["loss"] for record in records if record["kind"] == "train"]


def forked(recipe: TrainRecipe, run: Path, rank: int, port: int, sharded: bool) -> int:
    """A process of a training."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    size, status = str(PROCESSES), 1
    own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "ACCELERATE_USE_CPU": "1"}
    own |= {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1"}
    os.environ.update({**own, "MASTER_PORT": str(port)})
    os.environ["ACCELERATE_USE_FSDP"] = str(sharded).lower()
    try:
        torch.set_num_threads(1)
        pretrain(recipe, run)
        status = 0
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(status)


def difference(one: list[float], other: list[float]) -> float:
    """The largest relative one."""
    return max(abs(a - b) / b for a, b in zip(one, other, strict=True))


if __name__ == "__main__":
    main()
