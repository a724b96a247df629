"""Sources divided: what is predicted of them, and what is prescribed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float32, Float64

from ..layouts.source import Source, require_prescribed
from .views import View

_Way: TypeAlias = Callable[[int, slice, Sequence[int]], np.ndarray]  # of reading


class Chosen(Source):
    """Some of the fields of a source; a scalar that varies in time is one, the same at all points.

    Args:
        source: the whole.
        names: of its fields and series.
        constants: whether it has the constant fields and parameters, too.
    """

    def __init__(self, source: Source, names: Sequence[str], constants: bool = True) -> None:
        whole = source.header
        self.path, self._source, self._names = source.path, source, tuple(names)
        self._channels = {name: k for k, name in enumerate(whole.fields) if name in names}
        self.header = replace(
            whole,
            fields=self._names,
            constant_fields=whole.constant_fields if constants else (),
            parameter_names=whole.parameter_names if constants else (),
            filled=tuple(name for name in whole.filled if name in names),
            prescribed=(),
        )

    def read(
        self, trajectory: int, frames: slice, channels: Sequence[int]
    ) -> Float32[np.ndarray, "T C *S"]:
        """The given frames and channels of a trajectory."""
        return self._read(self._source.read, np.float32, trajectory, frames, channels)

    def read_exactly(
        self, trajectory: int, frames: slice, channels: Sequence[int]
    ) -> Float64[np.ndarray, "T C *S"]:
        """The same in double precision, as exactly as the file has it."""
        return self._read(self._source.read_exactly, np.float64, trajectory, frames, channels)

    def constants(self, trajectory: int) -> Float32[np.ndarray, "K *S"]:
        """The constant fields of a trajectory."""
        if not self.header.constant_fields:
            return np.empty((0, *self.header.grid.shape), np.float32)
        return self._source.constants(trajectory)

    def mask(self, trajectory: int) -> Bool[np.ndarray, "C *S"] | None:
        """Where the fields of a trajectory are predicted; None: everywhere."""
        whole = self._source.mask(trajectory)
        if whole is None:
            return None
        everywhere = np.ones(self.header.grid.shape, bool)
        places = [self._channels.get(name) for name in self._names]
        return np.stack([everywhere if k is None else whole[k] for k in places])

    def close(self) -> None:
        """Give the file back; the next access opens it again."""
        self._source.close()

    def _read(
        self, way: _Way, dtype: type, trajectory: int, frames: slice, channels: Sequence[int]
    ) -> np.ndarray:
        names = [self._names[channel] for channel in channels]
        inner = [self._channels[name] for name in names if name in self._channels]
        if len(inner) == len(names):
            return way(trajectory, frames, inner)
        count, points = len(range(self.header.n_frames)[frames]), self.header.grid.shape
        out = np.empty((count, len(names), *points), dtype)
        if inner:
            stored = [k for k, name in enumerate(names) if name in self._channels]
            out[:, stored] = way(trajectory, frames, inner)
        for k, name in enumerate(names):
            if name not in self._channels:  # a scalar
                series = self.header.series[name]
                row = series if series.ndim == 1 else series[trajectory]
                out[:, k] = row[frames].reshape(-1, *(1,) * len(points))
        return out


def predicted(source: Source) -> Source:
    """What is predicted of a source; itself where nothing is prescribed.

    Raises:
        ValueError: nothing is predicted.
    """
    header = source.header
    if not header.prescribed:
        return source
    names = [name for name in header.fields if name not in header.prescribed]
    if not names:
        raise ValueError(
            f"{source.path}: all of {', '.join(header.fields)} are prescribed, so that nothing "
            "would be predicted; leave out of `prescribed` what is to be"
        )
    return Chosen(source, names)


def prescribed(source: Source) -> Source:
    """What is prescribed, as the fields of a source without constant fields and parameters."""
    return Chosen(source, source.header.prescribed, constants=False)


def unmarked(source: Source) -> Source:
    """The source with its prescribed fields among the others, without the scalars."""
    view = View(source, range(len(source)))
    view.header = replace(view.header, prescribed=())
    return view


def marked(source: Source, names: Sequence[str]) -> Source:
    """A source of which these fields and series are prescribed, too.

    Raises:
        ValueError: it has none of such a name.
    """
    header = source.header
    more = [name for name in names if name not in header.prescribed]
    if not more:
        return source
    all_of_them = (*header.prescribed, *more)
    require_prescribed(str(source.path), header.fields, header.series, all_of_them)
    view = View(source, range(len(source)))
    view.header = replace(view.header, prescribed=all_of_them)
    return view
