"""A short part of the campaign of killed jobs, seeded; and a launcher that starts again itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from processes import Launched

from pelagos.datasets.simulation.simulate import simulate

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
RECIPE = {
    "operator": {"name": "dymixop", "history": 2, "hidden": 4, "layers": 1, "modes": 2},
    "objective": {"horizon": 1},
    "steps": 6,
    "batch": 2,
    "micro_batch": 1,
    "log_every": 1,
    "save_every": 1,
    "validation": {"every": 3, "trajectories": 1, "horizon": 1},
    "states": {"sharded": True, "background": True},
}


@pytest.mark.slow  # the next test has a killed job, and test_pretrain.py one that goes on
def test_killed_jobs_end_with_the_same_bits() -> None:
    script = Path(__file__).with_name("ranks.py")
    done = subprocess.run(
        [sys.executable, script, "--jobs", "2", "--seed", "3"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "| same bits in the end | 2 |" in done.stdout


@pytest.mark.slow
def test_torchrun_starts_a_killed_job_again(tmp_path: Path) -> None:
    """Twice a rank is killed in the middle; the third attempt ends as if nothing had happened."""
    data = simulate("advection_1d", tmp_path, trajectories={"train": 2, "valid": 1}, frames=5)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"data": [{"path": str(data)}], **RECIPE}))
    script = Path(__file__).parents[1] / "support" / "dying_rank.py"
    weights = []
    for name, restarts in (("whole", 0), ("killed", 2)):
        words = [script, restarts, recipe, tmp_path / name, "--resume", "auto"]
        job = Launched(
            *words,
            processes=2,
            restarts=restarts,
            environment={**ENVIRONMENT, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
        )
        assert job.finish().count("rank is killed") == restarts
        weights.append((tmp_path / name / "checkpoint" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
