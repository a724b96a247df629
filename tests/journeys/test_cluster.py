"""The files for clusters, as far as a CPU shows: queued again after notice; what configs ask."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from pelagos.datasets.base.config import read
from pelagos.datasets.simulation.simulate import simulate
from pelagos.pretrain import TrainRecipe
from pelagos.pretrain.environment import check_environment, wants_shards
from pelagos.pretrain.run.state import latest

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "docs" / "cluster"
RECIPE = {
    "operator": {"name": "dymixop", "history": 2, "hidden": 2, "layers": 1, "modes": 2},
    "objective": {"horizon": 1},
    "steps": 2000,
    "batch": 2,
    "micro_batch": 1,
    "log_every": 1,
    "save_every": 1000,
    "validation": {"every": 2000, "trajectories": 1, "horizon": 1},
}
# `srun` starts the tasks of a node side by side and gives the largest exit code.
SRUN = """#!/usr/bin/env bash
while [[ $1 == --* ]]; do shift; done
for ((i = 0; i < SLURM_NTASKS; i++)); do
  SLURM_PROCID=$i SLURM_LOCALID=$i "$@" & pids+=($!)
done
echo "${pids[@]}" > "$TASKS"
worst=0
for pid in "${pids[@]}"; do wait "$pid" || { code=$?; ((code > worst)) && worst=$code; }; done
exit $worst
"""
SCONTROL = '#!/usr/bin/env bash\n[[ $1 == show ]] && echo localhost || echo "$*" >> "$ASKED"\n'


@pytest.fixture(params=["1", pytest.param("2", marks=pytest.mark.slow)])
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment of a job of some tasks, with stand-ins for SLURM's commands."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PELAGOS_PYTHON": sys.executable,
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_NTASKS": request.param,
        "TASKS": str(tmp_path / "tasks"),
        "ASKED": str(tmp_path / "asked"),
        "ACCELERATE_USE_CPU": "true",
    }


def test_a_job_that_gets_notice_saves_and_queues_itself_again(
    tmp_path: Path, cluster: dict[str, str]
) -> None:
    data = simulate("advection_1d", tmp_path, trajectories={"train": 2, "valid": 1}, frames=5)
    recipe, run = tmp_path / "recipe.yaml", tmp_path / "run"
    recipe.write_text(yaml.safe_dump({"data": [{"path": str(data)}], **RECIPE}))
    command = ["bash", CLUSTER / "pretrain.sbatch", recipe, run]

    job = subprocess.Popen(command, env=cluster, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    log = run / "log.jsonl"
    while not (log.is_file() and log.stat().st_size > 500):
        assert time.monotonic() < deadline
        assert job.poll() is None
        time.sleep(0.05)
    for task in map(int, (tmp_path / "tasks").read_text().split()):
        os.kill(task, signal.SIGUSR1)
    told, _ = job.communicate(timeout=240)
    assert job.returncode == 75
    assert "queued again" in told
    assert (tmp_path / "asked").read_text() == f"requeue {cluster['SLURM_JOB_ID']}\n"
    assert latest(run) is not None

    step = int(str(latest(run)).rpartition("-")[2])
    for key in ("--steps", "--validation.every", "--save-every"):
        command += [key, str(step + 2)]
    fewer = {**cluster, "SLURM_NTASKS": "1"}  # any number of processes goes on
    done = subprocess.run(command, env=fewer, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert (run / "checkpoint" / "model.safetensors").is_file()


@pytest.mark.parametrize(("name", "shards"), [("ddp.yaml", False), ("fsdp2.yaml", True)])
def test_what_a_config_asks_for_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, shards: bool
) -> None:
    """As `accelerate launch` turns it into the environment of the processes."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    for variable in [*os.environ]:
        if variable.startswith(("ACCELERATE_", "FSDP_")):
            monkeypatch.delenv(variable)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    words = ["--config_file", str(CLUSTER / name), "script.py"]
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    for variable, value in prepare_multi_gpu_env(arguments).items():
        if variable.startswith(("ACCELERATE_", "FSDP_")):
            monkeypatch.setenv(variable, str(value))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"data": [{"path": "data"}], **RECIPE}))
    check_environment(read(TrainRecipe, recipe))
    assert wants_shards() is shards


def test_the_script_is_sound_bash() -> None:
    subprocess.run(["bash", "-n", CLUSTER / "pretrain.sbatch"], check=True)
