"""Trajectories of different length in one file: in groups, or padded to the longest."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from .arrays import TIME, ArraySource, check_times
from .described_arrays import DescribedArrays
from .description import MISSING, Description

BLOCK = 2**22  # values of the end of a trajectory that are looked at together


def alike(arrays: DescribedArrays, given: Description) -> list[tuple[str, ...]]:
    """Runs of neighbouring groups whose arrays have the same shapes; one of () for no groups."""
    texts = [*given.fields.values(), *given.constants.values()]
    names = [name for name, _ in map(arrays.split, texts) if "*" in name]
    inner = []
    for name in names:
        star = name.find("/", name.rfind("*"))
        if star > 0 and arrays.matching(name[:star]):
            inner.append(name[star + 1 :])
    groups = arrays.groups
    shapes = [tuple(arrays.shapes.get(f"{group}/{part}") for part in inner) for group in groups]
    if len(set(shapes)) < 2 or any(shape is None for each in shapes for shape in each):
        return [()]  # of one shape, or without one, which is told of by name
    runs = itertools.groupby(zip(groups, shapes, strict=True), key=lambda item: item[1])
    return [tuple(group for group, _ in run) for _, run in runs]


def trimmed(
    arrays: DescribedArrays,
    given: Description,
    source: ArraySource,
    moments: Float64[np.ndarray, "*n T"],
) -> Iterator[ArraySource]:
    """The source, or of padded trajectories one for each run of those of equal length.

    Args:
        arrays: of the file, for messages.
        given: the description.
        source: with all frames.
        moments: their times, which padding need not have.

    Raises:
        ValueError: the lengths are none, or a trajectory has no frame, or a frame no time.
    """
    if given.padding == "":
        yield source
        return
    lengths = _lengths(arrays, given, source)
    start = 0
    for length, run in itertools.groupby(lengths):
        stop = start + len([*run])
        if length < 1:
            raise arrays.wrong(f"padding: trajectory {start} has no frame but padding")
        part = source.part(slice(start, stop))
        kept = (moments if moments.ndim == 1 else moments[start:stop])[..., :length]
        check_times(source.path, kept)
        part.header = replace(part.header, times=kept)
        yield part
        start = stop


def _lengths(arrays: DescribedArrays, given: Description, source: ArraySource) -> list[int]:
    """Frames of each trajectory that are not padding."""
    frames, padding = source.header.n_frames, given.padding
    if isinstance(padding, str) and padding != MISSING:
        values = np.asarray(arrays.values(padding, "padding")).reshape(-1)
        whole = len(values) == len(source) and (values == np.rint(values)).all()
        if not whole or values.min() < 0 or values.max() > frames:
            raise arrays.wrong(
                f"padding: {padding!r} must have the number of frames of each of {len(source)} "
                f"trajectories, at most {frames}; got shape {values.shape}"
            )
        return values.astype(int).tolist()
    axes = next(iter(source.channels.values())).axes
    if TIME not in axes:
        raise arrays.wrong("padding: the fields have no time axis, along which they are padded")
    mark = np.nan if padding == MISSING else float(padding)
    lies = [*source.channels.values()]
    shape = (-1, *(1,) * source.header.grid.ndim)
    marks = np.array([mark * each.scale + each.offset for each in lies]).reshape(shape)
    return [_length(source, i, marks) for i in range(len(source))]


def _length(source: ArraySource, i: int, marks: np.ndarray) -> int:
    """Frames of a trajectory up to the last that holds anything but the marks (C, …)."""
    channels = range(len(source.header.fields))
    size = len(channels) * int(np.prod(source.header.grid.shape))
    step = max(1, BLOCK // size)
    for stop in range(source.header.n_frames, 0, -step):
        start = max(0, stop - step)
        block = source.read_exactly(i, slice(start, stop), channels)
        there = ~np.isnan(block) & (block != marks)
        held = np.flatnonzero(there.reshape(len(block), -1).any(axis=1))
        if len(held):
            return start + int(held[-1]) + 1
    return 0
