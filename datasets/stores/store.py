"""A store: a set of files of one layout, read as one dataset."""

from __future__ import annotations

import copy
import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from ..fields.vocabulary import SPLITS
from ..fields.window import Window
from ..layouts.source import Source
from .agreement import check_sources
from .cutting import Span, cut
from .files import Files
from .prescribing import predicted, prescribed
from .timeline import Timelines
from .trajectories import Trajectories
from .values import Values

if TYPE_CHECKING:
    import xarray


class Store(Trajectories):
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
        holes: what becomes of values missing in some frames only; see `layouts.source.Header`.
        prescribed: what varies in time, is known at all times and not predicted, as the fields of a
            store of the same trajectories; None: nothing. It is not among `fields`.
        endless: whether every epoch has trajectories of its own.
    """

    endless: bool = False

    def __init__(self, sources: Sequence[tuple[str, Source]]) -> None:
        ordered = _ordered(sources)
        self.sources = [source for _, source in ordered]
        check_sources(self.sources)
        self.splits = _ranges([(split, len(source)) for split, source in ordered])
        self._files = Files([predicted(source) for source in self.sources])
        self.prescribed = _prescribed(ordered)
        self._values = Values(self._files)
        self._timelines = Timelines(self.sources)
        self.first, self.dt = self._timelines.first, self._timelines.dt
        self.times = self.trajectory_times(0)
        self._take_names()

    def _take_names(self) -> None:
        header = self._files.header
        self.name, self.fields = header.name, header.fields
        self.grid, self.axes = header.grid, header.axes
        self.constant_fields, self.parameter_names = header.constant_fields, header.parameter_names
        self.units, self.provenance, self.holes = header.units, header.provenance, header.holes
        self.inputs = _inputs(self.sources)

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
        return _summary(self)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(_summary(self))}</pre>"

    def whole_frames(self, i: int) -> Bool[np.ndarray, " T"] | None:
        """Which frames of trajectory i have no holes; None where holes are refused."""
        whole = self._values.whole_frames(i)
        if self.prescribed is None or whole is None:
            return whole
        given = self.prescribed.whole_frames(i)
        return whole if given is None else whole & given

    def parameters(self, i: int) -> Float[Tensor, " P"] | None:
        """Parameters of trajectory i, or None if there are none.

        Raises:
            ValueError: a value is NaN or infinite.
        """
        return self._values.parameters(i) if self.parameter_names else None

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
        return self._files.origin(i)

    def source_of(self, i: int) -> tuple[Source, int]:
        """The source of trajectory i, and its number in it."""
        return self._files.source_of(i)

    def over(self, sources: Sequence[Source]) -> Store:
        """The same store over other sources of the same trajectories, under the sources' names."""
        store = copy.copy(self)
        store.sources, store._files = [*sources], Files([predicted(each) for each in sources])
        store._values = self._values.over(store._files)
        if self.prescribed is not None:
            store.prescribed = self.prescribed.over([prescribed(each) for each in sources])
        store._take_names()
        return store


def _prescribed(parts: Sequence[tuple[str, Source]]) -> Store | None:
    """What is prescribed of split and source of all files, as a store of its own."""
    first = parts[0][1]
    if not first.header.prescribed:
        return None
    if all(source.header.n_frames == 1 for _, source in parts):
        raise ValueError(
            f"{first.path}: prescribed fields change in time, and there are single frames only: "
            "name them as constants"
        )
    return Store([(split, prescribed(source)) for split, source in parts])


def _ordered(sources: Sequence[tuple[str, Source]]) -> list[tuple[str, Source]]:
    """Split and source of all files by split; those of a single file keep its order."""
    if len({source.path for _, source in sources}) == 1:
        return [*sources]
    return sorted(sources, key=lambda item: [*SPLITS, item[0]].index(item[0]))


def _inputs(sources: Sequence[Source]) -> tuple[str, ...]:
    """The input fields where the problem is steady."""
    if any(source.header.n_frames != 1 for source in sources):
        return ()
    return tuple(k for k in sources[0].header.constant_fields if not k.startswith("coordinate_"))


def _summary(store: Store) -> str:
    frames = sorted({source.header.n_frames for source in store.sources})
    grid, shape = store.grid, " × ".join(map(str, store.grid.shape))
    every = "" if store.dt is None or store.steady else f", {store.dt:g} apart"
    lines = (
        f"{type(store).__name__} {store.name!r}",
        f"fields: {', '.join(store.fields)}",
        f"with: {', '.join((*store.constant_fields, *store.parameter_names))}",
        f"prescribed: {', '.join(store.prescribed.fields if store.prescribed else ())}",
        f"grid: {shape} points, lengths {grid.lengths}, {', '.join(grid.boundary)}",
        f"frames: {' to '.join(map(str, frames[:1] + frames[1:][-1:]))}{every}",
        f"splits: {', '.join(f'{k} {len(part)}' for k, part in store.splits.items())}",
    )
    return "\n  ".join(line for line in lines if not line.endswith(": "))


def _ranges(counts: Sequence[tuple[str, int]]) -> dict[str, range]:
    """Split -> range of trajectories, from consecutive (split, number of trajectories)."""
    ranges: dict[str, range] = {}
    start = 0
    for split, count in counts:
        ranges[split] = range(ranges[split].start if split in ranges else start, start + count)
        start += count
    return {name: ranges[name] for name in dict.fromkeys([*SPLITS, *ranges]) if name in ranges}
