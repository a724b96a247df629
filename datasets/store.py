"""A store: a set of files of one layout, read as one dataset.

`open_store` detects the layout by content. A layout is one file of this folder that offers
`matches(path)` and a class that satisfies `Source`, and one line in `LAYOUTS`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import h5py
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64
from torch import Tensor

from . import well
from .axes import spacing
from .fields import Context, Grid, Window
from .hdf5 import data_files, open_readonly
from .index import SMALLEST, Index, stat

if TYPE_CHECKING:
    import xarray

SPLITS = ("train", "valid", "test")
UNSPLIT = "all"  # the split of files that lie outside train, valid and test
MAX_OPEN = 128  # files held open at once


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


@dataclass(frozen=True)
class Layout:
    """A layout on disk: its name, whether a file has it, and the sources of a file by split."""

    name: str
    matches: Callable[[Path], bool]
    open: Callable[[Path, str], Mapping[str, Source]]


LAYOUTS = (Layout("The Well", well.matches, lambda path, split: {split: well.WellFile(path)}),)


def open_store(path: str | Path, split: str | None = None) -> Store:
    """Open a dataset's root, its `data` folder, one split's folder, or a single file.

    Args:
        path: what to open; every file in it must have the same layout, fields and grid.
        split: "train", "valid" or "test"; None for all, in this order.

    Raises:
        ValueError: nothing is there, a file is truncated or has no known layout, the dataset is
            incomplete, files disagree, or there is no such split.
    """
    path = Path(path).absolute()
    files = _find_files(path)
    available = dict.fromkeys(name for name, _ in files)
    chosen = [(name, file) for name, file in files if split in (None, name) or name == UNSPLIT]
    sources: list[tuple[str, Source]] = []
    for found in _sources_of(path, chosen):
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
        dt: time between frames where it is uniform and the same in all trajectories (up to one
            part in 10⁵, and within a trajectory as in `axes.spacing`), else None.
        splits: split -> the range of its trajectories, in the order train, valid, test.
        provenance: how the data were made, as the first file says.
        inputs: of a steady problem, the names of the input fields: its constant fields without
            coordinates (`coordinate_x`, …); else ().
        sources: the files, in order of their trajectories.
    """

    def __init__(self, sources: Sequence[tuple[str, Source]]) -> None:
        ordered = sorted(sources, key=lambda item: [*SPLITS, item[0]].index(item[0]))
        self.sources = [source for _, source in ordered]
        first = self.sources[0]
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
        self.dt = _common_spacing(self.sources)
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
            ValueError: the file is damaged.
        """
        file, local = self._locate(i)
        channels = range(len(self.fields)) if channels is None else channels
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
        time between its history frames; None for a single one, or where times are irregular.
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
        step = self.dt if self.dt is not None else spacing(self.trajectory_times(i))
        times = self.trajectory_times(i)[start:stop:stride]
        lead = times[history:] - times[history - 1]
        if step is not None:
            lead = stride * step * np.arange(1, horizon + 1)
        return Window(
            frames[:history],
            frames[history:],
            torch.from_numpy(lead.astype(np.float32)),
            self._context(i, None if step is None or history == 1 else stride * step),
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
        return source.path, local

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
        file, local = self._locate(i)
        when = "" if frame is None else f" (time {self.trajectory_times(i)[frame]:g})"
        return (
            f"{self.sources[file].path}: {what}{when} of trajectory {local} holds NaN or infinite "
            f"values; repair or leave out this trajectory"
        )


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn a failure to read into a ValueError that names the file."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"{path} is damaged ({error}); copy or make it again") from None


def _find_files(path: Path) -> list[tuple[str, Path]]:
    """Split and path of every data file under `path`."""
    if not path.exists():
        raise ValueError(f"no such file or folder: {path}")
    if path.is_file():
        return [(path.parent.name if path.parent.name in SPLITS else UNSPLIT, path)]
    _check_complete(path)
    base = path / "data" if (path / "data").is_dir() else path
    folders = [base / name for name in SPLITS if (base / name).is_dir()] or [base]
    files = [
        (folder.name if folder.name in SPLITS else UNSPLIT, file)
        for folder in folders
        for file in data_files(folder)
    ]
    if not files:
        raise ValueError(
            f"no HDF5 files in {path}; expected *.hdf5 or *.h5 in it or in data/train, data/valid, "
            f"data/test below it"
        )
    return files


def _check_complete(path: Path) -> None:
    """Refuse a dataset whose simulation or conversion has not finished."""
    path = path.resolve()
    root = path.parent.parent if path.name in SPLITS else path
    root = path.parent if path.name == "data" else root
    for made in ("simulation", "conversion"):
        if (root / f"{made}.yaml").exists() and not (root / "stats.yaml").exists():
            raise ValueError(
                f"the dataset {root} is incomplete (it has no stats.yaml): its {made} was "
                f"interrupted; run the same {made} again to finish it"
            )


def _sources_of(path: Path, files: Sequence[tuple[str, Path]]) -> Iterator[Mapping[str, Source]]:
    """The sources of every file by split; those of many files come from an index of `path`.

    Raises:
        ValueError: a file cannot be read, or has another layout than the first.
    """
    index = Index(path) if len(files) >= SMALLEST else None
    expected: Layout | None = None
    for name, file in files:
        known = index and index.get(file, partial(_open_source, file, name))
        if known and (expected is None or known[0] == expected.name):
            expected = expected or _layout(known[0])
            yield known[1]
            continue
        before = stat(file)
        expected = expected or _detect(file)
        if expected is None or not expected.matches(file):
            raise ValueError(_explain(file, "" if expected is None else expected.name))
        found = expected.open(file, name)
        if index:
            index.add(file, before, expected.name, found)
        yield found
    if index:
        index.save()


def _open_source(file: Path, name: str, layout: str, split: str) -> Source:
    return _layout(layout).open(file, name)[split]


def _layout(name: str) -> Layout:
    return next(layout for layout in LAYOUTS if layout.name == name)


def _detect(path: Path) -> Layout | None:
    return next((layout for layout in LAYOUTS if layout.matches(path)), None)


def _explain(path: Path, expected: str) -> str:
    """Why `path` cannot be read, in one line."""
    readable = f"readable layouts: {', '.join(layout.name for layout in LAYOUTS)}"
    if expected and _detect(path):
        return f"{path} is not in the layout of the files beside it ({expected}); move it away"
    if not h5py.is_hdf5(path):
        size = path.stat().st_size
        return f"{path} is not an HDF5 file ({size} bytes); {readable}"
    try:
        with open_readonly(path) as file:
            names = ", ".join(list(map(str, file))[:8]) or "nothing"
    except (OSError, RuntimeError, KeyError) as error:
        return f"{path} is truncated or damaged ({error}); copy or make it again"
    return f"{path} is HDF5 with {names} at its root, which is no known layout; {readable}"


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
                f"{other.path} has {two}"
            )


def _ranges(counts: Sequence[tuple[str, int]]) -> dict[str, range]:
    """Split -> range of trajectories, from consecutive (split, number of trajectories)."""
    ranges: dict[str, range] = {}
    start = 0
    for split, count in counts:
        ranges[split] = range(ranges[split].start if split in ranges else start, start + count)
        start += count
    return ranges


def _common_spacing(sources: Sequence[Source]) -> float | None:
    steps = [spacing(times) for source in sources for times in np.atleast_2d(source.times)]
    first = steps[0]
    if first is None or any(s is None or abs(s - first) > 1e-5 * first for s in steps):
        return None
    return first
