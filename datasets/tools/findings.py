"""What can be wrong with the values and times of a dataset, each with its remedy."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..fields.moments import Moments
from ..fields.vocabulary import UNSPLIT
from ..layouts.source import Source
from ..stores.missing import PADDED
from ..stores.store import Store
from ..stores.survey import Survey, Table
from ..stores.timeline import Timeline, timeline
from .folder_draft import continue_each_other

SHIFT = 0.25  # a difference of split means that is reported, in standard deviations
SPREAD = 1.25  # a ratio of split standard deviations that is reported
SURE = 5.0  # how many standard errors either must exceed
ENOUGH = 5  # trajectories that a split needs for a comparison
OUTLIER = 100.0  # root mean square over the median one of all trajectories


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        rank: "error" (training fails or scores are void), "warning" (likely a mistake, or costly)
            or "note" (good to know).
        kind: its name, the same for the same problem.
        text: what was found, and where.
        remedy: what to do about it.
    """

    rank: Literal["error", "warning", "note"]
    kind: str
    text: str
    remedy: str


def value_findings(
    store: Store, survey: Survey, rounded: Collection[str] = ()
) -> Iterator[Finding]:
    """NaN, fields that never vary (unless that is by rounding), repeated frames, outliers."""
    for table in (survey.fields, survey.constants):
        yield from _not_finite(store, table)
        yield from _constant(store, table, rounded)
    yield from _frozen_fields(store, survey.fields)
    yield from _repeated_frames(store, survey)
    yield from _outliers(store, survey.fields)


def _not_finite(store: Store, table: Table) -> Iterator[Finding]:
    for channel, name in enumerate(table.names):
        where = np.flatnonzero(table.bad[:, channel])
        if not len(where):
            continue
        i = int(where[0])
        frame = int(table.first_bad[i, channel])
        path, local = store.origin(i)
        when = ""
        if table.names == store.fields:
            when = f" at frame {frame} (time {store.trajectory_times(i)[frame]:g})"
        frames = int(table.bad[:, channel].sum())
        yield Finding(
            "error",
            "not_finite",
            f"{name!r} holds NaN or infinite values in {frames} frames of {len(where)} "
            f"trajectories; the first{when} of trajectory {local} of {path}",
            "repair these trajectories or leave them out: reading one stops training (only what is "
            "missing in all frames of a trajectory is a mask; `holes: skip` leaves out the windows "
            f"that touch others, `holes: mask` masks these points in all frames; {PADDED})",
        )


def _constant(store: Store, table: Table, rounded: Collection[str]) -> Iterator[Finding]:
    for channel, name in enumerate(table.names):
        low, high = table.low[:, channel].min(), table.high[:, channel].max()
        if low == high and name not in rounded:
            reason = expected(store, name)
            yield Finding(
                "note" if reason else "warning",
                "constant",
                f"{name!r} is {low:g} everywhere{reason}",
                "leave it out of the recipe's `fields`: it carries nothing",
            )


def expected(store: Store, name: str) -> str:
    """Why a field need not vary; empty if it should."""
    filled = store.provenance.get("filled", [])  # of a converted dataset
    if name in filled or all(name in source.header.filled for source in store.sources):
        return ", as its layout fills it"
    if name in store.fields and not any(_predicted(store, i, name) for i in range(len(store))):
        return ", and is not predicted"
    return ""


def _predicted(store: Store, i: int, name: str) -> bool:
    """Whether a field of trajectory i is predicted anywhere."""
    mask = store.mask(i)
    return mask is None or bool(mask[store.fields.index(name)].any())


def _frozen_fields(store: Store, table: Table) -> Iterator[Finding]:
    for channel, name in enumerate(table.names):
        changes, constant = table.changes[0, :, channel], table.low[:, channel].min()
        if (
            changes.any()
            and not table.largest[:, channel].any()
            and constant < table.high[:, channel].max()
        ):
            reason = expected(store, name)
            yield Finding(
                "note" if reason else "warning",
                "frozen",
                f"{name!r} does not change in time in any trajectory{reason}",
                "store it as a constant field, or leave it out of the recipe's `fields`",
            )


def _repeated_frames(store: Store, survey: Survey) -> Iterator[Finding]:
    if survey.repeated:
        i, frames = next(iter(survey.repeated.items()))
        path, local = store.origin(i)
        yield Finding(
            "warning",
            "repeated_frames",
            f"{len(survey.repeated)} trajectories hold frames that equal the frame before; "
            f"trajectory {local} of {path}: {_some(frames)}",
            "make sure that every frame was saved once, and that no simulation stopped early",
        )


def _outliers(store: Store, table: Table) -> Iterator[Finding]:
    count, mean, deviation = table.values
    rms = np.sqrt(mean**2 + deviation / np.maximum(count, 1))
    for channel, name in enumerate(table.names):
        usual = float(np.median(rms[:, channel]))
        where = np.flatnonzero(rms[:, channel] > OUTLIER * usual) if usual else []
        if len(where):
            i = int(np.argmax(rms[:, channel]))
            path, local = store.origin(i)
            yield Finding(
                "warning",
                "outlier",
                f"{name!r} is over {OUTLIER:g} times its usual size (rms {usual:g}) in "
                f"{len(where)} trajectories; rms {rms[i, channel]:g} in trajectory {local} "
                f"of {path}",
                "look whether the simulation blew up (pelagos data plot), and leave it out if so",
            )


def series_findings(store: Store) -> Iterator[Finding]:
    """NaN in scalars that are prescribed."""
    for source in store.sources:
        for name in source.header.prescribed:
            values = source.header.series.get(name)
            if values is not None and not np.isfinite(values).all():
                yield Finding(
                    "error",
                    "not_finite",
                    f"the prescribed {name!r} of {source.path} holds NaN or infinite values",
                    "fill them: what is prescribed must be known at all times",
                )


def time_findings(store: Store) -> Iterator[Finding]:
    """Times that do not increase or are not uniform; trajectories of unequal length."""
    rows = [
        (s, row) for s in store.sources for row in np.atleast_2d(s.header.times) if len(row) > 1
    ]
    backward = [s.path for s, row in rows if not (np.diff(row) > 0).all()]
    if backward:
        yield Finding(
            "error",
            "times_not_increasing",
            f"times do not increase from frame to frame in {backward[0]}"
            + (f" and {len(backward) - 1} more time axes" if len(backward) > 1 else ""),
            "sort the frames by time and drop doubled ones",
        )
        return
    if store.first:
        yield Finding(
            "note",
            "first_interval",
            f"the first interval differs from all others ({rows[0][1][1] - rows[0][1][0]:g}, then "
            f"{store.dt:g}); training windows begin at frame {store.first}",
            "nothing, or cut the first frame off",
        )
    lines = [timeline(row[store.first :]) for _, row in rows]
    yield from _gaps(rows, lines)
    steps = [line.step for line in lines]
    uneven = [
        (s.path, np.diff(row)) for (s, row), step in zip(rows, steps, strict=True) if not step
    ]
    if uneven:
        path, gaps = uneven[0]
        yield Finding(
            "warning",
            "irregular_times",
            f"the time step varies within a trajectory, from {gaps.min():g} to {gaps.max():g} in "
            f"{path} ({len(uneven)} of {len(rows)} time axes)",
            "train on frames that are uniform in time, or predict one step from one frame",
        )
    known = [step for step in steps if step]
    if store.dt is None and known and not uneven:
        yield Finding(
            "warning",
            "unequal_steps",
            f"trajectories have different time steps, from {min(known):g} to {max(known):g}",
            "train an operator that takes any time step, or open the files of each as a dataset of "
            "their own",
        )
    yield from _together(store)


def _together(store: Store) -> Iterator[Finding]:
    """Files that are parts of one run; trajectories of unequal length."""
    if [*store.splits] == [UNSPLIT] and continue_each_other(store.sources):
        yield Finding(
            "warning",
            "parts_of_a_run",
            f"the {len(store.sources)} files continue each other in time, but are read as a "
            "trajectory each: no window crosses from one to the next",
            "`join: time` in a description.yaml (pelagos data describe drafts it) makes them one",
        )
    lengths = {source.header.n_frames for source in store.sources}
    if len(lengths) > 1:
        yield Finding(
            "note",
            "unequal_lengths",
            f"trajectories have {min(lengths)} to {max(lengths)} frames",
            "keep training windows shorter than the shortest trajectory",
        )


def _gaps(
    rows: Sequence[tuple[Source, np.ndarray]], lines: Sequence[Timeline]
) -> Iterator[Finding]:
    """Frames that are missing within trajectories."""
    broken = [(s, row, line) for (s, row), line in zip(rows, lines, strict=True) if line.breaks]
    if broken:
        source, row, line = broken[0]
        frame = line.breaks[0]
        yield Finding(
            "note",
            "gap",
            f"frames are missing in {len(broken)} of {len(rows)} time axes, first from time "
            f"{row[frame - 1]:.10g} to {row[frame]:.10g} in {source.path}, whose frames are "
            f"{line.step:g} apart elsewhere; no window crosses such a gap",
            "nothing, or add what is missing",
        )


def split_findings(store: Store, survey: Survey) -> Iterator[Finding]:
    """Splits that are missing, and statistics that differ between them."""
    missing = [name for name in ("train", "valid", "test") if name not in store.splits]
    if UNSPLIT not in store.splits and missing:
        yield Finding(
            "note",
            "missing_split",
            f"there is no {' and no '.join(missing)} split",
            "training needs train and valid, scores need test: put files into data/SPLIT, or say "
            "`splits: {train: 0.8, valid: 0.1, test: 0.1}` in the recipe",
        )
    train = store.splits.get("train")
    if train is None or len(train) < ENOUGH:
        return
    for split, part in store.splits.items():
        if split != "train" and len(part) >= ENOUGH:
            for table in (survey.fields, survey.constants):
                yield from _drift(table, train, split, part)
        yield from _parameters_beyond(store, train, split, part)


def _drift(table: Table, train: range, split: str, part: range) -> Iterator[Finding]:
    """Means and standard deviations that differ by more than chance and by a good deal."""
    count, mean, deviation = table.values
    spread = np.log(np.sqrt(deviation / np.maximum(count, 1)) + np.finfo(float).tiny)
    overall = table.moments(train)
    for channel, name in enumerate(table.names):
        whole: Moments | None = overall[channel]
        if whole is None or not whole.std[0]:
            continue
        shift = _difference(mean[:, channel], train, part)
        wider = _difference(spread[:, channel], train, part)
        told = []
        if abs(shift[0]) > SHIFT * whole.std[0] and abs(shift[0]) > SURE * shift[1]:
            told.append(f"its mean is {shift[0] / whole.std[0]:+.2g} standard deviations off")
        if abs(wider[0]) > np.log(SPREAD) and abs(wider[0]) > SURE * wider[1]:
            told.append(f"its spread within a trajectory is {np.exp(wider[0]):.2g} times as large")
        if told:
            yield Finding(
                "warning",
                "drift",
                f"{name!r} differs between train and {split}: {' and '.join(told)}",
                "split at random, or say that this split tests generalisation",
            )


def _difference(values: np.ndarray, train: range, part: range) -> tuple[float, float]:
    """Difference of the means of two sets of trajectories, and its standard error."""
    one, two = values[np.asarray(train)], values[np.asarray(part)]
    error = np.sqrt(one.var(ddof=1) / len(one) + two.var(ddof=1) / len(two))
    return float(two.mean() - one.mean()), float(error)


def _parameters_beyond(store: Store, train: range, split: str, part: range) -> Iterator[Finding]:
    if split == "train":
        return
    table = store.parameter_table()
    for name, column in zip(store.parameter_names, table.T, strict=True):
        known, other = column[np.asarray(train)], column[np.asarray(part)]
        beyond = int(((other < known.min()) | (other > known.max())).sum())
        if beyond:
            yield Finding(
                "note",
                "parameter_range",
                f"{beyond} trajectories of {split} have {name} beyond train's "
                f"{known.min():g} to {known.max():g}",
                "expect extrapolation there, or split at random",
            )


def _some(frames: list[int]) -> str:
    shown = ", ".join(map(str, frames[:5]))
    return f"frames {shown}{' …' if len(frames) > 5 else ''}"
