"""Run in test_accumulations.py: the same steps by 1 × 4, 2 × 2 and 4 × 1 processes × passes."""

from __future__ import annotations

import os
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

import torch

from pelagos.datasets.base.config import build
from pelagos.operators import names
from pelagos.pretrain import TrainRecipe, pretrain

OPERATORS: dict[str, dict[str, Any]] = {
    "dymixop": {"hidden": 6, "layers": 2, "modes": 3, "history": 2},
    "multiscale": {"width": 8, "depths": (1, 1), "heads": (2, 2), "skips": (1, 0), "window": 2},
    "observer": {"hidden": 6, "layers": 2, "modes": 3, "correction": {"modes": 3, "hidden": 4}},
}
SHARED = [(2, 1), (2, 2), (4, 1), (4, 2), (4, 4)]  # micro-batches of a step, and processes


def main(data: str, folder: Path) -> None:
    """Every operator with every sharing; `folder` gets a run for each."""
    assert {*OPERATORS} <= {*names()}
    torch.set_num_threads(1)
    for batch, processes in SHARED:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        children = [
            _forked(rank, processes, port, data, folder, batch) for rank in range(processes)
        ]
        for child in children:
            assert os.waitpid(child, 0)[1] == 0, (batch, processes)


def _forked(rank: int, processes: int, port: int, data: str, folder: Path, batch: int) -> int:
    child = os.fork()
    if child:
        return child
    status, size = 1, str(processes)
    try:
        if processes > 1:
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            os.environ.update({**own, **place, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size})
        train(data, folder, batch, processes)
        status = 0
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(status)


def train(data: str, folder: Path, batch: int, processes: int) -> None:
    """One process's part."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    Accelerator.end_training = lambda self: None  # the processes go on to the next run
    for name, config in OPERATORS.items():
        values = {
            "data": [{"path": data}],
            "operator": {"name": name, **config},
            "normalizer": {"name": "statistics"},
            "steps": 4,
            "batch": batch,
            "micro_batch": 1,
            "log_every": 1,
            "save_every": 4,
            "validation": {"every": 4, "trajectories": 1, "horizon": 2},
        }
        pretrain(build(TrainRecipe, values), folder / f"{name}-{batch}-{processes}")
        AcceleratorState._reset_state()
        if processes > 1:
            torch.distributed.barrier()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
