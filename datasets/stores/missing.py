"""Missing values: NaN in the same places of every frame are a mask, any others are holes.

What is missing in the first frame of a trajectory decides; where holes are skipped, what is missing
in all of its frames; where they are masked, what is missing in any. A source that says its mask
itself is believed, and NaN elsewhere are holes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .files import Files

BLOCK = 2**22  # values to hold at once
PADDED = "where shorter trajectories end so, write `padding: nan` in the description"


@dataclass(frozen=True)
class Gaps:
    """Where the values of a trajectory are missing.

    Attributes:
        valid: where they are there, in every frame.
        stated: whether the source says so, and may hold values elsewhere too.
        whole: frames without holes; None where holes are refused, as they are met.
    """

    valid: Bool[Tensor, "C *S"]
    stated: bool
    whole: Bool[np.ndarray, " T"] | None = None

    def hole(self, frames: Float[Tensor, "T C *S"]) -> tuple[int, int, str] | None:
        """Frame and channel of the first hole or infinite value, and what it is; None: neither."""
        missing = torch.isnan(frames)
        wrong = (missing & self.valid) | torch.isinf(frames)
        if not self.stated:
            wrong |= ~missing & ~self.valid
        if not wrong.any():
            return None
        frame, channel = torch.argwhere(wrong.flatten(2).any(-1))[0].tolist()
        bad = bool((wrong & ~torch.isfinite(frames))[frame, channel].any())
        what = "holds NaN or infinite values" if bad else "has values where frame 0 has none"
        if missing[frame, channel].all():
            what = f"holds NaN everywhere ({PADDED})"
        return frame, channel, what

    def filled(
        self, frames: Float[Tensor, "T C *S"], fields: tuple[str, ...], fill: Mapping[str, float]
    ) -> Float[Tensor, "T C *S"]:
        """The frames, changed in place, with a value for what is missing: 0 where `fill` names none
        for a field.
        """
        for channel, name in enumerate(fields):
            frames[:, channel].nan_to_num_(fill.get(name, 0.0), torch.inf, -torch.inf)
        return frames


def find_gaps(files: Files, i: int) -> Gaps:
    """Look where the values of trajectory i are missing.

    A field that is missing everywhere has no mask: nothing of it is there to be learned.

    Args:
        files: of the trajectory; their header says whether holes are skipped or masked.
        i: its number.
    """
    skip, stated = files.header.holes == "skip", files.mask(i)
    if files.header.holes == "mask":
        return _always_there(files, i, stated)
    missing = None if stated is None else ~stated.numpy()
    if missing is None:
        first = np.isnan(files.read(i, slice(0, 1))[0])
        missing = first
        for block in _blocks(files, i) if skip and first.any() else ():
            missing = missing & np.isnan(block).all(axis=0)
        everywhere = missing.reshape(len(missing), -1).all(axis=1)
        missing[everywhere] = False
    gaps = Gaps(torch.from_numpy(~missing), stated is not None)
    if not skip:
        return gaps
    frames = (torch.from_numpy(block[k : k + 1]) for block in _blocks(files, i)
              for k in range(len(block)))  # fmt: skip
    whole = np.array([gaps.hole(frame) is None for frame in frames])
    return Gaps(gaps.valid, gaps.stated, whole)


def _always_there(files: Files, i: int, stated: Tensor | None) -> Gaps:
    """What is missing in any frame of trajectory i is masked in all; others may hold values.

    A frame in which a field is missing everywhere says nothing about points: it is a hole.
    """
    shape = (len(files.header.fields), *files.header.grid.shape)
    missing = np.zeros(shape, bool)
    for block in _blocks(files, i):
        absent = np.isnan(block)
        if stated is not None:
            absent &= stated.numpy()
        there = ~absent.reshape(*absent.shape[:2], -1).all(axis=-1)
        missing |= (absent & there.reshape(*there.shape, *(1,) * (absent.ndim - 2))).any(axis=0)
    if stated is not None:
        missing |= ~stated.numpy()
    return Gaps(torch.from_numpy(~missing), stated=True)


def fill_constants(
    values: Float[Tensor, "K *S"], mask: Bool[Tensor, "C *S"] | None
) -> Float[Tensor, "K *S"]:
    """Constant fields with 0 for what is missing where no field is predicted."""
    if mask is None:
        return values
    return torch.where(torch.isnan(values) & ~mask.any(0), 0.0, values)


def _blocks(files: Files, i: int) -> Iterator[np.ndarray]:
    header = files.header
    step = max(1, BLOCK // (len(header.fields) * math.prod(header.grid.shape)))
    for start in range(0, files.n_frames(i), step):
        yield files.read(i, slice(start, start + step))
