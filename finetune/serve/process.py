"""Where a worker's process begins; without torch, so that the server has none to import."""

from __future__ import annotations

from multiprocessing.connection import Connection

from .served import Served


def run(pipe: Connection, served: Served) -> None:
    """Import what a worker needs, and work."""
    from .work import work  # takes seconds

    work(pipe, served)
