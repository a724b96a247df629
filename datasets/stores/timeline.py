"""When the frames of trajectories are: which are a step apart, and where some are missing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from ..fields.grid import spacing, tolerance
from ..layouts.source import Source

SHORTEST = 5  # frames of a trajectory whose first interval may differ, or of which some may lack
SAME = 1e-5  # relative difference up to which two steps are the same
USUAL = 2 / 3  # of the intervals are one step where frames are missing, and times not irregular


@dataclass(frozen=True)
class Timeline:
    """The frames of one trajectory.

    Attributes:
        step: time between neighbours; None where it varies, or for a single frame.
        breaks: frames before which some are missing: a whole number of steps.
    """

    step: float | None
    breaks: tuple[int, ...] = ()


def timeline(times: Float64[np.ndarray, " T"]) -> Timeline:
    """The step of increasing times, and where frames are missing."""
    step = spacing(times)
    if step is not None or len(times) < SHORTEST or not np.isfinite(times).all():
        return Timeline(step)
    intervals = np.diff(times)
    usual = float(np.median(intervals))
    if usual <= 0 or intervals.min() <= 0:
        return Timeline(None)
    counts = np.rint(intervals / usual)
    breaks = tuple(int(i) for i in np.flatnonzero(counts != 1) + 1)
    near = np.abs(intervals - counts * usual) <= counts * tolerance(times, usual)
    parts = np.split(times, breaks)
    steps = [spacing(part) for part in parts if len(part) > 1]
    if (counts == 1).mean() < USUAL or not near.all() or not breaks or None in steps:
        return Timeline(None)
    longest = max(parts, key=len)
    return Timeline(spacing(longest), breaks)


class Timelines:
    """When the frames of all trajectories of a store are.

    Attributes:
        first: the frame from which on frames are `dt` apart: 0, or 1 where only the first interval
            of every trajectory differs.
        dt: time between frames where it is the same everywhere, else None.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._of: list[list[Timeline]] = []
        rows = [_rows(source) for source in sources]
        everything = [times for each in rows for times in each]
        longer = [times for times in everything if len(times) > 1]  # a single frame has no step
        self.first, self.dt = _common(longer or everything)
        for each in rows:
            if self.dt is not None and self.first:
                self._of.append([Timeline(spacing(times)) for times in each])
            else:
                self._of.append([timeline(times) for times in each])
        if self.dt is None:
            lines = itertools.chain.from_iterable(self._of)
            steps = zip(everything, lines, strict=True)
            known = [line.step for times, line in steps if len(times) > 1 or not longer]
            self.dt = _same(known)
            self._of = [[_rounded(line, known) for line in each] for each in self._of]

    def __call__(self, file: int, trajectory: int) -> Timeline:
        """Those of a trajectory of a source."""
        known = self._of[file]
        return known[trajectory if len(known) > 1 else 0]

    @property
    def gaps(self) -> int:
        """Time axes in which frames are missing."""
        return sum(bool(line.breaks) for each in self._of for line in each)


def stretches(frames: int, first: int, breaks: Sequence[int]) -> list[range]:
    """The frames from `first` on in ranges without a gap."""
    edges = [first, *(b for b in breaks if b > first), frames]
    return [range(*pair) for pair in itertools.pairwise(edges)]


def _rounded(line: Timeline, steps: Sequence[float | None]) -> Timeline:
    """With the first of the steps that is the same up to rounding, so that windows fit a batch."""
    same = (s for s in steps if line.step and s and abs(s - line.step) <= SAME * s)
    return replace(line, step=next(same, line.step))


def _rows(source: Source) -> np.ndarray:
    """The time axes of a source: one where all trajectories share it."""
    times = np.atleast_2d(source.header.times)
    return times[:1] if (times == times[0]).all() else times


def _common(rows: Sequence[np.ndarray]) -> tuple[int, float | None]:
    """The first of the frames that are uniform in time, and their distance."""
    step = _same([spacing(times) for times in rows])
    if step is None and all(len(times) >= SHORTEST and times[0] < times[1] for times in rows):
        step = _same([spacing(times[1:]) for times in rows])
        return (0 if step is None else 1), step
    return 0, step


def _same(steps: Sequence[float | None]) -> float | None:
    first = steps[0]
    if first is None or any(s is None or abs(s - first) > SAME * first for s in steps):
        return None
    return first
