"""Cells side by side: processes that are given tasks, and told to stop when their giver is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType

import psutil
import torch

from .worker import Task, told

PATIENCE = 60.0  # seconds in which all workers save


def usual() -> int:
    """As many workers as there are GPUs, else cores."""
    return torch.cuda.device_count() or psutil.cpu_count(logical=False) or 1


class Workers:
    """Processes that do tasks; they start with the first one.

    Args:
        count: how many.
        logs: folder for what they print.
    """

    def __init__(self, count: int, logs: Path) -> None:
        self.count, self.logs = count, logs
        self.processes: list[subprocess.Popen[str]] = []
        self.pool = ThreadPoolExecutor(count)  # a thread waits for each answer
        self.idle: SimpleQueue[int] = SimpleQueue()
        self.lock, self.ends = threading.Lock(), False
        self.running: dict[Future[None], Task] = {}

    def __enter__(self) -> Workers:
        self.logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Tell all to save and leave, and wait until they have."""
        self.ends = True
        with self.lock:
            started = [*self.processes]
        for process in started:
            process.terminate()
        end = time.monotonic() + PATIENCE
        for process in started:
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
        self.pool.shutdown(cancel_futures=True)

    @property
    def free(self) -> int:
        """How many could be given a task."""
        return self.count - len(self.running)

    def give(self, task: Task) -> None:
        """Have a task done."""
        self.running[self.pool.submit(self._do, task)] = task

    def finished(self) -> Iterator[Task]:
        """Wait for some task, and give those that are done.

        Raises:
            ValueError: one failed.
        """
        done, _ = wait(self.running, return_when=FIRST_COMPLETED)
        for future in done:
            task = self.running.pop(future)
            future.result()
            yield task

    def _do(self, task: Task) -> None:
        with self._worker() as process:
            assert process.stdin, "a pipe"
            assert process.stdout, "another one"
            process.stdin.write(told(task) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        if not answer:
            raise ValueError(
                f"a worker ended while it trained {task.run} (perhaps for lack of memory; what it "
                f"printed is in {self.logs}); run the same again, which continues"
            )
        error = json.loads(answer).get("error")
        if error:
            raise ValueError(f"{task.run}: {error}")

    @contextmanager
    def _worker(self) -> Iterator[subprocess.Popen[str]]:
        """A process that does nothing else meanwhile."""
        with self.lock:
            if self.ends:
                raise ValueError("the study has ended")
            if self.idle.empty():
                self.idle.put(len(self.processes))
                self.processes.append(self._start(len(self.processes)))
            number = self.idle.get()
        try:
            yield self.processes[number]
        finally:
            self.idle.put(number)

    def _start(self, number: int) -> subprocess.Popen[str]:
        environment = {**os.environ}
        threads = max(1, (os.cpu_count() or 1) // self.count)
        environment.setdefault("OMP_NUM_THREADS", str(threads))
        if torch.cuda.is_available():
            environment["CUDA_VISIBLE_DEVICES"] = _device(number % torch.cuda.device_count())
        with (self.logs / f"worker-{number}.log").open("a") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "pelagos.finetune.study.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the study alone
            )


def _device(number: int) -> str:
    """The name of a GPU for a process of its own, among those that this one sees."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return seen.split(",")[number] if seen else str(number)
