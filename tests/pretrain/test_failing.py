"""A failure of one process ends the whole job, with its cause printed once."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import pytest
import yaml
from processes import TWO

from pelagos.datasets.simulation.simulate import simulate
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


def start(*arguments, launcher=TWO, **options):
    return subprocess.Popen(
        [sys.executable, *launcher, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **options,
    )


def ended(process, cause):
    """The output of a job that ends within 10 s of its cause being told."""
    lines, told = [], None
    timer = threading.Timer(120, os.killpg, (process.pid, signal.SIGKILL))
    timer.start()
    for line in process.stdout:
        lines.append(line)
        if cause in line and told is None:
            told = time.monotonic()
    process.stdout.close()
    process.wait()
    timer.cancel()
    output = "".join(lines)
    assert told is not None, output
    assert time.monotonic() - told < 10
    return output


def test_nan_in_a_frame_that_a_loading_process_reads(recipe, tmp_path):
    data, path = recipe(workers=2)
    [file] = (data / "data" / "train").iterdir()
    with h5py.File(file, "r+") as h5:
        h5["t0_fields/u"][2, 5, 7] = float("nan")
    process = start("-m", "pelagos.pretrain", path, tmp_path / "run")
    output = ended(process, "holds NaN")
    assert process.returncode != 0
    assert output.count("holds NaN") == 1
    assert f"pelagos: error: {file}" in output
    assert "Traceback" not in output.split("ChildFailedError")[0].split("torch/distributed")[0]


def test_an_exception_on_one_rank(recipe, tmp_path):
    _, path = recipe(workers=1)
    process = start(SUPPORT / "failing_rank.py", path, tmp_path / "run")
    output = ended(process, "no memory left")
    assert process.returncode != 0
    assert output.count("no memory left") == 1
    assert "onnection closed" not in output


@pytest.mark.parametrize(("number", "launcher"), [(signal.SIGUSR2, ()), (signal.SIGUSR1, TWO)])
def test_preemption_saves_and_asks_for_a_requeue(recipe, tmp_path, number, launcher):
    """Told to one process alone, between two log lines; the others leave with it."""
    _, path = recipe(log_every=1000, save_every=1000, validation={"every": 1000}, steps=1000)
    run = tmp_path / "run"
    process = start("-m", "pelagos.pretrain", path, run, launcher=launcher)
    deadline = time.monotonic() + 120
    log = run / "log.jsonl"
    while not (log.exists() and "valid" in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    last = process.pid if not launcher else max(children(process.pid))
    os.kill(last, number)
    output, _ = process.communicate(timeout=60)
    assert "go on with --resume auto" in output
    assert len(list(run.glob("state/step-*"))) == 1
    if launcher:
        assert str(REQUEUE) in output  # torchrun's own code is 1
    else:
        assert process.returncode == REQUEUE


def children(pid):
    return map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
