"""What a file offers to a store: trajectories with names, a grid and times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Float64

from ..fields.grid import Grid


@runtime_checkable
class Source(Protocol):
    """Trajectories of one file; see `store.Store` for what the attributes mean.

    Where fields are not predicted everywhere, it is a `MaskedSource`. Steady problems are
    trajectories of one frame, the solution, with the inputs as constant fields.
    """

    path: Path
    name: str
    axes: tuple[str, ...]
    grid: Grid
    fields: tuple[str, ...]
    constant_fields: tuple[str, ...]
    parameter_names: tuple[str, ...]
    units: dict[str, str]
    times: Float64[np.ndarray, "*n T"]  # one time axis for all trajectories, or one for each
    parameters: Float64[np.ndarray, "n P"]
    series: dict[str, np.ndarray]  # scalars that vary in time: (T,) or (n, T)
    provenance: dict[str, Any]

    def __len__(self) -> int:
        """Number of trajectories."""
        ...

    def read(
        self, trajectory: int, frames: slice, channels: Sequence[int]
    ) -> Float32[np.ndarray, "T C *S"]:
        """The given frames and channels of a trajectory."""
        ...

    def constants(self, trajectory: int) -> Float32[np.ndarray, "K *S"]:
        """The constant fields of a trajectory."""
        ...

    def close(self) -> None:
        """Give the file back; the next access opens it again."""
        ...


@runtime_checkable
class MaskedSource(Source, Protocol):
    """A source whose fields are not predicted everywhere."""

    def mask(self, trajectory: int) -> Bool[np.ndarray, "C *S"] | None:
        """True where the fields are predicted; None: everywhere."""
        ...
