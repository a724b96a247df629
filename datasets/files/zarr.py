"""Arrays of Zarr folders."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .conventions import decoded
from .guard import METADATA, STORED, check_declared
from .lazy import Lazy

MARKS = {"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"}  # names of metadata
DIMENSIONS = "_ARRAY_DIMENSIONS"
# Of the filters that Zarr knows, those that only move, pack or check numbers ("pickle" runs code).
COMPRESSORS = {"blosc", "zlib", "gzip", "bz2", "lzma", "zstd", "lz4", "lzf"}
CODECS = COMPRESSORS | {
    *("bytes", "transpose", "sharding_indexed", "shuffle", "delta", "fixedscaleoffset", "quantize"),
    *("bitround", "astype", "packbits", "crc32", "crc32c", "adler32", "fletcher32"),
}


class ZarrFolder(Lazy):
    """A Zarr group, version 2 or 3, in a local folder (`pip install pelagos[zarr]`)."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the arrays of the group, at most one level of groups deep."""
        found = {}
        for mark in [*self.path.glob("*/.zarray"), *self.path.glob("*/*/.zarray")]:
            found[mark.parent.relative_to(self.path).as_posix()] = mark
        for mark in [*self.path.glob("*/zarr.json"), *self.path.glob("*/*/zarr.json")]:
            found[mark.parent.relative_to(self.path).as_posix()] = mark
        stored = {name: _json(mark) for name, mark in sorted(found.items())}
        return {
            name: tuple(map(int, entry["shape"]))
            for name, entry in stored.items()
            if isinstance(entry.get("shape"), list)
        }

    def array(self, name: str) -> Any:
        """An array of the group."""
        self._own()
        self._opened = {} if self._opened is None else self._opened
        if name not in self._opened:
            array = _open(self.path, name)
            self._opened[name] = decoded(name, array, self.attributes(name))
        return self._opened[name]

    def attributes(self, name: str = "") -> Mapping[str, Any]:
        """Attributes of an array or group, by default of the file, and its fill value."""
        folder = _inside(self.path, name)
        found = {}
        for mark in ("zarr.json", ".zattrs"):
            if (folder / mark).is_file():
                entry = _json(folder / mark)
                found = entry.get("attributes") if mark == "zarr.json" else entry
        found = dict(found) if isinstance(found, Mapping) else {}
        if name and isinstance(found.get("_FillValue"), str):
            found["_FillValue"] = _fill_value(folder, found["_FillValue"])
        if name and (folder / ".zarray").is_file():  # in version 2 it marks what is missing
            fill = _json(folder / ".zarray").get("fill_value")
            if isinstance(fill, (int, float)) and not isinstance(fill, bool) and fill != 0:
                found.setdefault("_FillValue", fill)
        return {key: value for key, value in found.items() if key != DIMENSIONS}

    def dimensions(self, name: str) -> tuple[str, ...]:
        """Names of an array's dimensions, as xarray writes them (2) or of its metadata (3)."""
        folder = _inside(self.path, name)
        names = None
        if (folder / "zarr.json").is_file():
            names = _json(folder / "zarr.json").get("dimension_names")
        elif (folder / ".zattrs").is_file():
            names = _json(folder / ".zattrs").get(DIMENSIONS)
        return tuple(str(item or "") for item in names) if isinstance(names, list) else ()


def _open(root: Path, name: str) -> Any:
    try:
        import zarr

        from .zarr_chunks import CheckedStore, leaves_out
    except ImportError:
        raise ValueError(f"{root} is in Zarr's format; pip install zarr to read it") from None
    folder = _inside(root, name)
    codecs = _check(root, folder, name)
    try:
        store = CheckedStore(folder)
        array = zarr.open_array(store=store, mode="r")
    except Exception as error:
        raise ValueError(f"{folder} is damaged ({error!s:.200}); copy or make it again") from None
    item = array.dtype.itemsize
    chunk = math.prod(array.chunks) * item
    sizes = {entry: entry.stat().st_size for entry in folder.rglob("*") if entry.is_file()}
    stored, unit = sum(sizes.values()), math.prod(array.shards or array.chunks) * item
    largest = max((n for path, n in sizes.items() if path.name not in MARKS), default=0)
    if largest > unit + STORED:
        raise ValueError(
            f"{folder} stores a chunk in {largest} bytes that should unpack to {unit}; is it "
            f"damaged?"
        )
    chunks = [path.relative_to(folder).as_posix() for path in sizes if path.name not in MARKS]
    store.absent = leaves_out(array, chunks)
    store.limit = 8 * unit if "blosc" in codecs else None  # filters may have widened the numbers
    check_declared(folder, name, array.shape, item, stored)
    check_declared(folder, f"a chunk of {name}", (chunk,), 1, stored)
    return array


def _fill_value(folder: Path, text: str) -> Any:
    """What xarray writes as text in version 3; the text where it is no number."""
    from xarray.backends.zarr import FillValueCoder  # on use: few arrays have one

    dtype = str(_json(folder / "zarr.json").get("data_type", ""))
    try:
        return FillValueCoder.decode(text, dtype)
    except (ValueError, TypeError, KeyError):
        return text


def _inside(root: Path, name: str) -> Path:
    folder = (root / name).resolve()
    if not folder.is_relative_to(root.resolve()):
        raise ValueError(f"{root}: {name!r} lies outside the folder, where nothing is read")
    return folder


def _check(root: Path, folder: Path, name: str) -> set[str]:
    """The filters; refuses links out of the folder, and those that could run code or fetch data."""
    marks = [folder / mark for mark in (".zarray", "zarr.json") if (folder / mark).is_file()]
    if not marks:
        raise KeyError(name)
    for entry in folder.rglob("*"):
        if entry.is_symlink():
            raise ValueError(f"{entry} is a link, which is not followed; copy what it points to")
        if not entry.is_file() and not entry.is_dir():
            raise ValueError(f"{entry} is neither a file nor a folder")
    codecs = _codecs(_json(marks[0]))
    unknown = codecs - CODECS
    if unknown:
        raise ValueError(
            f"{root}: {name!r} is stored with the filters {sorted(unknown)}, which are not read"
        )
    return codecs


def _codecs(entry: Any) -> set[str]:
    """Names of all filters that an array's metadata mentions, at any depth."""
    found: set[str] = set()
    chosen = ("compressor", "filters", "codecs", "index_codecs", "chunk_key_encoding")
    stack = [entry[key] for key in chosen if isinstance(entry, Mapping) and entry.get(key)]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack += item
        elif isinstance(item, Mapping):
            found |= {str(item[key]) for key in ("id", "name") if key in item}
            stack += [value for value in item.values() if isinstance(value, (list, Mapping))]
    return {name.removeprefix("numcodecs.") for name in found} - {"default", "v2"}


def _json(path: Path) -> dict[str, Any]:
    """A JSON object of bounded size."""
    if path.is_symlink() or path.stat().st_size > METADATA:
        raise ValueError(f"{path} is a link or too large for metadata")
    try:
        found = json.loads(path.read_text())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged; copy or make it again")
    return found
