"""Run by torchrun in test_sharded.py: training with shards gives the losses of training without."""

import json
import os
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from processes import leave

from pelagos.datasets.base.config import build
from pelagos.operators import from_pretrained
from pelagos.pretrain import TrainRecipe, pretrain

OPERATORS = {
    "dymixop": {"hidden": 6, "layers": 2, "modes": 3, "history": 2, "linear_branches": 1},
    "multiscale": {"width": 8, "depths": (1, 1), "heads": (2, 2), "skips": (1, 0), "window": 2},
    "observer": {"hidden": 6, "layers": 2, "modes": 3, "correction": {"modes": 3, "hidden": 4}},
}


def losses(recipe, run, sharded):
    os.environ["ACCELERATE_USE_FSDP"] = str(sharded).lower()
    pretrain(recipe, run)
    AcceleratorState._reset_state()
    torch.distributed.barrier()
    lines = map(json.loads, (run / "log.jsonl").open())
    return [line["loss" if line["kind"] == "train" else "vrmse"] for line in lines if _counts(line)]


def _counts(line):
    return line["kind"] in ("train", "valid")


TOLERANCES = {"fp32": 1e-5, "bf16": 2e-2}


def main(data, folder, precision, *names):
    Accelerator.end_training = lambda self: None  # the processes go on to the next run
    for name in names:
        values = {
            "data": [{"path": data}],
            "operator": {"name": name, **OPERATORS[name]},
            "normalizer": {"name": "statistics"},
            "steps": 6,
            "batch": 8,
            "micro_batch": 2,
            "log_every": 1,
            "save_every": 3,
            "validation": {"every": 3, "trajectories": 1, "horizon": 2},
            "average": {"decay": 0.5},  # validated too, between the steps
        }
        recipe = build(TrainRecipe, {**values, "precision": precision})
        runs = [Path(folder) / f"{name}-{kind}" for kind in ("whole", "shards")]
        whole, shards = (losses(recipe, run, run is runs[1]) for run in runs)
        tolerance = TOLERANCES[precision]
        torch.testing.assert_close(shards, whole, rtol=tolerance, atol=tolerance)
        assert whole[2] != whole[-3], "nothing was learned"
        assert whole[-2] != whole[-1], "the average is the last"
        trained = (from_pretrained(run / "checkpoint").state_dict() for run in runs)
        assert [{k: v.dtype for k, v in state.items()} for state in trained]


if __name__ == "__main__":
    main(*sys.argv[1:])
    leave()
