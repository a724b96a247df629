"""A store: a set of files of one layout, read as one dataset.

`open_store` detects the layout by content (see `layouts`).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import psutil
import torch
from jaxtyping import Bool, Float, Float32, Float64
from torch import Tensor

from . import guard, layouts, remote
from .arrays import ArraySource, divide
from .axes import spacing
from .fields import Context, Grid, Window
from .index import SMALLEST, Index, stat
from .layouts import SPLITS, UNSPLIT, Layout
from .progress import Bar

if TYPE_CHECKING:
    import xarray

LARGE = 2**30  # bytes that are read at once only if memory suffices
MANY = 1000  # files, the first reading of which shows its progress
SHORTEST = 5  # frames of a trajectory whose first interval may differ
MAX_OPEN = 32  # files held open at once, by each store


@runtime_checkable
class Source(Protocol):
    """Trajectories of one file; see `Store` for what the attributes mean.

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


def open_store(
    path: str | Path,
    split: str | None = None,
    layout: str | None = None,
    splits: Mapping[str, int | float] | None = None,
) -> Store:
    """Open a dataset's root, its `data` folder, one split's folder, or a single file.

    Args:
        path: what to open; every file in it must have the same layout, fields and grid. A URL that
            fsspec knows is staged locally first (see `remote`).
        split: "train", "valid" or "test"; None for all, in this order.
        layout: the layout, where its detection by content should not decide: one of `LAYOUTS`, with
            a variant as in "Poseidon:CE-KH", or the path of a description (see `described`).
        splits: other splits than those of the layout or the folders: name -> fraction or number of
            each file's trajectories, in the order of the file.

    Raises:
        ValueError: nothing is there, a file is truncated or has no known layout, the dataset is
            incomplete, files disagree, or there is no such split.
    """
    path = remote.stage(str(path), split) if remote.is_remote(path) else Path(path).absolute()
    try:
        return _open(path, split, layout, splits)
    except ValueError as error:  # names from a file may hold anything
        raise ValueError(guard.one_line(str(error))) from None


def _open(
    path: Path, split: str | None, layout: str | None, splits: Mapping[str, int | float] | None
) -> Store:
    given, variant = layouts.choose(layout) if layout else (None, "")
    files = layouts.find_files(path)
    available = dict.fromkeys(name for name, _ in files)
    anywhere = split is None or bool(splits)
    chosen = [(name, file) for name, file in files if anywhere or name in (split, UNSPLIT)]
    sources: list[tuple[str, Source]] = []
    for found in _sources_of(path, chosen, given, variant, splits):
        available.update(dict.fromkeys(found))
        sources += [item for item in found.items() if split in (None, item[0])]
    if not sources:
        raise ValueError(f"{path} has no split {split!r}; it has: {', '.join(available)}")
    return Store(sources)


class Store:
    """Trajectories of all files of a dataset, with one set of fields on one grid.

    Trajectory i has frames (T, C, *S). Values are in physical units, single precision. The store
    holds at most `MAX_OPEN` files open, opens them on first use in each process, and can be
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
            part in 10⁵, and within a trajectory as in `axes.spacing`), else None.
        splits: split -> the range of its trajectories, in the order train, valid, test. The
            trajectories of a single file keep its order, those of several are sorted by split.
        provenance: how the data were made, as the first file says.
        inputs: of a steady problem, the names of the input fields: its constant fields without
            coordinates (`coordinate_x`, …); else ().
        sources: the files, in order of their trajectories.
    """

    def __init__(self, sources: Sequence[tuple[str, Source]]) -> None:
        ordered = list(sources)
        if len({source.path for _, source in ordered}) > 1:  # one file's order is kept
            ordered.sort(key=lambda item: [*SPLITS, item[0]].index(item[0]))
        self.sources = [source for _, source in ordered]
        first = self.sources[0]
        _check_names(first)
        for source in self.sources[1:]:
            _check_agreement(first, source)
        self._ends = np.cumsum([len(source) for source in self.sources]).tolist()
        frames = [len(source) * source.times.shape[-1] for source in self.sources]
        self._first_frames = np.cumsum([0, *frames]).tolist()
        # Which frames and constant fields this process has seen to be finite: looking at values
        # takes half as long as reading them, and windows overlap.
        self._finite_frames = np.zeros(self._first_frames[-1], dtype=bool)
        self._finite_constants = np.zeros(self._ends[-1], dtype=bool)
        self._open: OrderedDict[int, None] = OrderedDict()
        self.name, self.fields, self.grid = first.name, first.fields, first.grid
        self.constant_fields, self.parameter_names = first.constant_fields, first.parameter_names
        self.units, self.provenance, self.axes = first.units, first.provenance, first.axes
        self.splits = _ranges([(split, len(source)) for split, source in ordered])
        self.times = self.trajectory_times(0)
        self.first, self.dt = _common_spacing(self.sources)
        single = all(source.times.shape[-1] == 1 for source in self.sources)
        inputs = tuple(k for k in self.constant_fields if not k.startswith("coordinate_"))
        self.inputs = inputs if single else ()

    @property
    def steady(self) -> bool:
        """Whether the problem is steady: input fields → fields, no time."""
        return bool(self.inputs)

    def __len__(self) -> int:
        return self._ends[-1]

    def n_frames(self, i: int) -> int:
        """Number of frames of trajectory i."""
        return self.sources[self._locate(i)[0]].times.shape[-1]

    def trajectory_times(self, i: int) -> Float64[np.ndarray, " T"]:
        """Physical times of the frames of trajectory i."""
        file, local = self._locate(i)
        times = self.sources[file].times
        return times if times.ndim == 1 else times[local]

    def trajectory(self, i: int) -> Float[Tensor, "T C *S"]:
        """All frames of trajectory i."""
        return self.read(i, 0, self.n_frames(i))

    def read(self, i: int, start: int, stop: int, step: int = 1) -> Float[Tensor, "T C *S"]:
        """Frames start, start + step, … before `stop` of trajectory i; only these are read.

        Raises:
            ValueError: there are no such frames, or a value is NaN or infinite.
        """
        if not (0 <= start <= stop <= self.n_frames(i) and step > 0):
            raise ValueError(
                f"trajectory {i} of {self.name!r} has frames 0 to {self.n_frames(i) - 1}; "
                f"got start {start}, stop {stop}, step {step}"
            )
        frames = torch.from_numpy(self.read_raw(i, slice(start, stop, step)))
        file, local = self._locate(i)
        first = self._first_frames[file] + local * self.sources[file].times.shape[-1]
        seen = self._finite_frames[first + start : first + stop : step]
        if not seen.all():
            if not torch.isfinite(frames.sum()) and not torch.isfinite(frames).all():
                bad = torch.argwhere(~torch.isfinite(frames))[0]
                frame, field = start + int(bad[0]) * step, self.fields[int(bad[1])]
                raise ValueError(self._not_finite(i, f"{field!r} at frame {frame}", frame))
            seen[:] = True
        return frames

    def read_raw(
        self, i: int, frames: slice, channels: Sequence[int] | None = None
    ) -> Float32[np.ndarray, "T C *S"]:
        """As `read`, for the given channels, without looking at the values.

        Raises:
            ValueError: the file is damaged, or this is more than the memory that is available.
        """
        file, local = self._locate(i)
        channels = range(len(self.fields)) if channels is None else channels
        count = len(range(self.sources[file].times.shape[-1])[frames])
        _check_memory(4 * count * len(channels) * math.prod(self.grid.shape), self.origin, i)
        with _naming(self.sources[file].path):
            return self._source(file).read(local, frames, channels)

    def constants(self, i: int) -> Float[Tensor, "K *S"] | None:
        """Constant fields of trajectory i, or None if there are none.

        Raises:
            ValueError: a value is NaN or infinite.
        """
        if not self.constant_fields:
            return None
        values = torch.from_numpy(self.constants_raw(i))
        if not self._finite_constants[i]:
            bad = torch.argwhere(~torch.isfinite(values))
            if len(bad):
                field = self.constant_fields[int(bad[0, 0])]
                raise ValueError(self._not_finite(i, f"the constant field {field!r}"))
            self._finite_constants[i] = True
        return values

    def constants_raw(self, i: int) -> Float32[np.ndarray, "K *S"]:
        """As `constants`, an empty array if there are none, without looking at the values."""
        file, local = self._locate(i)
        with _naming(self.sources[file].path):
            return self._source(file).constants(local)

    def mask(self, i: int) -> Bool[Tensor, "C *S"] | None:
        """Where the fields of trajectory i are predicted; None: everywhere."""
        file, local = self._locate(i)
        mask = getattr(self.sources[file], "mask", None)  # of a `MaskedSource`
        if mask is None:
            return None
        with _naming(self.sources[file].path):
            self._source(file)
            values = mask(local)
        return None if values is None else torch.from_numpy(values)

    def parameters(self, i: int) -> Float[Tensor, " P"] | None:
        """Parameters of trajectory i, or None if there are none.

        Raises:
            ValueError: a value is NaN or infinite.
        """
        if not self.parameter_names:
            return None
        file, local = self._locate(i)
        values = torch.from_numpy(self.sources[file].parameters[local]).float()
        for name, value in zip(self.parameter_names, values.tolist(), strict=True):
            if not math.isfinite(value):
                raise ValueError(self._not_finite(i, f"the parameter {name!r}"))
        return values

    def parameter_table(self) -> Float64[np.ndarray, "n P"]:
        """Parameters of all trajectories, in double precision."""
        return np.concatenate([source.parameters for source in self.sources])

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
        if self.steady:
            return self._steady_window(i, start, history, horizon, stride)
        stop = start + stride * (history + horizon - 1) + 1
        if min(history, horizon + 1, stride) < 1 or start < 0 or stop > self.n_frames(i):
            raise ValueError(
                f"no window of {history} history and {horizon} target frames at stride {stride} "
                f"from frame {start}: trajectory {i} has {self.n_frames(i)} frames"
            )
        frames = self.read(i, start, stop, stride)
        times = self.trajectory_times(i)[start:stop:stride]
        uniform = self.dt is not None and start >= self.first
        common = self.dt if uniform else spacing(self.trajectory_times(i))
        step = spacing(times) if common is None else stride * common
        lead = times[history:] - times[history - 1]
        if step is not None:
            lead = step * np.arange(1, horizon + 1)
        return Window(
            frames[:history],
            frames[history:],
            torch.from_numpy(lead.astype(np.float32)),
            self._context(i, None if history == 1 else step),
        )

    def _steady_window(self, i: int, start: int, history: int, horizon: int, stride: int) -> Window:
        """The input fields as one history frame → the fields, at the lead time 1."""
        if (start, history, stride) != (0, 1, 1) or horizon not in (0, 1):
            raise ValueError(
                f"{self.name!r} is a steady problem ({', '.join(self.inputs)} → "
                f"{', '.join(self.fields)}): its windows have 1 history and 1 target frame at "
                f"stride 1; got {history} and {horizon} at stride {stride} from frame {start}"
            )
        context = self._context(i, None)
        assert context.constants is not None
        index = [self.constant_fields.index(name) for name in self.inputs]
        return Window(
            context.constants[index].unsqueeze(0),
            self.read(i, 0, horizon),
            torch.ones(horizon),
            replace(context, inputs=self.inputs),
        )

    def _context(self, i: int, dt: float | None) -> Context:
        """What stays the same along trajectory i, whose history frames are `dt` apart."""
        return Context(
            fields=self.fields,
            grid=self.grid,
            dt=dt,
            dataset=self.name,
            constants=self.constants(i),
            constant_fields=self.constant_fields,
            parameters=self.parameters(i),
            parameter_names=self.parameter_names,
            mask=self.mask(i),
        )

    def to_xarray(self) -> xarray.Dataset:
        """All trajectories as one lazy `xarray.Dataset`; see `lazy.to_xarray`."""
        from .lazy import to_xarray  # imported on use: xarray takes longer to load than the rest

        return to_xarray(self)

    def origin(self, i: int) -> tuple[Path, int]:
        """The file of trajectory i, and its number in that file."""
        source, local = self.source_of(i)
        return source.path, _row(source, local)

    def source_of(self, i: int) -> tuple[Source, int]:
        """The source of trajectory i, and its number in it."""
        file, local = self._locate(i)
        return self.sources[file], local

    def _locate(self, i: int) -> tuple[int, int]:
        """File and index in it of trajectory i."""
        if not 0 <= i < len(self):
            raise ValueError(f"{self.name!r} has trajectories 0 to {len(self) - 1}; got {i}")
        file = bisect_right(self._ends, i)
        return file, i - self._ends[file] + len(self.sources[file])

    def _source(self, file: int) -> Source:
        """The source of a file that is about to be read; closes the one used longest ago."""
        self._open[file] = None
        self._open.move_to_end(file)
        if len(self._open) > MAX_OPEN:
            self.sources[self._open.popitem(last=False)[0]].close()
        return self.sources[file]

    def _not_finite(self, i: int, what: str, frame: int | None = None) -> str:
        path, local = self.origin(i)
        when = "" if frame is None else f" (time {self.trajectory_times(i)[frame]:g})"
        return (
            f"{path}: {what}{when} of trajectory {local} holds NaN or infinite "
            f"values; repair or leave out this trajectory"
        )


def _check_memory(size: int, origin: Callable[[int], tuple[Path, int]], i: int) -> None:
    """Refuse to read what the system would kill this process for."""
    if size < LARGE:
        return
    available = psutil.virtual_memory().available
    if size > available:
        path, local = origin(i)
        raise ValueError(
            f"{path}: what is read at once of trajectory {local} takes {size / 2**30:.3g} GiB, and "
            f"{available / 2**30:.3g} GiB of memory are available; read fewer frames"
        )


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn a failure to read into a ValueError that names the file."""
    try:
        yield
    except MemoryError:
        raise ValueError(f"{path} declares more than fits into memory; is it damaged?") from None
    except ValueError as error:
        if str(path) in str(error) or layouts.described.FILE in str(error):
            raise
        raise ValueError(guard.one_line(f"{path}: {error}")) from None
    except PermissionError:
        raise ValueError(f"{path} may not be read; ask for permission to read it") from None
    except (OSError, RuntimeError, KeyError, TypeError, SystemError) as error:
        # Of HDF5 and of decompression, whose extensions trip over damaged lengths.
        reason = guard.one_line(str(error))
        raise ValueError(f"{path} is damaged ({reason}); copy or make it again") from None


def _sources_of(
    path: Path,
    files: Sequence[tuple[str, Path]],
    given: Layout | None,
    variant: str,
    splits: Mapping[str, int | float] | None,
) -> Iterator[Mapping[str, Source]]:
    """The sources of every file by split; those of many files come from an index of `path`.

    Raises:
        ValueError: a file cannot be read, or has another layout than the first.
    """
    detected = given is None and not splits
    detected &= not (files and layouts.described.matches(files[0][1]))
    index = Index(path) if detected and len(files) >= SMALLEST else None
    expected = given
    new = sum(index is None or file not in index for _, file in files)
    with Bar(f"opening {path.name}", new, unit="files", active=new >= MANY) as bar:
        for name, file in files:
            known = index and index.get(file, partial(_open_source, path, file, name))
            if known and (expected is None or known[0] == expected.name):
                expected = expected or layouts.named(known[0])
                yield known[1]
                continue
            before = stat(file)
            expected = expected or layouts.detect(file)
            if expected is None:
                raise ValueError(layouts.explain(file, ""))
            found = _open_file(path, file, name, expected, variant, splits, given is not None)
            if index:
                index.add(file, before, expected.name, found)
            yield found
            bar.advance(1.0)
    if index:
        index.save()


def _open_file(
    path: Path,
    file: Path,
    name: str,
    layout: Layout,
    variant: str = "",
    splits: Mapping[str, int | float] | None = None,
    surely: bool = True,
) -> Mapping[str, Source]:
    """The sources of one file; those that do not say their dataset's name get that of `path`.

    Unless the file has the layout `surely`, an error says whether it has it at all.
    """
    try:
        with _naming(file):
            found = layout.open(file, "train" if splits else name, variant)
    except ValueError:
        if not surely and not layout.matches(file):
            raise ValueError(layouts.explain(file, layout.name)) from None
        raise
    if splits:  # a file in a folder `train` is whole
        whole = [*found.values()]
        if len(whole) != 1 or not isinstance(whole[0], ArraySource):
            raise ValueError(f"{file} is in {layout.name}'s layout, which says its splits itself")
        found = divide(whole[0], splits, file)
    for source in found.values():
        source.name = source.name or layouts.dataset_name(path)
    return found


def _open_source(path: Path, file: Path, name: str, layout: str, split: str) -> Source:
    return _open_file(path, file, name, layouts.named(layout))[split]


def _check_names(source: Source) -> None:
    """Refuse names that would steer a terminal."""
    names = [source.name, *source.fields, *source.constant_fields, *source.parameter_names]
    for name in [*names, *source.axes, *source.series, *source.units, *source.units.values()]:
        if not name.isprintable():
            raise ValueError(f"{source.path}: the name {name!r} cannot be printed; rename it")


def _check_agreement(first: Source, other: Source) -> None:
    """Raise a ValueError that names both files and what differs."""
    names = ("name", "axes", "fields", "constant_fields", "parameter_names", "units")
    differences = [(name, getattr(first, name), getattr(other, name)) for name in names]
    for name in ("shape", "boundary"):
        differences.append((f"grid {name}", getattr(first.grid, name), getattr(other.grid, name)))
    for name in ("lengths", "origin"):
        one, two = getattr(first.grid, name), getattr(other.grid, name)
        close = len(one) == len(two) and (one == two or np.allclose(one, two, rtol=1e-5, atol=1e-5))
        two = one if close else two
        differences.append((f"grid {name}", one, two))
    for name, one, two in differences:
        if one != two:
            raise ValueError(
                f"files of one store must agree: {first.path} has {name} {one}, "
                f"{other.path} has {two}; open them one by one, as datasets of their own"
            )


def _row(source: Source, local: int) -> int:
    """The number in its file of a source's trajectory; a source may hold a part of a file."""
    rows = getattr(source, "rows", None)
    return local if rows is None else rows[local]


def _ranges(counts: Sequence[tuple[str, int]]) -> dict[str, range]:
    """Split -> range of trajectories, from consecutive (split, number of trajectories)."""
    ranges: dict[str, range] = {}
    start = 0
    for split, count in counts:
        ranges[split] = range(ranges[split].start if split in ranges else start, start + count)
        start += count
    return {name: ranges[name] for name in dict.fromkeys([*SPLITS, *ranges]) if name in ranges}


def _common_spacing(sources: Sequence[Source]) -> tuple[int, float | None]:
    """The first of the frames that are uniform in time, and their distance."""
    rows = [times for source in sources for times in np.atleast_2d(source.times)]
    step = _same([spacing(times) for times in rows])
    if step is None and all(len(times) >= SHORTEST and times[0] < times[1] for times in rows):
        step = _same([spacing(times[1:]) for times in rows])
        return (0 if step is None else 1), step
    return 0, step


def _same(steps: Sequence[float | None]) -> float | None:
    first = steps[0]
    if first is None or any(s is None or abs(s - first) > 1e-5 * first for s in steps):
        return None
    return first
