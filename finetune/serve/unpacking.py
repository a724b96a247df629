"""Zip files from anywhere, unpacked in a bounded way."""

from __future__ import annotations

import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from .refusals import TooLarge

MOST_FILES = 20_000
PACKED = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
BLOCK = 2**20


def unpack(path: Path, folder: Path, most: int) -> Path:
    """Unpack a zip file, and give the folder that holds its contents.

    Where all lies in one folder, that one.

    Args:
        path: the zip file.
        folder: to unpack into; empty.
        most: bytes that it may unpack to.

    Raises:
        ValueError: it is damaged, encrypted, too large, or has names that lead elsewhere.
    """
    try:
        with zipfile.ZipFile(path) as packed:
            entries = packed.infolist()
            _check(entries, most)
            left = most
            for entry in entries:
                left -= _write(packed, entry, folder, left)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"the zip file is damaged ({error!s:.100})") from None
    except (OSError, UnicodeError):  # names that this disk cannot hold
        raise ValueError("the zip file has names that cannot be files") from None
    inside = [*folder.iterdir()]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def _check(entries: list[zipfile.ZipInfo], most: int) -> None:
    if len(entries) > MOST_FILES:
        raise TooLarge(f"the zip file holds {len(entries)} files, and may hold {MOST_FILES}")
    size = sum(entry.file_size for entry in entries)
    if size > most:
        raise TooLarge(f"the zip file unpacks to {size:,} bytes, and may to {most:,}")
    for entry in entries:
        name, mode = entry.filename, entry.external_attr >> 16
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or set(name) & {"\\", ":", "\0"}:
            raise ValueError(f"the zip file has the name {name[:60]!r}, which leads out of it")
        if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or not stat.S_IFMT(mode)):
            raise ValueError(f"the zip file holds {name[:60]!r}, which is no file or folder")
        if entry.flag_bits & 1 or entry.compress_type not in PACKED:
            raise ValueError("the zip file is encrypted or packed in an unusual way; use deflate")


def _write(packed: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, left: int) -> int:
    """Unpack one entry of at most `left` bytes, whatever it declares; gives their number."""
    target = folder.joinpath(*PurePosixPath(entry.filename).parts)
    if entry.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with packed.open(entry) as source, target.open("xb") as sink:
        while block := source.read(BLOCK):
            count += len(block)
            if count > left:
                raise TooLarge("the zip file unpacks to more than it declares")
            sink.write(block)
    return count


def packed(folder: Path, path: Path) -> Path:
    """A folder as a zip file, not packed further: what it holds is already."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder.parent).as_posix())
    return path
