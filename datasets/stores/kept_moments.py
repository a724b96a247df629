"""Moments of large training data, kept in the user's cache folder: computed once, by all processes.

They lie beside the index of stores (`$XDG_CACHE_HOME/pelagos/moments`), under a name that follows
from all that they depend on: files (size and modification time), the code that reads them, fields,
grid, times, trajectories, what is done with holes, and the first frame and the mask of the first
and the last trajectory as they are read. They may be deleted at any time, and a cache that cannot
be read or written does no harm.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np

from ..base.appearing import appearing_file
from ..base.processes import Processes
from ..fields.moments import Moments
from ..layouts.index import cache_folder, code_of_readers, stat
from .store import Store

VERSION = 1
SMALLEST = 2**28  # values that are worth a file

Parts = list[tuple[str, Moments]]  # of one trajectory, by field, block after block


def kept_moments(
    store: Store,
    trajectories: Sequence[int],
    what: Sequence[str],
    of_trajectory: Callable[[int], Parts],
    processes: Processes,
) -> dict[str, Moments]:
    """Moments of trajectories by field, from the cache or from all processes together.

    Parts are merged in the order of trajectories, so that the sums are the same to the bit however
    many processes compute them.

    Args:
        store: of the trajectories.
        trajectories: which ones; of a sketch, a few of them.
        what: names the moments, beside the trajectories.
        of_trajectory: computes the parts of one.
        processes: who shares the work.

    Raises:
        ValueError: as `of_trajectory`.
    """
    place = None
    if not processes.sketch and _size(store) >= SMALLEST:
        place = processes.once(lambda: _place(store, trajectories, what))
    known = processes.once(lambda: _read(place)) if place else None
    if known is not None:
        return known
    parts: dict[str, list[Moments]] = {}
    for found in processes.map(of_trajectory, processes.chosen(trajectories)):
        for name, moments in found:
            parts.setdefault(name, []).append(moments)
    merged = {name: reduce(add, each) for name, each in parts.items()}
    if place:
        processes.once(lambda: _write(place, merged))
    return merged


def _size(store: Store) -> int:
    frames = sum(len(source) * source.header.n_frames for source in store.sources)
    return frames * len(store.fields) * math.prod(store.grid.shape)


def _place(store: Store, trajectories: Sequence[int], what: Sequence[str]) -> Path | None:
    """Where moments are kept; None where they cannot be: the data are no plain files."""
    paths = sorted({source.path for source in store.sources})
    if not trajectories or not all(path.is_file() for path in paths):
        return None
    rows = [(str(s.path), s.header.rows, s.header.n_frames) for s in store.sources]
    about = (VERSION, code_of_readers(), what, store.fields, store.constant_fields, store.first)
    about = (*about, store.grid, sorted(store.units.items()), rows, store.holes)
    seen = hashlib.sha256(repr(about).encode())
    seen.update(repr([(str(path), *stat(path)) for path in paths]).encode())
    seen.update(np.asarray(trajectories).tobytes())
    for i in (trajectories[0], trajectories[-1]):
        mask = store.mask(i)
        seen.update(store.read_raw(i, slice(store.first, store.first + 1)).tobytes())
        seen.update(b"" if mask is None else mask.numpy().tobytes())
        seen.update(store.constants_raw(i).tobytes())
    return cache_folder("moments") / f"{seen.hexdigest()[:32]}.json"


def _read(place: Path) -> dict[str, Moments] | None:
    try:
        known = json.loads(place.read_text(encoding="utf-8"))
        return {
            name: Moments(int(count), np.array([mean]), np.array([deviation]))
            for name, (count, mean, deviation) in known.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def _write(place: Path, moments: dict[str, Moments]) -> None:
    plain = {k: [m.count, float(m.mean[0]), float(m.deviation[0])] for k, m in moments.items()}
    try:
        with appearing_file(place, overwrite=True) as draft:
            draft.write_text(json.dumps(plain), encoding="utf-8")
    except (OSError, ValueError):  # ValueError: no cache folder
        return
