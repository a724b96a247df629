"""A short part of the campaign, seeded; `make campaign` runs all of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_nothing_is_lost_and_nothing_changed_is_accepted() -> None:
    script = Path(__file__).with_name("campaign.py")
    done = subprocess.run(
        [sys.executable, script, "--scale", "0.02"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
