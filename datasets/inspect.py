"""A store described in text, for people."""

from __future__ import annotations

import json

import numpy as np

from .store import Store

MEBI = 2**20


def summary(store: Store) -> str:
    """Fields, units, grid, times, parameters, splits, size and provenance of a store."""
    rows = [
        ("fields", ", ".join(_with_unit(store, name) for name in store.fields)),
        ("constant fields", ", ".join(_with_unit(store, name) for name in store.constant_fields)),
        *_grid_rows(store),
        *_time_rows(store),
        *_parameter_rows(store),
        ("splits", ", ".join(f"{name} {len(part)}" for name, part in store.splits.items())),
        ("size", _size(store)),
        ("provenance", json.dumps(store.provenance, sort_keys=True) if store.provenance else ""),
    ]
    lines = [f"{name:<16}{text}" for name, text in rows if text]
    return "\n".join([store.name, *lines])


def _with_unit(store: Store, name: str) -> str:
    return f"{name} [{store.units[name]}]" if name in store.units else name


def _grid_rows(store: Store) -> list[tuple[str, str]]:
    grid, unit = store.grid, store.units.get("length", "")
    rows = [("grid", " × ".join(map(str, grid.shape)))]
    axes = zip(store.axes, grid.origin, grid.lengths, grid.spacing, grid.boundary, strict=True)
    for axis, start, length, spacing, boundary in axes:
        extent = f"[{start:.6g}, {start + length:.6g}) {unit}".rstrip()
        rows.append((f"axis {axis}", f"{extent}, spacing {spacing:.6g}, {boundary}"))
    return rows


def _time_rows(store: Store) -> list[tuple[str, str]]:
    frames = {source.times.shape[-1] for source in store.sources}
    count = str(min(frames)) if len(frames) == 1 else f"{min(frames)} to {max(frames)}"
    unit = f" {store.units['time']}" if "time" in store.units else ""
    step = "not the same everywhere" if store.dt is None else f"{store.dt:.6g}{unit}"
    span = f"{store.times[0]:.6g} to {store.times[-1]:.6g}{unit}"
    return [("frames", f"{count} per trajectory, {span}"), ("time step", step)]


def _parameter_rows(store: Store) -> list[tuple[str, str]]:
    rows = []
    for name, column in zip(store.parameter_names, store.parameter_table().T, strict=True):
        low, high = f"{column.min():.6g}", f"{column.max():.6g}"
        text = low if low == high else f"{low} to {high}"
        rows.append((name, f"{text} {store.units.get(name, '')}".rstrip()))
    return rows


def _size(store: Store) -> str:
    stored = sum(source.path.stat().st_size for source in store.sources)
    frame = 4 * len(store.fields) * int(np.prod(store.grid.shape))
    return (
        f"{len(store)} trajectories in {len(store.sources)} files, {stored / MEBI:.1f} MiB; "
        f"a frame is {frame / MEBI:.3g} MiB"
    )
