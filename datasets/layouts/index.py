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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float32, Float64

from ..base.appearing import appearing_file
from ..fields.grid import Grid
from .detect import LAYOUTS
from .source import Header, Source

SMALLEST = 64  # files of a store that is worth an index
VERSION = 4
READERS = (
    "pelagos.datasets.files",
    "pelagos.datasets.layouts",
)  # packages whose code says what a file holds

Sources: TypeAlias = Mapping[str, Source]  # split -> source of a file
_TUPLES = ("axes", "fields", "constant_fields", "parameter_names", "filled", "prescribed")


class IndexedSource(Source):
    """A source whose header comes from an index; its file is opened when values are read."""

    def __init__(self, path: Path, header: Header, opener: Callable[[], Source]) -> None:
        self.path, self.header = path, header
        self._opener, self._opened = opener, None

    def read(
        self, trajectory: int, frames: slice, channels: Sequence[int]
    ) -> Float32[np.ndarray, "T C *S"]:
        """The given frames and channels of a trajectory."""
        return self.source.read(trajectory, frames, channels)

    def read_exactly(
        self, trajectory: int, frames: slice, channels: Sequence[int]
    ) -> Float64[np.ndarray, "T C *S"]:
        """The same in double precision, as exactly as the file has it."""
        return self.source.read_exactly(trajectory, frames, channels)

    def constants(self, trajectory: int) -> Float32[np.ndarray, "K *S"]:
        """The constant fields of a trajectory."""
        return self.source.constants(trajectory)

    def mask(self, trajectory: int) -> Bool[np.ndarray, "C *S"] | None:
        """Where the fields of a trajectory are predicted; None: everywhere."""
        return self.source.mask(trajectory)

    def close(self) -> None:
        """Give the file back; the next access opens it again."""
        if self._opened is not None:
            self._opened.close()

    @property
    def source(self) -> Source:
        """The source itself.

        Raises:
            ValueError: the file cannot be read, or holds something else by now.
        """
        if self._opened is None:
            opened = self._opener()
            if len(opened) != len(self) or opened.header.fields != self.header.fields:
                raise ValueError(
                    f"{self.path} has changed since the store was opened; open it again"
                )
            self._opened = opened
        return self._opened

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}


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
        self._made: dict[int, Header] = {}  # so that sources share what is the same
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
            split: IndexedSource(file, self._header(row), partial(opener, layout, split))
            for split, row in entry["sources"].items()
        }

    def add(self, file: Path, stat: list[int], layout: str, sources: Sources) -> None:
        """Add the sources of a file that had this `stat` before it was read."""
        rows = {split: self._row(source.header) for split, source in sources.items()}
        self.files[str(file)] = {"stat": stat, "layout": layout, "sources": rows}
        self.changed = True

    def save(self) -> None:
        """Write the index, if anything was added to it and the cache folder can be written."""
        if not self.changed:
            return
        content = {"valid_for": self._key(), "headers": self.headers, "files": self.files}
        try:
            text = json.dumps({"digest": _digest(content), **content}, separators=(",", ":"))
            with appearing_file(_location(self.path), overwrite=True) as draft:
                draft.write_text(text, encoding="utf-8")
        except (OSError, ValueError, TypeError):
            # TypeError: the provenance is nothing that JSON can hold; ValueError: no cache folder.
            return

    def _key(self) -> list[Any]:
        return [VERSION, str(self.path), code_of_readers()]

    def _header(self, row: dict[str, Any]) -> Header:
        number = row["header"]
        if number not in self._made:
            self._made[number] = _shared(self.headers[number])
        shared, rows = self._made[number], range(*row["rows"])
        return replace(
            shared,
            rows=rows,
            times=shared.times if row["times"] is None else np.array(row["times"], np.float64),
            parameters=np.array(row["parameters"], np.float64).reshape(len(rows), -1),
            series={name: np.array(values) for name, values in row["series"].items()},
            provenance=row["provenance"],
        )

    def _row(self, header: Header) -> dict[str, Any]:
        grid, rows = header.grid, header.rows
        plain = {
            "name": header.name,
            "units": header.units,
            "mask_fill": header.mask_fill,
            "holes": header.holes,
            **{name: list(getattr(header, name)) for name in _TUPLES},
            "grid": {
                "shape": list(grid.shape),
                "lengths": list(grid.lengths),
                "boundary": list(grid.boundary),
                "origin": list(grid.origin),
            },
            "times": header.times.tolist() if header.times.ndim == 1 else [],
        }
        step = rows[1] - rows[0] if len(rows) > 1 else 1
        number = self._numbers.setdefault(_text(plain), len(self.headers))
        if number == len(self.headers):
            self.headers.append(plain)
        return {
            "header": number,
            "rows": [rows[0], rows[-1] + step, step],
            "times": None if header.times.ndim == 1 else header.times.tolist(),
            "parameters": header.parameters.tolist(),
            "provenance": header.provenance,
            "series": {name: values.tolist() for name, values in header.series.items()},
        }


def _shared(plain: Mapping[str, Any]) -> Header:
    """A header without what each file has of its own."""
    grid = plain["grid"]
    names: dict[str, Any] = {name: tuple(plain[name]) for name in _TUPLES}
    return Header(
        name=plain["name"],
        units=dict(plain["units"]),
        mask_fill=dict(plain["mask_fill"]),
        holes=plain["holes"],
        grid=Grid(*(tuple(grid[k]) for k in ("shape", "lengths", "boundary", "origin"))),
        times=np.array(plain["times"], np.float64),
        rows=range(0),
        **names,
    )


def stat(file: Path) -> list[int]:
    """Size and modification time, by which a changed file is known."""
    found = file.stat()
    return [found.st_size, found.st_mtime_ns]


def state_of(files: Iterable[Path]) -> str:
    """A hash of files by name, size and modification time: another where one has changed."""
    known = [(file.name, *stat(file)) for file in files]
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16]


def cache_folder(kind: str) -> Path:
    """Where this user's caches of a kind lie."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pelagos" / kind


def _location(path: Path) -> Path:
    name = hashlib.sha256(str(path).encode()).hexdigest()[:32]
    return cache_folder("index") / f"{name}.json"


def _load(location: Path) -> dict[str, Any] | None:
    """What an index holds; None where there is none, or one that is not as it was written."""
    try:
        known = json.loads(location.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    digest = known.pop("digest", None) if isinstance(known, dict) else None
    return known if digest is not None and digest == _digest(known) else None


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


def code_of_readers() -> str:
    """A hash of the code that reads files: another version may see other things in them."""
    readers = (importlib.import_module(name) for name in READERS)
    folders = [Path(folder) for package in readers for folder in package.__path__]
    files = sorted(path for folder in folders for path in folder.glob("*.py"))
    parts = [(path.name, *stat(path)) for path in files]
    parts += [(name, LAYOUTS.provider(name)) for name in LAYOUTS.names() if LAYOUTS.provider(name)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _text(plain: Mapping[str, Any]) -> str:
    return json.dumps(plain, sort_keys=True)
