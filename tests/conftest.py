"""A travelling wave and the operator that solves it exactly, for tests downstream of operators."""

from __future__ import annotations

import gc
import math
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import checking  # noqa: F401 (first: what decorates pelagos when it is imported)
import numpy as np
import pytest
import torch
from torch import nn

from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.layouts.well import WellData, write_file
from pelagos.operators import Description, Operator
from pelagos.operators.core import registry

SPEED, LENGTH, POINTS, DT, FRAMES = 0.3, 2.0, 32, 0.25, 12


@dataclass(frozen=True)
class ShiftConfig:
    speed: float = SPEED
    frames: int = 1
    gain: float = 1.0


class Shift(Operator):
    """u_t + speed · u_x = 0 by a Fourier shift, exact; a gain above 1 makes it blow up."""

    name: ClassVar[str] = "shift"
    Config: ClassVar[type] = ShiftConfig

    def __init__(self, config: ShiftConfig, description: Description, generator: Any = None):
        super().__init__(config, description)
        self.gain = nn.Parameter(torch.tensor(config.gain))

    @property
    def history(self) -> int:
        return self.config.frames

    @property
    def ndim(self) -> int:
        return 1

    def reset(self, generator: torch.Generator) -> None:
        torch.nn.init.constant_(self.gain, self.config.gain)

    def step(self, state, dt, observation=None):
        self.check_step(state, dt)
        grid, last = state.context.grid, state.history[:, -1]
        k = 2 * math.pi * torch.fft.rfftfreq(grid.shape[0], grid.spacing[0], dtype=torch.float64)
        turn = torch.exp(-1j * k * self.config.speed * dt.double()[:, None, None])
        fields = torch.fft.irfft(torch.fft.rfft(last.double()) * turn, n=grid.shape[0])
        fields = self.gain * fields.to(last)
        return state.advance(fields, dt), fields


def pytest_collection_finish() -> None:
    """Millions of objects live until the end: the garbage collector need not look at them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def fresh_accelerate() -> Iterator[None]:
    """Accelerate keeps one state per process; every test starts without."""
    yield
    if "accelerate.state" in sys.modules:
        sys.modules["accelerate.state"].AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="session", autouse=True)
def quick_disk() -> Iterator[None]:
    """What tests write need not outlive a power failure: nobody waits for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def shift() -> Callable[..., Shift]:
    """Makes the operator."""

    def make(
        time_steps: tuple[float, ...] = (DT,), fields: tuple[str, ...] = ("u",), **config: Any
    ) -> Shift:
        description = Description(fields=fields, time_steps=time_steps, provenance={"seed": 7})
        return Shift(ShiftConfig(**config), description)

    return make


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the test runs, checkpoints of the operator can be opened."""
    monkeypatch.setitem(registry.OPERATORS.added, Shift.name, Shift)


@pytest.fixture(scope="session")
def wave(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of `u` = a sin(2π m (x − c t) / L) for m = 1, 2, 3, and `tracer` = 2 + cos."""
    root = tmp_path_factory.mktemp("data") / "wave"
    x, t = np.arange(POINTS) * LENGTH / POINTS, 10 + DT * np.arange(FRAMES)
    phase = 2 * np.pi * np.array([1, 2, 3])[:, None, None] * (x - SPEED * t[:, None]) / LENGTH
    data = WellData(
        dataset="wave",
        grid=Grid((POINTS,), (LENGTH,), ("periodic",)),
        times=t,
        fields={
            "tracer": 2 + np.cos(phase),
            "u": np.array([1, 2, 5])[:, None, None] * np.sin(phase),
        },
        parameters={"mode": np.array([1.0, 2.0, 3.0])},
        units={"u": "m/s", "time": "s", "length": "m"},
    )
    write_file(root / "data" / "test" / "wave.hdf5", data)
    return root
