"""A store: a set of files of one layout, read as one dataset."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64
from torch import Tensor

from ..fields.vocabulary import SPLITS
from ..fields.window import Window
from ..layouts.source import Source
from .agreement import check_agreement, check_names
from .cutting import Span, cut
from .failures import check_memory, naming
from .files import Files
from .finite import Finite
from .missing import Gaps, fill_constants, find_gaps
from .timeline import Timeline, Timelines, stretches

if TYPE_CHECKING:
    import xarray


class Store:
    """Trajectories of all files of a dataset, with one set of fields on one grid.

    Trajectory i has frames (T, C, *S). Values are in physical units, single precision. The store
    holds at most `files.MAX_OPEN` files open, opens them on first use in each process, and can be
    pickled, so that it serves data-loader workers.

    Where every trajectory is a single frame and there are constant fields, the dataset is a steady
    problem: its windows go from the constant fields to the fields.

    Attributes:
        name: the dataset's name.
        fields: names of the C channels.
        constant_fields: names of the K fields that do not vary in time.
        parameter_names: names of the P parameters.
        units: name of a field or parameter, "time" or "length" -> unit, where known.
        grid: the spatial grid.
        times: physical times of the first trajectory's frames, (T,).
        first: the frame from which on frames are `dt` apart: 0, or 1 where only the first interval
            of every trajectory differs, as where an initial state is kept before a warm-up.
            Training windows begin there.
        dt: time between frames where it is uniform and the same in all trajectories (up to one
            part in 10⁵, and within a trajectory as in `grid.spacing`), else None. Frames may be
            missing, a whole number of steps; no window crosses such a gap (`stretches`).
        splits: split -> the range of its trajectories, in the order train, valid, test. The
            trajectories of a single file keep its order, those of several are sorted by split.
        provenance: how the data were made, as the first file says.
        inputs: of a steady problem, the names of the input fields: its constant fields without
            coordinates (`coordinate_x`, …); else ().
        sources: the files, in order of their trajectories.
        holes: what is done with values that are missing in some frames only: "refuse", or "skip",
            which leaves out the windows that touch them (see `missing`).
        endless: whether every epoch has trajectories of its own.
    """

    endless: bool = False

    def __init__(self, sources: Sequence[tuple[str, Source]]) -> None:
        ordered = list(sources)
        if len({source.path for _, source in ordered}) > 1:  # one file's order is kept
            ordered.sort(key=lambda item: [*SPLITS, item[0]].index(item[0]))
        self.sources = [source for _, source in ordered]
        first = self.sources[0]
        check_names(first)
        for source in self.sources[1:]:
            check_agreement(first, source)
        self._files = Files(self.sources)
        self._finite = Finite(self.sources)
        # Where values are missing, of trajectories that were seen to lack some.
        self._gaps: dict[int, Gaps] = {}
        header = first.header
        self.holes: Literal["refuse", "skip"] = header.holes
        self.name, self.fields, self.grid = header.name, header.fields, header.grid
        self.constant_fields, self.parameter_names = header.constant_fields, header.parameter_names
        self.units, self.provenance, self.axes = header.units, header.provenance, header.axes
        self.splits = _ranges([(split, len(source)) for split, source in ordered])
        self.times = self.trajectory_times(0)
        self._timelines = Timelines(self.sources)
        self.first, self.dt = self._timelines.first, self._timelines.dt
        single = all(source.header.n_frames == 1 for source in self.sources)
        inputs = tuple(k for k in self.constant_fields if not k.startswith("coordinate_"))
        self.inputs = inputs if single else ()

    def epoch(self, number: int, streams: int = 1) -> Store:
        """The trajectories of an epoch: of a stored dataset the same in each.

        Args:
            number: the epoch.
            streams: in which the epochs are used; epoch e is of stream e mod `streams`.
        """
        return self

    @property
    def steady(self) -> bool:
        """Whether the problem is steady: input fields → fields, no time."""
        return bool(self.inputs)

    def __len__(self) -> int:
        return self._files.count

    def __repr__(self) -> str:
        frames = sorted({source.header.n_frames for source in self.sources})
        shape = " × ".join(map(str, self.grid.shape))
        every = "" if self.dt is None or self.steady else f", {self.dt:g} apart"
        lines = (
            f"{type(self).__name__} {self.name!r}",
            f"fields: {', '.join(self.fields)}",
            f"with: {', '.join((*self.constant_fields, *self.parameter_names))}",
            f"grid: {shape} points, lengths {self.grid.lengths}, {', '.join(self.grid.boundary)}",
            f"frames: {' to '.join(map(str, frames[:1] + frames[1:][-1:]))}{every}",
            f"splits: {', '.join(f'{k} {len(part)}' for k, part in self.splits.items())}",
        )
        return "\n  ".join(line for line in lines if not line.endswith(": "))

    def n_frames(self, i: int) -> int:
        """Number of frames of trajectory i."""
        return self.source_of(i)[0].header.n_frames

    def trajectory_times(self, i: int) -> Float64[np.ndarray, " T"]:
        """Physical times of the frames of trajectory i."""
        source, local = self.source_of(i)
        times = source.header.times
        return times if times.ndim == 1 else times[local]

    def timeline(self, i: int) -> Timeline:
        """The time step of trajectory i, and where frames of it are missing."""
        return self._timelines(*self._place(i))

    def stretches(self, i: int) -> list[range]:
        """The frames of trajectory i, from `first` on, in ranges in which none is missing."""
        return stretches(self.n_frames(i), self.first, self.timeline(i).breaks)

    def trajectory(self, i: int) -> Float[Tensor, "T C *S"]:
        """All frames of trajectory i."""
        return self.read(i, 0, self.n_frames(i))

    def read(self, i: int, start: int, stop: int, step: int = 1) -> Float[Tensor, "T C *S"]:
        """Frames start, start + step, … before `stop` of trajectory i; only these are read.

        What the mask leaves out and the file does not hold is filled (see `missing`).

        Raises:
            ValueError: there are no such frames, or a value that is not masked is NaN or infinite.
        """
        if not (0 <= start <= stop <= self.n_frames(i) and step > 0):
            raise ValueError(
                f"trajectory {i} of {self.name!r} has frames 0 to {self.n_frames(i) - 1}; "
                f"got start {start}, stop {stop}, step {step}"
            )
        frames = torch.from_numpy(self.read_raw(i, slice(start, stop, step)))
        gaps = self._gaps.get(i)
        if gaps is None:
            place = self._files.locate(i)
            if self._finite.first_bad(place, slice(start, stop, step), frames) is None:
                return frames
            gaps = self._find_gaps(i)
        hole = gaps.hole(frames)
        if hole is not None:
            frame, field = start + hole[0] * step, self.fields[hole[1]]
            raise ValueError(self._not_finite(i, f"{field!r} at frame {frame}", frame, hole[2]))
        return gaps.filled(frames, self.fields, self.source_of(i)[0].header.mask_fill)

    def read_raw(
        self, i: int, frames: slice, channels: Sequence[int] | None = None
    ) -> Float32[np.ndarray, "T C *S"]:
        """As `read`, for the given channels, without looking at the values: NaN where missing.

        Raises:
            ValueError: the file is damaged, or this is more than the memory that is available.
        """
        file, local = self._place(i)
        source = self._files.use(file)
        channels = range(len(self.fields)) if channels is None else channels
        count = len(range(source.header.n_frames)[frames])
        check_memory(4 * count * len(channels) * math.prod(self.grid.shape), self.origin, i)
        with naming(source.path):
            return source.read(local, frames, channels)

    def constants(self, i: int) -> Float[Tensor, "K *S"] | None:
        """Constant fields of trajectory i, or None if there are none.

        Raises:
            ValueError: a value is NaN or infinite.
        """
        if not self.constant_fields:
            return None
        values = torch.from_numpy(self.constants_raw(i))
        bad = self._finite.first_bad_constant(i, values)
        if bad is not None:
            values = fill_constants(values, self.mask(i))
            bad = self._finite.first_bad_constant(i, values, remember=False)
        if bad is not None:
            name = self.constant_fields[bad]
            raise ValueError(self._not_finite(i, f"the constant field {name!r}"))
        return values

    def holds_all_constants(self, i: int) -> bool:
        """Whether the constant fields of trajectory i, read before, have no missing values."""
        return self._finite.seen_constants(i)

    def constants_raw(self, i: int) -> Float32[np.ndarray, "K *S"]:
        """As `constants`, an empty array if there are none, without looking at the values."""
        file, local = self._place(i)
        source = self._files.use(file)
        with naming(source.path):
            return source.constants(local)

    def mask(self, i: int) -> Bool[Tensor, "C *S"] | None:
        """Where the fields of trajectory i are predicted; None: everywhere."""
        place = self._files.locate(i)
        if i not in self._gaps and not self._finite.seen(place, 0) and self._stated(i) is None:
            first = torch.from_numpy(self.read_raw(i, slice(0, 1)))
            if self._finite.first_bad(place, slice(0, 1, 1), first) is not None:
                self._find_gaps(i)
        return self.mask_after_reading(i)

    def mask_after_reading(self, i: int) -> Bool[Tensor, "C *S"] | None:
        """As `mask`, of a trajectory that frames have been read of: had they no NaN, no other is
        read to know that the file states a mask or there is none.
        """
        stated = self._stated(i)
        if stated is not None or i not in self._gaps:
            return stated
        valid = self._gaps[i].valid
        return None if valid.all() else valid.clone()

    def gaps(self, i: int) -> Gaps | None:
        """Where the values of trajectory i are missing; None where it is not known to lack any."""
        return self._gaps.get(i)

    def whole_frames(self, i: int) -> Bool[np.ndarray, " T"] | None:
        """Which frames of trajectory i have no holes; None where holes are refused."""
        if self.holes != "skip":
            return None
        return (self._gaps.get(i) or self._find_gaps(i)).whole

    def _find_gaps(self, i: int) -> Gaps:
        self._gaps[i] = find_gaps(self, i, self._stated(i))
        return self._gaps[i]

    def _stated(self, i: int) -> Bool[Tensor, "C *S"] | None:
        """The mask that the file of trajectory i states."""
        file, local = self._place(i)
        source = self._files.use(file)
        with naming(source.path):
            values = source.mask(local)
        return None if values is None else torch.from_numpy(values)

    def parameters(self, i: int) -> Float[Tensor, " P"] | None:
        """Parameters of trajectory i, or None if there are none.

        Raises:
            ValueError: a value is NaN or infinite.
        """
        if not self.parameter_names:
            return None
        source, local = self.source_of(i)
        values = torch.from_numpy(source.header.parameters[local]).float()
        for name, value in zip(self.parameter_names, values.tolist(), strict=True):
            if not math.isfinite(value):
                raise ValueError(self._not_finite(i, f"the parameter {name!r}"))
        return values

    def parameter_table(self) -> Float64[np.ndarray, "n P"]:
        """Parameters of all trajectories, in double precision."""
        return np.concatenate([source.header.parameters for source in self.sources])

    def window(
        self, i: int, start: int = 0, history: int = 1, horizon: int = 1, stride: int = 1
    ) -> Window:
        """History frames start, start + stride, …, then `horizon` target frames at that stride.

        Lead times are physical and count from the last history frame. The window's `dt` is the
        time between its history frames; None for a single one, or where its times are irregular.
        With `horizon` 0 it holds a history to forecast from, and no target. The window of a steady
        problem has the input fields as its history, and the fields at the lead time 1.

        Raises:
            ValueError: the trajectory is too short, or as in `read`.
        """
        return cut(self, i, Span(start, history, horizon, stride))

    def to_xarray(self) -> xarray.Dataset:
        """All trajectories as one lazy `xarray.Dataset`; see `xarray_view.to_xarray`."""
        from .xarray_view import to_xarray  # on use: xarray takes longer to load than the rest

        return to_xarray(self)

    def origin(self, i: int) -> tuple[Path, int]:
        """The file of trajectory i, and its number in that file."""
        source, local = self.source_of(i)
        return source.path, source.header.rows[local]

    def source_of(self, i: int) -> tuple[Source, int]:
        """The source of trajectory i, and its number in it."""
        file, local = self._place(i)
        return self.sources[file], local

    def _place(self, i: int) -> tuple[int, int]:
        """The number of the source of trajectory i, and its number in it."""
        if not 0 <= i < self._files.count:
            raise ValueError(f"{self.name!r} has trajectories 0 to {len(self) - 1}; got {i}")
        return self._files.locate(i)

    def over(self, sources: Sequence[Source]) -> Store:
        """The same store over other sources of the same trajectories."""
        store = copy.copy(self)
        store.sources, store._files = [*sources], Files(sources)
        return store

    def _not_finite(
        self,
        i: int,
        what: str,
        frame: int | None = None,
        fault: str = "holds NaN or infinite values",
    ) -> str:
        path, local = self.origin(i)
        when = "" if frame is None else f" (time {self.trajectory_times(i)[frame]:g})"
        remedy = "repair or leave out this trajectory"
        if frame is not None and self.holes == "refuse":
            remedy += ", or the windows that touch such frames by `holes: skip`"
        return f"{path}: {what}{when} of trajectory {local} {fault}; {remedy}"


def _ranges(counts: Sequence[tuple[str, int]]) -> dict[str, range]:
    """Split -> range of trajectories, from consecutive (split, number of trajectories)."""
    ranges: dict[str, range] = {}
    start = 0
    for split, count in counts:
        ranges[split] = range(ranges[split].start if split in ranges else start, start + count)
        start += count
    return {name: ranges[name] for name in dict.fromkeys([*SPLITS, *ranges]) if name in ranges}
