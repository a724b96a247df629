"""Trajectories from arrays with named axes: what every foreign layout comes down to."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64

from ..fields.grid import Grid, spacing
from ..files.containers import Container
from .source import Header, Source

TRAJECTORY, TIME = "trajectory", "time"
NUMERIC = "fiub"  # kinds of numbers that become single precision


@dataclass(frozen=True)
class Variable:
    """Where the values of one channel lie.

    Attributes:
        array: name of the array; within its trajectory's group where each has one.
        axes: names of its axes in the order of the file: "trajectory", "time", the space axes,
            and any other that `at` fixes. The channel is constant along axes it does not have.
        at: axis -> index, for the axes that are none of trajectory, time and space.
        value: the channel's value everywhere, for a channel without an array.
        shared: whether the array lies outside the groups of the trajectories, and is that of all.
        scale, offset: from the values of the array to those of the channel, in other units or less
            what is subtracted; in double precision.
    """

    array: str
    axes: tuple[str, ...] = ()
    at: tuple[tuple[str, int], ...] = ()
    value: float = 0.0
    shared: bool = False
    scale: float = 1.0
    offset: float = 0.0


def component(array: str, axes: Sequence[str], channel: int) -> Variable:
    """One channel of an array that has a "channel" axis."""
    return Variable(array, tuple(axes), (("channel", channel),))


@dataclass(eq=False)
class ArraySource(Source):
    """A source over the arrays of one file.

    Attributes:
        file: where the arrays are.
        header: what their trajectories are; its `fields`, `constant_fields` and `filled` are those
            of the channels.
        channels: field name -> where it lies.
        constant_channels: constant field name -> where it lies.
        groups: the group of each of the file's trajectories, where each has its own.
        mask_variable: where the mask of all fields lies, not 0 where they are predicted; elsewhere
            they are read as missing.
        mask_of_rest: whether it is the other way round: 0 where they are predicted.
        flipped: the space axes that the file stores from high to low coordinates.

    Raises:
        ValueError: an array is missing, is not numeric, or its shape does not fit; a time is not
            finite.
    """

    file: Container
    header: Header
    channels: dict[str, Variable]
    constant_channels: dict[str, Variable] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    mask_variable: Variable | None = None
    mask_of_rest: bool = False
    flipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.path = self.file.path
        self._masks: dict[int, np.ndarray] = {}
        self.header = replace(
            self.header,
            fields=tuple(self.channels),
            constant_fields=tuple(self.constant_channels),
            filled=tuple(name for name, item in self.channels.items() if not item.array),
        )
        rows = self.header.rows
        if not rows or not self.header.n_frames or not self.channels:
            raise ValueError(f"{self.path} holds no trajectory, no frame or no field")
        check_times(self.path, self.header.times)
        stated = [self.mask_variable] if self.mask_variable else []
        for variable in [*self.channels.values(), *self.constant_channels.values(), *stated]:
            self._array(variable, rows[0])
            self._array(variable, rows[-1])
        self.file.close()

    def part(self, rows: slice) -> ArraySource:
        """The same for some of its trajectories."""
        part, whole = copy.copy(self), self.header
        part._masks = {}
        part.header = replace(
            whole,
            rows=whole.rows[rows],
            parameters=whole.parameters[rows],
            times=whole.times[rows] if whole.times.ndim > 1 else whole.times,
        )
        return part

    def read(
        self, trajectory: int, frames: slice, channels: Sequence[int]
    ) -> Float32[np.ndarray, "T C *S"]:
        """The given frames and channels of a trajectory."""
        return self._read(trajectory, frames, channels, np.float32)

    def read_exactly(
        self, trajectory: int, frames: slice, channels: Sequence[int]
    ) -> Float64[np.ndarray, "T C *S"]:
        """The same in double precision, as exactly as the file has it."""
        return self._read(trajectory, frames, channels, np.float64)

    def _read(self, trajectory: int, frames: slice, channels: Sequence[int], dtype: type) -> Any:
        variables = [*self.channels.values()]
        count = len(range(self.header.n_frames)[frames])
        out = np.empty((count, len(channels), *self.header.grid.shape), dtype=dtype)
        self._fill(np.moveaxis(out, 1, 0), [variables[c] for c in channels], trajectory, frames)
        if self.mask_variable is not None:
            out[..., ~self._stated_mask(self.mask_variable, trajectory)] = np.nan
        return out

    def constants(self, trajectory: int) -> Float32[np.ndarray, "K *S"]:
        """The constant fields of a trajectory."""
        variables = [*self.constant_channels.values()]
        out = np.empty((len(variables), *self.header.grid.shape), dtype=np.float32)
        self._fill(out[:, None], variables, trajectory, slice(0, 1))
        return out

    def mask(self, trajectory: int) -> Bool[np.ndarray, "C *S"] | None:
        """The stated mask, the same for all fields."""
        if self.mask_variable is None:
            return None
        mask = self._stated_mask(self.mask_variable, trajectory)
        return np.repeat(mask[None], len(self.channels), axis=0)

    def close(self) -> None:
        """Give the file back; the next access opens it again."""
        self.file.close()

    def _stated_mask(self, variable: Variable, trajectory: int) -> Bool[np.ndarray, "*S"]:
        """Where the mask's array is not 0 (or 0), and not missing; once where all share it."""
        row = trajectory if TRAJECTORY in variable.axes or self.groups else 0
        if row not in self._masks:
            out = np.empty((1, 1, *self.header.grid.shape), dtype=np.float32)
            self._fill(out, [variable], trajectory, slice(0, 1))
            values = out[0, 0]
            there = (values == 0) if self.mask_of_rest else (values != 0)
            self._masks[row] = there & ~np.isnan(values)
        return self._masks[row]

    def _fill(
        self, out: np.ndarray, variables: Sequence[Variable], trajectory: int, frames: slice
    ) -> None:
        """Read variables into `out` (variable, T, *S); each array is read once."""
        frames = slice(*frames.indices(self.header.n_frames))  # the array may hold more
        together: dict[tuple[str, tuple[str, ...], bool], list[int]] = {}
        for position, variable in enumerate(variables):
            together.setdefault((variable.array, variable.axes, variable.shared), []).append(
                position
            )
        self.file.require_unchanged()
        # What is too large for single precision becomes infinite, and is named by the store.
        with np.errstate(over="ignore", invalid="ignore"):
            for (array, _, _), positions in together.items():
                if not array:
                    for position in positions:
                        out[position] = variables[position].value
                    continue
                self._read_array(out, variables, positions, self.header.rows[trajectory], frames)

    def _read_array(
        self,
        out: np.ndarray,
        variables: Sequence[Variable],
        positions: Sequence[int],
        row: int,
        frames: slice,
    ) -> None:
        first = variables[positions[0]]
        array = self._array(first, row)
        if len(positions) > 1 and _apart(array, first):
            for position in positions:
                self._read_array(out, variables, [position], row, frames)
            return
        low = {axis: min(dict(variables[p].at)[axis] for p in positions) for axis, _ in first.at}
        high = {axis: max(dict(variables[p].at)[axis] for p in positions) for axis, _ in first.at}
        key: list[Any] = []
        for axis in first.axes:
            if axis in low:
                key.append(slice(low[axis], high[axis] + 1))
            else:
                key.append({TRAJECTORY: row, TIME: frames}.get(axis, slice(None)))
        block = np.asarray(array[tuple(key)])
        kept = [axis for axis in first.axes if axis != TRAJECTORY]
        for position in positions:
            at = {axis: index - low[axis] for axis, index in variables[position].at}
            values = np.asarray(block[tuple(at.get(axis, slice(None)) for axis in kept)])
            values = self._ordered(values, [axis for axis in kept if axis not in at])
            scale, offset = variables[position].scale, variables[position].offset
            plain = (scale, offset) == (1.0, 0.0)
            out[position] = values if plain else values.astype(np.float64) * scale + offset

    def _ordered(self, values: np.ndarray, axes: Sequence[str]) -> np.ndarray:
        """Values with axes (T, *S), of size 1 where the array has no such axis."""
        order = [axis for axis in (TIME, *self.header.axes) if axis in axes]
        values = values.transpose([axes.index(axis) for axis in order])
        turned = tuple(i for i, axis in enumerate(order) if axis in self.flipped)
        values = np.flip(values, turned) if turned else values
        missing = [i for i, axis in enumerate((TIME, *self.header.axes)) if axis not in axes]
        return np.expand_dims(values, missing)

    def _array(self, variable: Variable, row: int) -> Any:
        """The array of a variable, whose shape and type are checked on the way."""
        if not variable.array:
            return None
        grouped = self.groups and not variable.shared
        name = f"{self.groups[row]}/{variable.array}" if grouped else variable.array
        try:
            array = self.file.array(name)
        except KeyError:
            raise ValueError(f"{self.path} has no array {name!r}") from None
        check_numeric(self.path, name, array.dtype)
        sizes = dict(zip(self.header.axes, self.header.grid.shape, strict=True))
        sizes[TIME] = self.header.n_frames
        fits = len(array.shape) == len(variable.axes)
        for axis, n in zip(variable.axes, array.shape, strict=False):
            least = {TRAJECTORY: row, **dict(variable.at)}.get(axis)
            fits &= n > least if least is not None else n >= 1 and n >= sizes[axis]
            fits &= axis not in self.header.axes or n == sizes[axis]
        if not fits:
            expected = ", ".join(f"{axis} {sizes.get(axis, '')}".strip() for axis in variable.axes)
            raise ValueError(
                f"{self.path}: {name!r} must have the axes ({expected}); got shape "
                f"{tuple(array.shape)}"
            )
        return array


def _apart(array: Any, variable: Variable) -> bool:
    """Whether channels lie in chunks of their own.

    Reading them together decodes no less, and scatters every value on its own: 2 to 6 times as
    long.
    """
    chunks = getattr(array, "chunks", None) or ()
    fixed = dict(variable.at)
    return len(chunks) == len(variable.axes) and all(
        size == 1 for size, axis in zip(chunks, variable.axes, strict=True) if axis in fixed
    )


def check_numeric(path: Path, name: str, dtype: np.dtype) -> None:
    """Raise a ValueError unless an array holds real numbers."""
    if dtype.kind not in NUMERIC:
        raise ValueError(
            f"{path}: {name!r} must hold real numbers; got the type {dtype}"
            + (", whose parts must be stored as arrays of their own" * (dtype.kind in "cV"))
        )


def check_times(path: Path, times: Float64[np.ndarray, "*n T"]) -> None:
    """Raise a ValueError unless times are finite (whether they increase is for `check` to say)."""
    if not np.isfinite(times).all():
        raise ValueError(f"{path}: the times of the frames hold NaN or infinite values")


def sizes(array: Any, axes: Sequence[str], path: Path, name: str) -> dict[str, int]:
    """Axis -> length of an array.

    Raises:
        ValueError: the array has another number of axes, or one of no length.
    """
    if len(array.shape) != len(axes) or not all(array.shape):
        raise ValueError(
            f"{path}: {name!r} must have the axes ({', '.join(axes)}); got shape "
            f"{tuple(array.shape)}"
        )
    return dict(zip(axes, map(int, array.shape), strict=True))


def extent(path: Path, axis: str, points: Any) -> tuple[float, float]:
    """Length and origin of an axis from the coordinates of its points, one row or several equal.

    The length is spacing × points, to the six digits that single precision holds.

    Raises:
        ValueError: the points are not uniform and increasing, or rows differ.
    """
    values = np.asarray(points)
    if values.dtype.kind not in NUMERIC or not values.size or values.ndim not in (1, 2):
        raise ValueError(
            f"{path}: the coordinates of axis {axis!r} must be numbers; got shape "
            f"{values.shape} of type {values.dtype}"
        )
    rows = np.atleast_2d(values.astype(np.float64))
    step = spacing(rows[0]) if rows.shape[1] > 1 else 1.0
    if step is None or not np.isfinite(rows).all() or (rows != rows[0]).any():
        raise ValueError(
            f"{path}: axis {axis!r} must be uniform, increasing and the same for all "
            f"trajectories; resample the data to such a grid"
        )
    return float(f"{step * rows.shape[1]:.6g}"), float(rows[0, 0])


def unit_grid(shape: Sequence[int], boundary: str) -> Grid:
    """The unit box with one kind of boundary."""
    n = len(shape)
    return Grid(tuple(map(int, shape)), (1.0,) * n, (boundary,) * n)


def number(path: Path, name: str, value: Any) -> float:
    """A number from an attribute or a configuration.

    Raises:
        ValueError: it is something else.
    """
    try:
        return float(np.asarray(value).reshape(()).item())
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{path}: {name!r} must be a number; got {value!r:.80}") from None


def constant_parameters(values: Mapping[str, float], n: int) -> dict[str, Any]:
    """Arguments of `Header` for parameters that all n trajectories share."""
    return {
        "parameter_names": tuple(values),
        "parameters": np.tile(np.array([*values.values()], dtype=np.float64), (n, 1)),
    }
