"""Findings: values that were never written, and marks of missing values that slipped in."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..stores.store import Store
from ..stores.survey import Survey, Table
from .findings import Finding, expected

DROP = 1e-3  # of a field's range: a frame that varied so much does not become constant by itself
MINORITY = 0.5  # of the trajectories, at most, are taken to be lost


def unwritten_findings(store: Store, survey: Survey) -> Iterator[Finding]:
    """Trajectories and frames that are constant, or do not change, where others do."""
    yield from _lost_trajectories(store, survey.fields)
    yield from _lost_frames(store, survey.fields)
    yield from _frozen_trajectories(store, survey.fields)


def mark_findings(store: Store, survey: Survey) -> Iterator[Finding]:
    """Marks of missing values, such as -9999, far outside of all other values."""
    for table in (survey.fields, survey.constants):
        for name, marked in zip(table.names, table.marked, strict=True):
            width = max(marked.high - marked.low, 0.0) if np.isfinite(marked.low) else 0.0
            for value, (frames, count, i, frame) in marked.found.items():
                far = value < marked.low - width or value > marked.high + width
                if not far or (not np.isfinite(marked.low) and store.grid.shape == (1,)):
                    continue
                path, local = store.origin(i)
                yield Finding(
                    "error",
                    "fill_value",
                    f"{name!r} is exactly {value:.8g} in {frames} frames ({count} points of frame "
                    f"{frame} of trajectory {local} of {path}), and otherwise "
                    f"{marked.low:g} to {marked.high:g}: a mark of missing values, or of "
                    f"numbers that were packed",
                    "say so in the file, by the array's attribute _FillValue, or write NaN there "
                    "(see pelagos help data, missing values)",
                )


def _varying(table: Table, channel: int) -> np.ndarray:
    """Which trajectories a field varies in."""
    return table.high[:, channel] > table.low[:, channel]


def _lost_trajectories(store: Store, table: Table) -> Iterator[Finding]:
    whole = _whole(table)
    least = np.zeros(len(store))
    if math.prod(store.grid.shape) > 1:  # one predicted point, by the mask, need not vary
        least = np.array([store.n_frames(i) for i in range(len(store))])
    for channel, name in enumerate(table.names):
        varies = _varying(table, channel)
        where = np.flatnonzero(~varies & (table.values[0, :, channel] > least))
        if not len(where) or not varies.any() or expected(store, name):
            continue
        i = int(where[0])
        path, local = store.origin(i)
        alone = len(table.names) > 1 and not whole[where].any()
        yield Finding(
            "note" if alone else "warning",
            "lost_trajectories",
            f"{name!r} is constant in {len(where)} of {len(varies)} trajectories and varies in the "
            f"others: {table.low[i, channel]:g} everywhere in trajectory {local} of {path}",
            "were they ever written? Write them again, or leave them out",
        )


def _whole(table: Table) -> np.ndarray:
    """The trajectories in which no field varies that varies in any other."""
    varies = table.high > table.low
    return np.logical_not(varies[:, varies.max(axis=0)].max(axis=1, initial=False))


def _lost_frames(store: Store, table: Table) -> Iterator[Finding]:
    flat = table.flat
    for channel, name in enumerate(table.names):
        varies = _varying(table, channel)
        if not varies.any():
            continue
        span = table.high[:, channel].max() - table.low[:, channel].min()
        fell = flat.drop[:, channel] > DROP * span
        start = flat.start[:, channel] & varies
        if start.sum() >= MINORITY * len(start):  # a problem that begins at rest
            start[:] = False
        where = np.flatnonzero(fell | start)
        if not len(where):
            continue
        i = int(where[0])
        frame = int(flat.at[i, channel]) if fell[i] else 0
        path, local = store.origin(i)
        yield Finding(
            "warning",
            "lost_frames",
            f"{name!r} has frames that are constant in space, in {len(where)} of {len(varies)} "
            f"trajectories, though it varies before or elsewhere; the first is frame {frame} "
            f"(time {store.trajectory_times(i)[frame]:g}) of trajectory {local} of {path}",
            "were they ever written? Write them again, or leave these trajectories out",
        )


def _frozen_trajectories(store: Store, table: Table) -> Iterator[Finding]:
    """Trajectories that stand still in every field that moves in another one."""
    moving = table.largest > 0
    fields = moving.any(axis=0)
    still = ~moving[:, fields].any(axis=1) & (table.changes[0].max(axis=1) > 0)
    varies = (table.high > table.low).any(axis=1)  # the others are told of as lost
    where = np.flatnonzero(still & varies)
    if fields.any() and len(where):
        i = int(where[0])
        path, local = store.origin(i)
        yield Finding(
            "warning",
            "frozen_trajectories",
            f"{len(where)} of {len(still)} trajectories do not change in time, and the others do; "
            f"the first is trajectory {local} of {path}",
            "look whether their frames were all saved from one state; leave them out if so",
        )
