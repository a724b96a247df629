"""A short part of the campaign; `make campaign` runs all of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SHORT = ("damaged files", "mutated inputs", "simultaneous starts", "kills", "disks")


@pytest.mark.slow  # what it repeats many times is tested once where it belongs
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_nothing_is_lost_and_nothing_changed_is_taken() -> None:
    script = Path(__file__).with_name("campaign.py")
    done = subprocess.run(
        [sys.executable, script, "--scale", "0.008", *SHORT],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
