"""By what data are known again, wherever they lie: names, numbers and hashes of a store.

A fingerprint costs little: nothing is read but the headers that an open store has, the sizes of
files, what a manifest lists (its files are not read) and a few frames, of trajectories spread over
all, chosen by the size of the content. So it does not see values that were changed in other frames
of a file that kept its size and has no manifest; `pelagos data check --verify` reads all. Paths,
names of files and times of change do not count. Another packing of the same values (rechunked,
compressed) is other data.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ..base.manifest import MANIFEST, listed_in
from .store import Store

Fingerprint: TypeAlias = dict[str, str]  # of what -> text, or a hash; "" where it is not known

VERSION = "1"  # of what is hashed; others are not compared
_FRAMES = 8  # that are read at most
_BYTES = 2**26  # of values that are read at most, but for one frame
_ABOVE = 3  # folders above a file that may have its manifest
_TEXTS = ("name", "fields", "grid", "trajectories")  # which people can read


def fingerprint(store: Store) -> Fingerprint:
    """The fingerprint of a store's trajectories, as they are read.

    Raises:
        ValueError: a file cannot be read.
    """
    grid, sources = store.grid, store.sources
    paths = list(dict.fromkeys(source.path for source in sources))
    rows = [np.asarray(source.header.rows).tobytes() for source in sources]
    times = [np.ascontiguousarray(source.header.times).tobytes() for source in sources]
    return {
        "version": VERSION,
        "name": store.name,
        "fields": ", ".join(_names(store)),
        "grid": f"{grid.shape} {grid.lengths} {grid.boundary} {grid.origin}",
        "trajectories": f"{len(store)}",
        "their order": _hash(rows),
        "times": _hash(times),
        "parameters": _hash([store.parameter_table().tobytes()]),
        "sizes of files": _sizes(paths),
        "checksums": _checksums(paths),
        "values": _values(store),
    }


def differences(before: Fingerprint, now: Fingerprint) -> list[str]:
    """In what two fingerprints differ, in words; none where they are not comparable."""
    if before.get("version") != now.get("version"):
        return []
    found = []
    for what, value in now.items():
        known = before.get(what, "")
        if not known or not value or known == value:
            continue
        of = f" ({value}; it was {known})" if what in _TEXTS else ""
        found.append(f"other {what}{of}")
    return found


def _sizes(paths: Iterable[Path]) -> str:
    """Of plain files; what is a folder is known by its values."""
    return _hash([str(p.stat().st_size).encode() + b"\n" for p in paths if p.is_file()])


def _checksums(paths: Iterable[Path]) -> str:
    """A hash of what manifests list of the files; unknown where one is not listed."""
    manifests: dict[Path, Mapping[str, str]] = {}
    found = []
    for path in paths:
        above = next((each for each in path.parents[:_ABOVE] if (each / MANIFEST).is_file()), None)
        if above is None:
            return ""
        if above not in manifests:
            manifests[above] = listed_in(above)
        name, listed = path.relative_to(above).as_posix(), manifests[above]
        own = [listed[name]] if name in listed else _inside(name, listed)
        if not own:
            return ""
        found += own
    return _hash(digest.encode() for digest in found)


def _inside(folder: str, listed: Mapping[str, str]) -> list[str]:
    return [digest for name, digest in listed.items() if name.startswith(f"{folder}/")]


def _values(store: Store) -> str:
    """A hash of some frames and constant fields."""
    frames = sum(len(source) * source.header.n_frames for source in store.sources)
    each = 4 * len(store.fields) * math.prod(store.grid.shape)
    count = max(1, min(_FRAMES, _BYTES // max(1, each)))
    chosen = np.random.default_rng([len(store), frames])
    places = {}
    for i in np.linspace(0, len(store) - 1, count).round().astype(int).tolist():
        places[i, int(chosen.integers(store.n_frames(i)))] = None
    parts = []
    for i, frame in places:
        parts.append(store.read_raw(i, slice(frame, frame + 1)).tobytes())
        parts.append(store.constants_raw(i).tobytes())
        if store.prescribed is not None:
            parts.append(store.prescribed.read_raw(i, slice(frame, frame + 1)).tobytes())
    return _hash(parts)


def _names(store: Store) -> tuple[str, ...]:
    given = () if store.prescribed is None else store.prescribed.fields
    return (*store.fields, *store.constant_fields, *store.parameter_names, *given)


def _hash(parts: Iterable[bytes]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()[:32]
