"""What a file offers to a store: trajectories with names, a grid and times."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64

from ..base.config import nearest
from ..fields.grid import Grid


@dataclass(frozen=True, eq=False, kw_only=True)
class Header:
    """What the trajectories of a source are; see `store.Store` for what the names mean.

    Attributes:
        name: of the dataset; "" where the file does not say it.
        axes, grid, fields, constant_fields, parameter_names, units: as in `Store`.
        times: one time axis for all trajectories, or one for each.
        rows: the trajectories of the file that belong to the source, in order.
        parameters: of each trajectory.
        series: scalars that vary in time: (T,) or (n, T).
        prescribed: names of the fields and series that are known at all times, and not predicted.
        provenance: how the data were made; anything that JSON can hold.
        filled: names of the fields that the file does not hold: the layout gives them one value.
        mask_fill: field -> the value that takes the place of what is missing; 0 for others.
        holes: what is done with values that are missing in some frames only: "refuse";
            "skip", which leaves out the windows that touch them; or "mask", by which such points
            count as missing in all frames of their trajectory.
    """

    name: str = ""
    axes: tuple[str, ...]
    grid: Grid
    times: Float64[np.ndarray, "*n T"]
    rows: Sequence[int]
    fields: tuple[str, ...] = ()
    constant_fields: tuple[str, ...] = ()
    parameter_names: tuple[str, ...] = ()
    parameters: Float64[np.ndarray, "n P"] = field(default_factory=lambda: np.empty((0, 0)))
    units: dict[str, str] = field(default_factory=dict)
    series: dict[str, np.ndarray] = field(default_factory=dict)
    prescribed: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    filled: tuple[str, ...] = ()
    mask_fill: dict[str, float] = field(default_factory=dict)
    holes: Literal["refuse", "skip", "mask"] = "refuse"

    def __post_init__(self) -> None:
        if not self.parameter_names:
            object.__setattr__(self, "parameters", np.empty((len(self.rows), 0)))

    @property
    def n_frames(self) -> int:
        """Number of frames of each trajectory."""
        return self.times.shape[-1]


class Source(ABC):
    """Trajectories of one file.

    Steady problems are trajectories of one frame, the solution, with the inputs as constant fields.

    Attributes:
        path: the file.
        header: what its trajectories are.
    """

    path: Path
    header: Header

    def __len__(self) -> int:
        return len(self.header.rows)

    @abstractmethod
    def read(
        self, trajectory: int, frames: slice, channels: Sequence[int]
    ) -> Float32[np.ndarray, "T C *S"]:
        """The given frames and channels of a trajectory; NaN where a value is missing."""

    def read_exactly(
        self, trajectory: int, frames: slice, channels: Sequence[int]
    ) -> Float64[np.ndarray, "T C *S"]:
        """The same in double precision, as exactly as the file has it."""
        return self.read(trajectory, frames, channels).astype(np.float64)

    @abstractmethod
    def constants(self, trajectory: int) -> Float32[np.ndarray, "K *S"]:
        """The constant fields of a trajectory."""

    def mask(self, trajectory: int) -> Bool[np.ndarray, "C *S"] | None:
        """True where the fields of a trajectory are predicted; None: wherever they are not NaN."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Give the file back; the next access opens it again."""


def require_prescribed(
    where: str, fields: Collection[str], series: Collection[str], prescribed: Sequence[str]
) -> None:
    """Refuse prescribed fields that are not there.

    Args:
        where: what has the fields, for messages.
        fields: names of all that varies in time.
        series: names of scalars that vary in time.
        prescribed: what should be known at all times.

    Raises:
        ValueError: there is no such name, or one is there twice.
    """
    known = [*fields, *series]
    for name in prescribed:
        if name not in known:
            raise ValueError(
                f"prescribed: {where} has nothing named {name!r} that varies in time"
                f"{nearest(name, known)}"
            )
        if [*prescribed].count(name) > 1:
            raise ValueError(f"prescribed: {name!r} is there twice")
