"""Processes that answer tasks, each one at a time; one that is too slow or ends is replaced."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import anyio
import anyio.to_thread

from .process import run
from .refusals import Broken, Busy, TooSlow
from .served import Limits, Served

PATIENCE = 3.0  # seconds that an idle process has to end,
STARTING = 600.0  # and a new one to import what it needs


@dataclass(frozen=True)
class Head:
    """What is said of an answer: HTTP status, type, and name of a file."""

    status: int
    type: str
    name: str


class Worker:
    """A process that answers tasks.

    Args:
        served: what it opens.
    """

    def __init__(self, served: Served) -> None:
        self.served = served
        self.process: Any = None
        self.pipe: Any = None
        self.ready = False

    def start(self) -> None:
        """Start the process if there is none; it takes seconds to import what it needs."""
        if self.process is not None and self.process.is_alive():
            return
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=run, args=(other, self.served), daemon=True)
        self.process.start()
        self.ready = False
        other.close()

    def ask(self, task: dict[str, Any]) -> tuple[Head, bytes]:
        """The answer to a task.

        Raises:
            Refused: it takes longer than a request may, or the process ends over it.
        """
        self.start()
        seconds = self.served.limits.seconds
        try:
            self._wait()
            self.pipe.send_bytes(json.dumps(task).encode())
            if not self.pipe.poll(seconds):
                self.end()
                raise TooSlow(
                    f"this takes longer than the {seconds:g} s that a request may; ask for less"
                )
            head = json.loads(self.pipe.recv_bytes())
            return Head(**head), self.pipe.recv_bytes()
        except (EOFError, OSError):
            self.end()
            raise Broken(
                "the process that read this has ended (for lack of memory, or a damaged file)"
            ) from None

    def _wait(self) -> None:
        """Until the process has imported what it needs."""
        if not self.ready and not self.pipe.poll(STARTING):
            raise EOFError
        if not self.ready:
            self.pipe.recv_bytes()
        self.ready = True

    def end(self, patience: float = 0.0) -> None:
        """End the process; one that does nothing ends by itself within `patience` seconds."""
        if self.process is None:
            return
        self.pipe.close()
        self.process.join(patience)
        self.process.kill()
        self.process.join()
        self.process = None


class Pool:
    """Workers, and a queue of bounded length before them.

    Args:
        served: what they open, and the limits.
    """

    def __init__(self, served: Served) -> None:
        self.limits: Limits = served.limits
        self.workers = [Worker(served) for _ in range(self.limits.workers)]
        self.idle: SimpleQueue[Worker] = SimpleQueue()
        for worker in self.workers:
            self.idle.put(worker)
        self.count = 0  # requests that are answered or wait
        self.turn: Any = None

    def open(self) -> None:
        """Start the processes; within the event loop of the server."""
        self.turn = anyio.CapacityLimiter(self.limits.workers)
        for worker in self.workers:
            worker.start()

    def close(self) -> None:
        """End the processes."""
        for worker in self.workers:
            worker.end(PATIENCE)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place in the queue, to be had before a body is read.

        Raises:
            Busy: there is none.
        """
        if self.count >= self.limits.workers + self.limits.waiting:
            raise Busy(f"{self.count} requests are being answered; try again in a moment")
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1

    async def answer(self, name: str, query: dict[str, Any], body: str = "") -> tuple[Head, bytes]:
        """The answer to a task, when it is its turn; see `work.Task`."""
        return await anyio.to_thread.run_sync(
            self._ask, {"name": name, "query": query, "body": body}, limiter=self.turn
        )

    def _ask(self, task: dict[str, Any]) -> tuple[Head, bytes]:
        worker = self.idle.get()
        try:
            return worker.ask(task)
        finally:
            self.idle.put(worker)
