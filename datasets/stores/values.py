"""The values of a store as they are used: looked at once, and filled where they are masked."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .files import Files
from .finite import Finite
from .missing import Gaps, fill_constants, find_gaps


class Values:
    """Frames, constant fields, parameters and masks of trajectories, without NaN.

    What was seen of a trajectory is remembered: which of its frames are finite, and where its
    values are missing (see `missing`).

    Args:
        files: what they are read from; the header says whether holes are refused.
    """

    def __init__(self, files: Files) -> None:
        self._files, self._header = files, files.header
        self._finite = Finite(files.sources)
        # Where values are missing, of trajectories that were seen to lack some.
        self._gaps: dict[int, Gaps] = {}
        # Of these, the frames that were seen to have no holes.
        self._unbroken: dict[int, Bool[np.ndarray, " T"]] = {}

    def over(self, files: Files) -> Values:
        """The same values, read from other files; what was seen of them holds there, too."""
        values = copy.copy(self)
        values._files, values._header = files, files.header
        if files.header.holes != self._header.holes:  # more is known of gaps where they are skipped
            values._gaps, values._unbroken = {}, {}
        return values

    def read(self, i: int, start: int, stop: int, step: int = 1) -> Float[Tensor, "T C *S"]:
        """Frames start, start + step, … before `stop` of trajectory i.

        Raises:
            ValueError: there are no such frames, or a value that is not masked is NaN or infinite.
        """
        count = self._files.n_frames(i)
        if not (0 <= start <= stop <= count and step > 0):
            raise ValueError(
                f"trajectory {i} of {self._header.name!r} has frames 0 to {count - 1}; "
                f"got start {start}, stop {stop}, step {step}"
            )
        frames = slice(start, stop, step)
        if self._header.holes == "mask" and i not in self._gaps:
            self._find_gaps(i)  # whatever these frames hold
        values = torch.from_numpy(self._files.read(i, frames))
        gaps = self._gaps.get(i)
        if gaps is None:
            if self._finite.first_bad(self._files.locate(i), frames, values) is None:
                return values
            gaps = self._find_gaps(i)
        fields = self._header.fields
        seen = self._unbroken.setdefault(i, np.zeros(count, bool))[frames]
        hole = None if seen.all() else gaps.hole(values)
        if hole is not None:
            frame, field = start + hole[0] * step, fields[hole[1]]
            raise ValueError(self._not_finite(i, f"{field!r} at frame {frame}", frame, hole[2]))
        seen[:] = True
        return gaps.filled(values, fields, self._files.source_of(i)[0].header.mask_fill)

    def with_holes(self, i: int, frame: int) -> Float[Tensor, "C *S"]:
        """A frame of trajectory i, filled where it is masked, and NaN where it has holes.

        Raises:
            ValueError: a value is infinite.
        """
        values = torch.from_numpy(self._files.read(i, slice(frame, frame + 1)))
        if torch.isinf(values).any():
            return self.read(i, frame, frame + 1)[0]  # says where
        mask = self.mask(i)
        if mask is None:
            return values[0]
        fill = self._files.source_of(i)[0].header.mask_fill
        filled = Gaps(mask, stated=True).filled(values.clone(), self._header.fields, fill)
        return torch.where(mask, values, filled)[0]

    def constants(self, i: int) -> Float[Tensor, "K *S"]:
        """The constant fields of trajectory i.

        Raises:
            ValueError: a value that is not masked is NaN or infinite.
        """
        values = torch.from_numpy(self._files.constants(i))
        bad = self._finite.first_bad_constant(i, values)
        if bad is not None:
            values = fill_constants(values, self.mask(i))
            bad = self._finite.first_bad_constant(i, values, remember=False)
        if bad is not None:
            name = self._header.constant_fields[bad]
            raise ValueError(self._not_finite(i, f"the constant field {name!r}"))
        return values

    def holds_all_constants(self, i: int) -> bool:
        """Whether the constant fields of trajectory i, read before, have no missing values."""
        return self._finite.seen_constants(i)

    def parameters(self, i: int) -> Float[Tensor, " P"]:
        """The parameters of trajectory i.

        Raises:
            ValueError: a value is NaN or infinite.
        """
        source, local = self._files.source_of(i)
        values = torch.from_numpy(source.header.parameters[local]).float()
        for name, value in zip(self._header.parameter_names, values.tolist(), strict=True):
            if not math.isfinite(value):
                raise ValueError(self._not_finite(i, f"the parameter {name!r}"))
        return values

    def mask(self, i: int) -> Bool[Tensor, "C *S"] | None:
        """Where the fields of trajectory i are predicted; None: everywhere."""
        place = self._files.locate(i)
        if self._header.holes == "mask" and i not in self._gaps:
            self._find_gaps(i)
        elif (
            i not in self._gaps and not self._finite.seen(place, 0) and self._files.mask(i) is None
        ):
            first = torch.from_numpy(self._files.read(i, slice(0, 1)))
            if self._finite.first_bad(place, slice(0, 1, 1), first) is not None:
                self._find_gaps(i)
        return self.mask_after_reading(i)

    def mask_after_reading(self, i: int) -> Bool[Tensor, "C *S"] | None:
        """The same of a trajectory that frames have been read of; reads no frame."""
        stated = self._files.mask(i)
        masked = self._header.holes == "mask" and i in self._gaps
        if not masked and (stated is not None or i not in self._gaps):
            return stated
        valid = self._gaps[i].valid
        return None if valid.all() else valid.clone()

    def gaps(self, i: int) -> Gaps | None:
        """Where the values of trajectory i are missing; None where it is not known to lack any."""
        return self._gaps.get(i)

    def whole_frames(self, i: int) -> Bool[np.ndarray, " T"] | None:
        """Which frames of trajectory i have no holes; None where holes are refused."""
        if self._header.holes != "skip":
            return None
        return (self._gaps.get(i) or self._find_gaps(i)).whole

    def _find_gaps(self, i: int) -> Gaps:
        self._gaps[i] = find_gaps(self._files, i)
        return self._gaps[i]

    def _not_finite(
        self,
        i: int,
        what: str,
        frame: int | None = None,
        fault: str = "holds NaN or infinite values",
    ) -> str:
        path, local = self._files.origin(i)
        when = "" if frame is None else f" (time {self._files.times(i)[frame]:g})"
        remedy = "repair or leave out this trajectory"
        if frame is not None and self._header.holes == "refuse":
            remedy += (
                ", or the windows that touch such frames by `holes: skip`, or these points by "
                "`holes: mask`"
            )
        return f"{path}: {what}{when} of trajectory {local} {fault}; {remedy}"
