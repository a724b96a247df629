"""A failure of one process ends the whole job, with its cause printed once."""

import os
import re
import signal
import socket
import time
from pathlib import Path

import h5py
import pytest
import yaml
from accelerate import Accelerator
from processes import Launched
from torch.distributed import TCPStore

from pelagos.datasets.simulation.simulate import simulate
from pelagos.pretrain.failing import failing_together
from pelagos.pretrain.ranks import Ranks
from pelagos.pretrain.run.stop import REQUEUE

SUPPORT = Path(__file__).parents[1] / "support"
RECIPE = {
    "operator": {"name": "dymixop", "history": 2, "hidden": 6, "layers": 2, "modes": 4},
    "normalizer": {"name": "identity"},  # which reads no data before training
    "steps": 200,
    "batch": 8,
    "micro_batch": 2,
    "log_every": 2,
    "save_every": 4,
    "validation": {"every": 100, "trajectories": 2, "horizon": 4},
}


@pytest.fixture
def recipe(tmp_path):
    data = simulate(
        "advection_1d", tmp_path, trajectories={"train": 4, "valid": 2}, resolution=48, frames=9
    )

    def write(**changes):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({"data": [{"path": str(data)}], **RECIPE, **changes}))
        return data, path

    return write


def ended(job, cause):
    """The output of a job that ends once its cause was told, long before collectives give up."""
    job.until(lambda: cause in job.printed())
    output = job.wait(60)
    assert job.returncode != 0
    return output


def test_nan_in_a_frame_that_a_loading_process_reads(recipe, tmp_path):
    data, path = recipe(workers=2)
    [file] = (data / "data" / "train").iterdir()
    with h5py.File(file, "r+") as h5:
        h5["t0_fields/u"][2, 5, 7] = float("nan")
    output = ended(
        Launched("-m", "pelagos.pretrain", path, tmp_path / "run", processes=2), "holds NaN"
    )
    assert output.count("holds NaN") == 1
    assert f"pelagos: error: {file}" in output
    assert "Traceback" not in output.split("ChildFailedError")[0].split("torch/distributed")[0]


def test_an_exception_on_one_rank(recipe, tmp_path):
    _, path = recipe(workers=1)
    job = Launched(SUPPORT / "failing_rank.py", path, tmp_path / "run", processes=2)
    output = ended(job, "OutOfMemoryError: no memory left")
    assert output.count("OutOfMemoryError: no memory left") == 1
    assert "onnection closed" not in output


def test_one_that_was_killed_leaves_no_word(monkeypatch):
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(store.port))
    monkeypatch.setattr("os._exit", lambda status: None)  # seconds later, where none has ended
    job = Ranks(Accelerator(cpu=True))
    job.count = 2
    gone = "another process of this job is gone without a word.*closed by peer"
    with pytest.raises(SystemExit, match=gone), failing_together(job):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:5] Connection closed by peer. GLHF!")
    for other in ("no memory", "[gloo/transport/tcp/x.cc:8] Timed out waiting 3000ms for recv"):
        with pytest.raises(RuntimeError, match=re.escape(other)), failing_together(job):
            raise RuntimeError(other)


@pytest.mark.parametrize("rank", [0, 1])
def test_others_that_never_come(rank, recipe, tmp_path):
    _, path = recipe()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    there = {**os.environ, **ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    words = ["-m", "pelagos.pretrain", path, tmp_path / "run", "--timeout", "1"]
    job = Launched(*words, environment=there)
    said = job.wait(60)
    assert job.returncode == 2
    assert f"process {rank} of 2 did not meet the others at 127.0.0.1:{port}" in said
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("number", "processes"), [(signal.SIGUSR2, 1), (signal.SIGUSR1, 2)])
def test_preemption_saves_and_asks_for_a_requeue(recipe, tmp_path, number, processes):
    """Told to one process alone, between two log lines; the others leave with it."""
    _, path = recipe(log_every=5000, save_every=5000, validation={"every": 5000}, steps=5000)
    run = tmp_path / "run"
    job = Launched("-m", "pelagos.pretrain", path, run, processes=processes)
    log = run / "log.jsonl"
    job.until(lambda: log.exists() and "valid" in log.read_text())
    time.sleep(0.5)
    last = job.pid if processes == 1 else max(children(job.pid))
    os.kill(last, number)
    output = job.wait(60)
    assert "go on with --resume auto" in output
    assert len(list(run.glob("state/step-*"))) == 1
    if processes > 1:
        assert str(REQUEUE) in output  # the agent's own code is 1
    else:
        assert job.returncode == REQUEUE


def children(pid):
    return map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
