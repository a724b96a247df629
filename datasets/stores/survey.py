"""One pass over every value of a store: what `pelagos data check` and `stats` rest on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from ..base.progress import Bar
from ..fields.moments import Moments
from .marks import Flat, Marked
from .store import Store

BLOCK = 2**20  # values to hold at once
SAMPLE = 256  # values kept of every initial state, to find near-identical ones


@dataclass(frozen=True)
class Table:
    """Per trajectory and field: count, moments and range of the finite frames.

    What is masked does not count. A frame of a field that holds NaN or infinite values elsewhere is
    left out of everything but `bad`.

    Attributes:
        names: the C fields.
        low, high: smallest and largest value.
        values, changes: (count, mean, sum of squared deviations) of the values, and of their
            changes from frame to frame.
        largest: largest absolute change from frame to frame.
        bad, first_bad: number of frames that hold NaN or infinite values, and the first of them.
        flat: the frames that are constant in space.
        marked: values that files write where they have none, such as -9999, by field.
    """

    names: tuple[str, ...]
    low: Float64[np.ndarray, "n C"]
    high: Float64[np.ndarray, "n C"]
    values: Float64[np.ndarray, "3 n C"]
    changes: Float64[np.ndarray, "3 n C"]
    largest: Float64[np.ndarray, "n C"]
    bad: Int64[np.ndarray, "n C"]
    first_bad: Int64[np.ndarray, "n C"]
    flat: Flat
    marked: list[Marked]

    @staticmethod
    def empty(n: int, names: Sequence[str]) -> Table:
        """A table in which nothing has been seen yet."""
        shape = (n, len(names))
        return Table(
            tuple(names),
            low=np.full(shape, np.inf),
            high=np.full(shape, -np.inf),
            values=np.zeros((3, *shape)),
            changes=np.zeros((3, *shape)),
            largest=np.zeros(shape),
            bad=np.zeros(shape, np.int64),
            first_bad=np.full(shape, -1),
            flat=Flat.empty(shape),
            marked=[Marked() for _ in names],
        )

    def add(self, i: int, channel: int, first: int, frames: np.ndarray, before: int = 0) -> None:
        """Take in frames (T, N) of trajectory i; number `before` of them is frame `first`.

        The ones ahead of it (0 or 1) were taken in already: the change starts from there.
        """
        where = i, channel
        finite = np.isfinite(frames.sum(axis=1, dtype=np.float64))
        if not finite.all():
            wrong = np.flatnonzero(~finite[before:])
            if len(wrong) and not self.bad[where]:
                self.first_bad[where] = first + wrong[0]
            self.bad[where] += len(wrong)
            before = before if finite[0] else 0
            frames = frames[finite]
        fresh = frames[before:]
        if fresh.size:
            low, high = frames.min(axis=1), frames.max(axis=1)
            self.low[where] = min(self.low[where], low[before:].min())
            self.high[where] = max(self.high[where], high[before:].max())
            self.flat.add(where, first, low, high, before)
            self.marked[channel].add(i, first, fresh, low[before:], high[before:])
            _merge(self.values[:, i, channel], fresh)
        if len(frames) > 1:
            change = np.diff(frames.astype(np.float64), axis=0)
            self.largest[where] = max(self.largest[where], np.abs(change).max())
            _merge(self.changes[:, i, channel], change)

    def moments(self, trajectories: Sequence[int], kind: str = "values") -> list[Moments | None]:
        """Moments per field over some trajectories; None where there was no finite value.

        Args:
            trajectories: which ones.
            kind: "values" or "changes".
        """
        count, mean, deviation = getattr(self, kind)[:, np.asarray(trajectories, dtype=int)]
        total = count.sum(axis=0)
        centre = (count * mean).sum(axis=0) / np.maximum(total, 1)
        spread = deviation.sum(axis=0) + (count * np.square(mean - centre)).sum(axis=0)
        return [
            Moments(int(n), centre[[c]], spread[[c]]) if n else None for c, n in enumerate(total)
        ]


def _merge(total: np.ndarray, values: np.ndarray) -> None:
    """Add values to (count, mean, deviation), in place."""
    before = Moments(int(total[0]), total[1:2].copy(), total[2:3].copy()) if total[0] else None
    both = Moments.merged(before, values)
    total[:] = both.count, both.mean[0], both.deviation[0]


@dataclass(frozen=True)
class Survey:
    """What one pass over a store has found.

    Attributes:
        fields, constants: tables of the fields and of the constant fields.
        digests: a hash of every trajectory's frames and constant fields.
        states: some values of every initial state, the same places of all trajectories. The
            initial state of a steady problem (trajectories of one frame) is its constant fields.
        repeated: trajectory -> its frames that equal the frame before in every field, where the
            trajectory is not the same all the time.
    """

    fields: Table
    constants: Table
    digests: list[bytes]
    states: Float32[np.ndarray, "n C D"]
    repeated: dict[int, list[int]] = field(default_factory=dict)


def survey(store: Store, progress: bool = False) -> Survey:
    """Read everything once, in constant memory per trajectory.

    Args:
        store: what to read.
        progress: show a progress bar on stderr.

    Raises:
        ValueError: a file is damaged.
    """
    n = len(store)
    channels = len(store.constant_fields if store.steady else store.fields)
    points = np.random.default_rng(0).integers(math.prod(store.grid.shape), size=SAMPLE)
    found = Survey(
        Table.empty(n, store.fields),
        Table.empty(n, store.constant_fields),
        digests=[],
        states=np.zeros((n, channels, SAMPLE), np.float32),
    )
    with Bar(f"reading {store.name}", n, unit="trajectories", active=progress) as bar:
        for i in range(n):
            digest = hashlib.blake2b(digest_size=16)
            _read_frames(store, i, found, digest, bar)
            _read_constants(store, i, found, digest)
            found.digests.append(digest.digest())
            state = initial_state(store, i)
            found.states[i] = state.reshape(channels, -1)[:, points]
    return found


def blocks(
    store: Store, i: int, size: int, first: int = 0, channels: int | None = None
) -> Iterator[range]:
    """Consecutive frames of trajectory i, as many at a time as `size` values hold.

    Args:
        store: of the trajectory.
        i: its number.
        size: values to hold at once; a frame may have more.
        first: the frame to begin with.
        channels: fields that are read; by default all.
    """
    count = len(store.fields) if channels is None else channels
    step = max(1, size // (count * math.prod(store.grid.shape)))
    for start in range(first, store.n_frames(i), step):
        yield range(start, min(start + step, store.n_frames(i)))


def initial_state(store: Store, i: int) -> Float32[np.ndarray, "C *S"]:
    """What trajectory i starts from: its first frame, or a steady problem's constant fields."""
    if store.steady:
        return store.constants_raw(i)
    return store.read_raw(i, slice(0, 1))[0]


def _read_frames(store: Store, i: int, found: Survey, digest: hashlib.blake2b, bar: Bar) -> None:
    frames, channels, mask = store.n_frames(i), len(store.fields), store.mask(i)
    valid = None if mask is None else mask.numpy().reshape(channels, -1)
    same_gaps = (gaps := store.gaps(i)) is not None and not gaps.stated
    equal: list[int] = []
    last = np.empty((0, channels, *store.grid.shape), np.float32)
    for part in blocks(store, i, BLOCK):
        start = part.start
        block = store.read_raw(i, slice(start, part.stop))
        digest.update(np.ascontiguousarray(block).data)
        before = len(last)
        rows = np.concatenate([last, block]).reshape(before + len(block), channels, -1)
        for channel in range(channels):
            values = rows[:, channel]
            if valid is not None:
                values = _predicted(values, valid[channel], same_gaps)
            found.fields.add(i, channel, start, values, before)
        same = ((rows[1:] == rows[:-1]) | (np.isnan(rows[1:]) & np.isnan(rows[:-1]))).all((1, 2))
        equal += (np.flatnonzero(same) + start + 1 - before).tolist()
        last = block[-1:]
        bar.advance(len(block) / frames)
    if 0 < len(equal) < frames - 1:
        found.repeated[i] = equal


def _predicted(
    values: Float32[np.ndarray, "T N"], valid: Bool[np.ndarray, " N"], same_gaps: bool
) -> Float32[np.ndarray, "T M"]:
    """The values where a field is predicted; all of a field that is predicted nowhere.

    Where the same values must be missing in all frames, frames in which others are become NaN.
    """
    if not valid.any():
        return values
    chosen = values[:, valid]
    if same_gaps:
        chosen[~np.isnan(values[:, ~valid]).all(axis=1)] = np.nan
    return chosen


def _read_constants(store: Store, i: int, found: Survey, digest: hashlib.blake2b) -> None:
    constants, mask = store.constants_raw(i), store.mask(i)
    nowhere = None if mask is None else ~mask.any(0).numpy()
    digest.update(np.ascontiguousarray(constants).data)
    for channel, values in enumerate(constants):
        if nowhere is not None:
            values = values[~(nowhere & np.isnan(values))]
        found.constants.add(i, channel, 0, values.reshape(1, -1))
