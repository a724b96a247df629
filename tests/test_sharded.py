"""Sharded parameters (FSDP2) on two processes, for every operator."""

import os
import subprocess
import sys
from pathlib import Path

from pelagos.operators import names


def test_fsdp2_saves_full_tensors_and_resumes(tmp_path):
    for name in names():
        (tmp_path / name).mkdir()
    script = Path(__file__).parent / "sharded_state.py"
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [sys.executable, *launcher, script, tmp_path],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
