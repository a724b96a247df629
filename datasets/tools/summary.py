"""A store described in text, for people."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ..stores.store import Store
from .access import data_paths, stored_arrays, stored_bytes

MEBI = 2**20
SHOWN = 4  # arrays
# What the provenance of simulated data says that people ask for first.
ORIGIN = ("source", "dataset", "converted_from", "equation", "formula", "seed", "solver", "step")


def summary(store: Store) -> str:
    """Fields, units, grid, times, parameters, splits, size and provenance of a store."""
    rows = [
        ("fields", ", ".join(with_unit(store, name) for name in store.fields)),
        ("prescribed", ", ".join(with_unit(store, name) for name in _prescribed(store))),
        ("constant fields", ", ".join(with_unit(store, name) for name in store.constant_fields)),
        ("problem", f"steady: {', '.join(store.inputs)} → {', '.join(store.fields)}")
        if store.steady
        else ("", ""),
        ("mask", _mask(store)),
        *_grid_rows(store),
        *([] if store.steady else _time_rows(store)),
        *_parameter_rows(store),
        ("in time", ", ".join(k for k in _series(store) if k not in _prescribed(store))),
        ("splits", ", ".join(f"{name} {len(part)}" for name, part in store.splits.items())),
        ("size", _size(store)),
        *_storage_rows(store),
        *_provenance_rows(store),
    ]
    lines = [f"{name:<16}{text}" for name, text in rows if text]
    return "\n".join([store.name, *lines])


def _prescribed(store: Store) -> tuple[str, ...]:
    return () if store.prescribed is None else store.prescribed.fields


def _series(store: Store) -> tuple[str, ...]:
    return tuple(store.sources[0].header.series)


def _mask(store: Store) -> str:
    mask = store.mask(0)
    if mask is None:
        return ""
    shares = zip(store.fields, mask.double().flatten(1).mean(1).tolist(), strict=True)
    left_out = ", ".join(f"{name} at {1 - part:.1%}" for name, part in shares if part < 1)
    return f"not predicted in trajectory 0: {left_out} of the points"


def _unit(store: Store, name: str) -> str:
    """The unit with a space before it; nothing if it is unknown or 1."""
    unit = store.units.get(name, "1")
    return "" if unit == "1" else f" {unit}"


def with_unit(store: Store, name: str, label: str = "") -> str:
    """A label (the name by default) with the unit of what is named, where it has one."""
    unit = _unit(store, name)
    return f"{label or name} [{unit[1:]}]" if unit else label or name


def _grid_rows(store: Store) -> list[tuple[str, str]]:
    grid, unit = store.grid, _unit(store, "length")
    rows = [("grid", " × ".join(map(str, grid.shape)))]
    axes = zip(store.axes, grid.origin, grid.lengths, grid.spacing, grid.boundary, strict=True)
    for axis, start, length, spacing, boundary in axes:
        extent = f"[{start:.6g}, {start + length:.6g}){unit}"
        rows.append((f"axis {axis}", f"{extent}, spacing {spacing:.6g}, {boundary}"))
    return rows


def _time_rows(store: Store) -> list[tuple[str, str]]:
    frames = {source.header.n_frames for source in store.sources}
    count = str(min(frames)) if len(frames) == 1 else f"{min(frames)} to {max(frames)}"
    unit = _unit(store, "time")
    step = "not the same everywhere" if store.dt is None else f"{store.dt:.6g}{unit}"
    if store.first:
        step += f" from frame {store.first} on, where training windows begin"
    span = f"{store.times[0]:.6g} to {store.times[-1]:.6g}{unit}"
    return [("frames", f"{count} per trajectory, {span}"), ("time step", step)]


def _parameter_rows(store: Store) -> list[tuple[str, str]]:
    rows = []
    for name, column in zip(store.parameter_names, store.parameter_table().T, strict=True):
        low, high = f"{column.min():.6g}", f"{column.max():.6g}"
        text = low if low == high else f"{low} to {high}"
        rows.append((name, f"{text}{_unit(store, name)}"))
    return rows


def _provenance_rows(store: Store) -> list[tuple[str, str]]:
    """What is known of `ORIGIN`, a line each; else the names of all that is known."""
    said = store.provenance
    inner = said.get("source")
    if isinstance(inner, dict):  # of a converted dataset: what its own source says
        said = {**said, **{"source": "", **inner}}
    known = {key: said[key] for key in ORIGIN if said.get(key) not in (None, "")}
    lines = [f"{key.replace('_', ' ')}: {_plain(value)}" for key, value in known.items()]
    if not lines and store.provenance:
        lines = [f"keys: {', '.join(sorted(store.provenance))}"]
    return [("" if k else "provenance", line) for k, line in enumerate(lines)]


def _plain(value: Any) -> str:
    """A value on one line, text without quotes."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ".join(text.split())


def _storage_rows(store: Store) -> list[tuple[str, str]]:
    """How the large arrays of the first file are stored."""
    arrays = stored_arrays(store.sources[0].path)
    rows = []
    for item in arrays[:SHOWN]:
        lies = "contiguous" if item.chunks is None else f"chunks {times(item.chunks)}"
        text = f"{item.name} {times(item.shape)} {item.dtype}, {lies} {item.filters}".rstrip()
        rows.append(("" if rows else "stored as", text))
    if len(arrays) > SHOWN:
        rows.append(("", f"and {len(arrays) - SHOWN} more arrays"))
    return rows


def times(shape: tuple[int, ...]) -> str:
    """`12×41×64`."""
    return "×".join(map(str, shape))


def _size(store: Store) -> str:
    paths = data_paths(store)
    stored = sum(map(stored_bytes, paths))
    frame = 4 * len(store.fields) * int(np.prod(store.grid.shape))
    files = f"{len(paths)} file{'s' * (len(paths) != 1)}"
    return (
        f"{len(store)} trajectories in {files}, {stored / MEBI:.3g} MiB; "
        f"a frame is {frame / MEBI:.3g} MiB"
    )
