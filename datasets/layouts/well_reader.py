"""The Well's files, 1D to 3D, read in place (`well` says what they hold)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32

from ..files.hdf5 import Hdf5File, metadata
from .layout import Layout
from .source import Source
from .well import MASK
from .well_contents import Channel, contents_of


class WellFile(Source):
    """One file of The Well, opened lazily; the metadata are read at once, the values on demand.

    Channels come in file order, scalars, then vectors, then tensors row by row; a component is
    named after its axes (`velocity_x`, `D_xy`). What is not stored along an axis is repeated.
    A field that does not vary in time is a constant field; so is the mask of a boundary inside
    the domain, as `<boundary>_mask`, unless a constant field has the same values.

    An axis of n points with spacing h has length n·h (our `length` attribute where given) and its
    origin at the first point. An axis of a curved grid (`grid_type` spherical or equiangular) may
    be uneven: its points are then numbered at their mean spacing, and its coordinates are the
    constant field `coordinate_<axis>`. An end of an axis has the kind of the boundary whose mask
    covers it entirely, and is "open" where there is none.

    Attributes:
        stored: the fields as they are stored.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = Hdf5File(path)
        with metadata(path, "The Well's layout") as file:
            self._contents = contents_of(file, self._file.array)
        self.header, self.stored = self._contents.header, self._contents.stored
        self.close()

    def read(
        self, trajectory: int, frames: slice, channels: Sequence[int]
    ) -> Float32[np.ndarray, "T C *S"]:
        """The given frames and channels of a trajectory, copied once out of the file."""
        count = len(range(self.header.n_frames)[frames])
        chosen = [self._contents.channels[channel] for channel in channels]
        return self._gather(chosen, trajectory, frames, (count,))

    def constants(self, trajectory: int) -> Float32[np.ndarray, "K *S"]:
        """The constant fields of a trajectory."""
        return self._gather(self._contents.constants, trajectory, slice(None), ())

    def mask(self, trajectory: int) -> Bool[np.ndarray, "C *S"] | None:
        """Where the fields of a trajectory are predicted; None: everywhere."""
        names = self._contents.mask
        if not names:
            return None
        self._file.require_unchanged()
        stored = np.array(self._file.array(MASK)[trajectory], dtype=bool)
        return stored[[names.index(name) for name in self.header.fields]]

    def close(self) -> None:
        """Give the file back; the next access opens it again."""
        self._file.close()

    def _gather(
        self, channels: Sequence[Channel], trajectory: int, frames: slice, lead: tuple[int, ...]
    ) -> np.ndarray:
        self._file.require_unchanged()
        out = np.empty((*lead, len(channels), *self.header.grid.shape), dtype=np.float32)
        by_channel = out.swapaxes(0, 1) if lead else out
        blocks: dict[str, np.ndarray] = {}
        for position, (stored, component) in enumerate(channels):
            if stored.path not in blocks:
                blocks[stored.path] = stored.block(self._file.array, trajectory, frames)
            by_channel[position] = blocks[stored.path][..., component]
        return out


def matches(path: Path) -> bool:
    """Whether a file has The Well's layout, by its contents."""
    try:
        with metadata(path) as file:
            return "dimensions" in file and any(f"t{order}_fields" in file for order in range(3))
    except ValueError:
        return False


def open_file(path: Path, split: str, variant: str = "") -> Mapping[str, WellFile]:
    """The file as the source of its folder's split.

    Raises:
        ValueError: as `WellFile`.
    """
    return {split: WellFile(path)}


LAYOUT = Layout("The Well", matches, open_file, folders=True)
