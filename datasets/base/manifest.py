"""Checksums of a folder: `SHA256SUMS`, written last, of every file in it; `sha256sum -c` reads it.

A folder inside that has a manifest of its own counts by that manifest. Folders that earlier
versions wrote have none, and are taken as they are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from .appearing import appearing_file

MANIFEST = "SHA256SUMS"
_OF_ZARR = (".zgroup", ".zarray", ".zattrs", ".zmetadata")  # hidden, and part of a dataset
_LINE = re.compile(r"([0-9a-f]{64}) [ *](?:\./)?([^\n]+)")  # as sha256sum writes it, too


def seal(folder: Path, known: Mapping[str, str] | None = None) -> None:
    """Write the manifest of a folder that is complete otherwise.

    Args:
        folder: which is yet to appear (see `appearing_folder`, which waits for the disk).
        known: names of files, and their SHA-256 where it was found while they were written.
    """
    digests = dict(known or {})
    names = list(_counted(folder))
    for name in names:
        if name not in digests:
            digests[name] = digest(folder / name)
    lines = [f"{digests[name]}  {name}\n" for name in names]
    (folder / MANIFEST).write_text("".join(lines), encoding="utf-8")


def write_manifest(folder: Path) -> None:
    """Write, or replace, the manifest of a folder of any size, whose files are on disk."""
    lines = [f"{digest(folder / name)}  {name}\n" for name in _shown(folder)]
    with appearing_file(folder / MANIFEST, overwrite=True) as draft:
        draft.write_text("".join(lines), encoding="utf-8")


def faults(folder: Path, advance: Callable[[float], None] = lambda _: None) -> Iterator[str]:
    """What is not as a folder's manifest says, a line each.

    Args:
        folder: which has a manifest.
        advance: told the bytes of each file that was read.

    Raises:
        ValueError: the manifest is damaged.
    """
    found = listed_in(folder)
    for name, expected in found.items():
        path = folder / name
        if not path.is_file():
            yield f"{path} is missing"
            continue
        if digest(path) != expected:
            yield f"{path} is not the file that was written"
        if path.name == MANIFEST:
            yield from faults(path.parent, advance)
        advance(path.stat().st_size)
    for name in _shown(folder):
        if name not in found:
            yield f"{folder / name} was added later"


def require_intact(folder: Path, names: Sequence[str]) -> None:
    """Refuse a folder whose files are not as its manifest says; without one, none is refused.

    Args:
        folder: which was sealed.
        names: of files that must be in the manifest.

    Raises:
        ValueError: a file is missing or another one than was written, or the manifest is damaged
            (named).
    """
    listed = folder / MANIFEST
    if not listed.exists():
        return
    found = listed_in(folder)
    absent = [name for name in names if name not in found]
    if absent:
        raise ValueError(f"{listed} is damaged (it does not list {', '.join(absent)})")
    missing = [name for name in found if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder / missing[0]} is missing, and {listed} lists it")
    for name, expected in found.items():
        if digest(folder / name) != expected:
            raise ValueError(
                f"{folder / name} is damaged: it is not the file whose SHA-256 {MANIFEST} has"
            )
        if Path(name).name == MANIFEST:
            require_intact((folder / name).parent, ())


def listed_in(folder: Path) -> dict[str, str]:
    """What a folder's manifest lists: names, and the SHA-256 of each; nothing of it is looked at.

    Raises:
        ValueError: the manifest is damaged, or there is none.
    """
    path = folder / MANIFEST
    try:
        return dict(_entries(path))
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is damaged ({error})") from None


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _counted(folder: Path, above: str = "") -> Iterator[str]:
    """Names, below a folder, of what its manifest lists."""
    for path in sorted(folder.iterdir()):
        name = f"{above}{path.name}"
        if not path.is_dir():
            yield name
        elif (path / MANIFEST).is_file():
            yield f"{name}/{MANIFEST}"
        else:
            yield from _counted(path, f"{name}/")


def _shown(folder: Path) -> Iterator[str]:
    """The same without the manifest, and hidden files but those of Zarr: others may write them."""
    for name in _counted(folder):
        parts = [part for part in Path(name).parts if part not in _OF_ZARR]
        if name != MANIFEST and not any(part.startswith(".") for part in parts):
            yield name


def _entries(path: Path) -> Iterator[tuple[str, str]]:
    """Names and digests."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = _LINE.fullmatch(line)
        name = match[2] if match else ""
        if match is None or Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"line {number} is no checksum of a file")
        if name != MANIFEST:  # of itself nothing can be said
            yield name, match[1]
