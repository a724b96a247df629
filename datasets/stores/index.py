"""What the files of a large store hold, kept so that opening it again reads none of them.

The index of a path is a JSON file in the user's cache folder (`$XDG_CACHE_HOME/pelagos/index`,
`~/.cache/pelagos/index` without it): nothing is ever written into a dataset that is only read. An
entry counts for a file of the same size and modification time; any other file is read again.
An index may be deleted at any time, and one that cannot be read or written does no harm.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ..base.appearing import appearing_file
from ..fields.grid import Grid

SMALLEST = 64  # files of a store that is worth an index
VERSION = 1
READERS = (
    "pelagos.datasets.files",
    "pelagos.datasets.layouts",
)  # packages whose code says what a file holds

# Split -> source of a file. The sources are those of `source.Source`.
Sources: TypeAlias = "Mapping[str, Any]"
_TUPLES = ("axes", "fields", "constant_fields", "parameter_names")


class IndexedSource:
    """A source whose description comes from an index; its file is opened when values are read."""

    def __init__(self, path: Path, header: Header, row: dict[str, Any], opener: Any) -> None:
        self.path = path
        self._opener, self._opened, self._count = opener, None, int(row["count"])
        self.name, self.grid, self.units = header.name, header.grid, header.units
        self.axes, self.fields = header.axes, header.fields
        self.constant_fields, self.parameter_names = header.constant_fields, header.parameter_names
        self.times = header.times if row["times"] is None else np.array(row["times"], np.float64)
        self.parameters = np.array(row["parameters"], np.float64).reshape(self._count, -1)
        self.series = {k: np.array(values) for k, values in row["series"].items()}
        self.provenance = row["provenance"]

    def __len__(self) -> int:
        return self._count

    def read(self, trajectory: int, frames: slice, channels: Sequence[int]) -> np.ndarray:
        """The given frames and channels of a trajectory."""
        return self.source.read(trajectory, frames, channels)

    def constants(self, trajectory: int) -> np.ndarray:
        """The constant fields of a trajectory."""
        return self.source.constants(trajectory)

    def mask(self, trajectory: int) -> np.ndarray | None:
        """Where the fields of a trajectory are predicted; None: everywhere."""
        mask = getattr(self.source, "mask", None)
        return None if mask is None else mask(trajectory)

    def close(self) -> None:
        """Give the file back; the next access opens it again."""
        if self._opened is not None:
            self._opened.close()

    @property
    def rows(self) -> range | None:
        """The trajectories of the file that belong to the source; None for all."""
        return getattr(self.source, "rows", None)

    @property
    def filled(self) -> tuple[str, ...]:
        """Names of the fields that the layout gives one value."""
        return getattr(self.source, "filled", ())

    @property
    def source(self) -> Any:
        """The source itself.

        Raises:
            ValueError: the file cannot be read, or holds something else by now.
        """
        if self._opened is None:
            opened = self._opener()
            if len(opened) != len(self) or opened.fields != self.fields:
                raise ValueError(
                    f"{self.path} has changed since the store was opened; open it again"
                )
            self._opened = opened
        return self._opened

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class Header:
    """What the sources of a store share; made once, so that they share its objects too."""

    def __init__(self, plain: Mapping[str, Any]) -> None:
        self.name, self.units = plain["name"], dict(plain["units"])
        self.axes, self.fields, self.constant_fields, self.parameter_names = (
            tuple(plain[name]) for name in _TUPLES
        )
        grid = plain["grid"]
        self.grid = Grid(*(tuple(grid[k]) for k in ("shape", "lengths", "boundary", "origin")))
        self.times = np.array(plain["times"], np.float64)


class Index:
    """The index of one path: look up a file's sources, add those of a new one, save.

    Args:
        path: the path that is opened, absolute.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.headers: list[dict[str, Any]] = []
        self.files: dict[str, dict[str, Any]] = {}
        self.changed = False
        self._made: dict[int, Header] = {}
        self._numbers: dict[str, int] = {}
        known = _load(_location(path))
        if known is not None and known.get("valid_for") == self._key():
            self.headers, self.files = known["headers"], known["files"]
            self._numbers = {_text(plain): k for k, plain in enumerate(self.headers)}

    def __contains__(self, file: Path) -> bool:
        return str(file) in self.files

    def get(self, file: Path, opener: Callable[[str, str], Any]) -> tuple[str, Sources] | None:
        """Layout and sources of a file that has not changed since they were added, or None.

        Args:
            file: the file.
            opener: opens its source of a layout and split; must survive pickling.
        """
        entry = self.files.get(str(file))
        if entry is None or entry["stat"] != stat(file):
            return None
        layout = entry["layout"]
        return layout, {
            split: IndexedSource(
                file, self._header(row["header"]), row, partial(opener, layout, split)
            )
            for split, row in entry["sources"].items()
        }

    def add(self, file: Path, stat: list[int], layout: str, sources: Sources) -> None:
        """Add the sources of a file that had this `stat` before it was read."""
        rows = {split: self._row(source) for split, source in sources.items()}
        self.files[str(file)] = {"stat": stat, "layout": layout, "sources": rows}
        self.changed = True

    def save(self) -> None:
        """Write the index, if anything was added to it and the cache folder can be written."""
        if not self.changed:
            return
        content = {"valid_for": self._key(), "headers": self.headers, "files": self.files}
        try:
            text = json.dumps(content, separators=(",", ":"))
            with appearing_file(_location(self.path), overwrite=True) as draft:
                draft.write_text(text, encoding="utf-8")
        except (OSError, ValueError, TypeError):
            # TypeError: the provenance is nothing that JSON can hold; ValueError: no cache folder.
            return

    def _key(self) -> list[Any]:
        return [VERSION, str(self.path), _code()]

    def _header(self, number: int) -> Header:
        if number not in self._made:
            self._made[number] = Header(self.headers[number])
        return self._made[number]

    def _row(self, source: Any) -> dict[str, Any]:
        grid = source.grid
        plain = {
            "name": source.name,
            "units": source.units,
            **{name: list(getattr(source, name)) for name in _TUPLES},
            "grid": {
                "shape": list(grid.shape),
                "lengths": list(grid.lengths),
                "boundary": list(grid.boundary),
                "origin": list(grid.origin),
            },
            "times": source.times.tolist() if source.times.ndim == 1 else [],
        }
        number = self._numbers.setdefault(_text(plain), len(self.headers))
        if number == len(self.headers):
            self.headers.append(plain)
        return {
            "header": number,
            "count": len(source),
            "times": None if source.times.ndim == 1 else source.times.tolist(),
            "parameters": source.parameters.tolist(),
            "provenance": source.provenance,
            "series": {name: values.tolist() for name, values in source.series.items()},
        }


def stat(file: Path) -> list[int]:
    """Size and modification time, by which a changed file is known."""
    found = file.stat()
    return [found.st_size, found.st_mtime_ns]


def _location(path: Path) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    name = hashlib.sha256(str(path).encode()).hexdigest()[:32]
    return Path(base) / "pelagos" / "index" / f"{name}.json"


def _load(location: Path) -> dict[str, Any] | None:
    try:
        known = json.loads(location.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return known if isinstance(known, dict) else None


def _code() -> str:
    """A hash of the code that reads files: another version may see other things in them."""
    readers = (importlib.import_module(name) for name in READERS)
    folders = [Path(folder) for package in readers for folder in package.__path__]
    files = sorted(path for folder in folders for path in folder.glob("*.py"))
    parts = [(path.name, *stat(path)) for path in files]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _text(plain: Mapping[str, Any]) -> str:
    return json.dumps(plain, sort_keys=True)
