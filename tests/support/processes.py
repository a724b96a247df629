"""Scripts in processes of their own, alone or two at a time."""

import os
import subprocess
import sys
from pathlib import Path

import torch.distributed as dist

TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


def run(script, *arguments, launcher=()):
    """What the script printed; its error output in the assertion if it failed."""
    tests = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:pelagos", *launcher, script, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": tests},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return done


def leave():
    """Ends one of two processes, when both are done.

    Without a regular exit: gloo's threads may still let go of tensors while the interpreter shuts
    down, which aborts the process now and then (pytorch/pytorch#179291).
    """
    dist.barrier()
    dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
