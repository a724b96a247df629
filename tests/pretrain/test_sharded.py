"""Sharded parameters (FSDP2) on two processes, for every operator."""

from pathlib import Path

from processes import TWO, run

from pelagos.operators import names


def test_fsdp2_saves_full_tensors_and_resumes(tmp_path):
    for name in names():
        (tmp_path / name).mkdir()
    run(Path(__file__).parents[1] / "support" / "sharded_state.py", tmp_path, launcher=TWO)
