"""A trace of some steps: where their time goes, operation by operation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from ..datasets.base.appearing import appearing_file
from .run.log import Log

FOLDER = "profile"
BEFORE = 2  # steps: in the first ones memory is taken, and the profiler itself starts
_ROWS = 60


@contextmanager
def profiled(run: Path, first: int, steps: int, log: Log) -> Iterator[Callable[[], None]]:
    """Trace `steps` optimizer steps; gives what is to be called after each one.

    Writes `RUN/profile/step-….json` (open it in Perfetto or chrome://tracing) and a table of
    operations beside it, as soon as the steps are over.

    Args:
        run: the run directory.
        first: number of the first optimizer step of this block.
        steps: how many; 0: nothing is traced.
        log: of the run; the process that writes it traces.
    """
    if not (steps and log.active):
        yield _nothing
        return

    def write(trace: profile) -> None:
        path = run / FOLDER / f"step-{first + BEFORE:08d}.json"
        with appearing_file(path, overwrite=True) as draft:
            trace.export_chrome_trace(str(draft))
        by = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        table = trace.key_averages().table(sort_by=by, row_limit=_ROWS)
        with appearing_file(path.with_suffix(".txt"), overwrite=True) as draft:
            draft.write_text(table)
        log.say(f"the trace of {steps} steps is {path}, its table {path.with_suffix('.txt').name}")

    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    plan = schedule(wait=BEFORE - 1, warmup=1, active=steps, repeat=1)
    with profile(activities=activities, schedule=plan, on_trace_ready=write) as trace:
        yield trace.step


def _nothing() -> None:
    pass
