"""What a server offers, and how much of it at a time. Without torch: help is quick."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    """How much is done at a time, and how much for one request.

    Attributes:
        workers: predictions that are computed at a time, each in a process of its own.
        waiting: requests that wait for one of them; further ones are told to come back (503).
        seconds: that a request may take; its worker is ended then, and another one started.
        megabytes: of an upload, and of the numbers of an answer in single precision.
    """

    workers: int = 1
    waiting: int = 32
    seconds: float = 120.0
    megabytes: float = 64.0

    @property
    def upload(self) -> int:
        """Bytes that a request may have."""
        return int(self.megabytes * 2**20)

    @property
    def values(self) -> int:
        """Numbers that may be read from an upload, or predicted for an answer."""
        return self.upload // 4


@dataclass(frozen=True)
class Served:
    """What is offered, by name.

    Attributes:
        checkpoints: name -> run, checkpoint directory, `pelagos:NAME` or `hf:owner/model`.
        datasets: name -> path.
        split: of the datasets.
        device: where to compute.
        limits: on each request.
    """

    checkpoints: dict[str, str] = field(default_factory=dict)
    datasets: dict[str, str] = field(default_factory=dict)
    split: str | None = "test"
    device: str = "cpu"
    limits: Limits = field(default_factory=Limits)


def named(places: Iterable[str]) -> dict[str, str]:
    """A name for each place: its last part, numbered where several have the same."""
    found: dict[str, str] = {}
    for place in dict.fromkeys(places):
        last = Path(place).name or place
        name, number = last, 1
        while name in found:
            number += 1
            name = f"{last}-{number}"
        found[name] = place
    return found
