"""Files and folders that appear under their names when complete; what is said where they cannot.

This is the one way to write: under a hidden name beside the final one, unique to the writer, then
flushed to disk, then renamed. If writing fails nothing is left, and what was there stays.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import secrets
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EISDIR)  # disks that sync no folder
_PARTIAL = re.compile(r"\..*\.[0-9a-f]{8}-\d+-\w+\.partial(\..*)?", re.DOTALL)
_OLD = re.compile(r"\.(.+)-old-[0-9a-f]{8,16}", re.DOTALL)
_OWN: set[str] = set()  # hidden names that this process has given
_LONGEST = 64  # characters of a name that its hidden name keeps: file systems allow 255 bytes


@contextmanager
def appearing_file(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A file to write, which takes the name `path` once the block has succeeded.

    It is on disk by then. Missing folders above it are made.

    Args:
        path: the file.
        overwrite: replace a file that is there.

    Raises:
        ValueError: as `refuse_existing`, or the disk is full.
    """
    refuse_existing(path, overwrite)
    with naming_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = _draft(path)
        try:
            yield draft
            flush(draft)
            draft.replace(path)
            flush(path.parent)
        finally:
            draft.unlink(missing_ok=True)


@contextmanager
def appearing_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """An empty folder to fill, which takes the name `path` once the block has succeeded.

    Its files are on disk by then. Missing folders above it are made. A folder that is replaced
    changes its contents at once, where the disk can exchange names; elsewhere a process that is
    killed between two renames leaves the old contents in `.NAME-old-…/NAME`.

    Args:
        path: the folder.
        overwrite: replace what is there, whatever it is: look first.

    Raises:
        ValueError: there is something of that name and `overwrite` is not set, or the disk is full.
    """
    if path.exists() and not overwrite:
        raise ValueError(f"{path} exists already; choose another path")
    with naming_full_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = _draft(path)
        try:
            draft.mkdir()
            yield draft
            for found in (draft, *draft.rglob("*")):
                flush(found)
            _swap(draft, path)
            flush(path.parent)
        finally:
            _remove(draft)


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise before any work is done if the file `path` is taken, or cannot be written.

    Raises:
        ValueError: it exists and `overwrite` is not set, it is a directory, or the folder to write
            (or to create) it in is a file or not writable.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a directory; name a file")
    if path.exists() and not overwrite:
        raise ValueError(
            f"{path} exists already; choose another path, or replace it "
            "(--overwrite, in Python overwrite=True)"
        )
    require_writable(path)


def require_writable(path: Path) -> None:
    """Refuse a path that cannot be created, before any work is done.

    Raises:
        ValueError: the folder to write (or to create) it in is a file, or not writable.
    """
    # The folder itself may be missing: then it is created in the nearest one that is there.
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise ValueError(f"cannot write {path}: {folder} is a file, not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"cannot write {path}: no permission to write into {folder}")


def is_draft(found: Path, path: Path) -> bool:
    """Whether `found` is what a killed process left of `path`, of this version or an older one."""
    ours = found.name.startswith(f".{path.stem[:_LONGEST]}.") and ".partial" in found.name
    return ours or found.name == f".{path.name}"


def remove_drafts(folder: Path) -> None:
    """Remove what killed processes left in a folder that nobody else writes into.

    Of a folder that was being replaced, the old contents go back to their name where it is free.
    """
    for found in [*folder.iterdir()] if folder.is_dir() else []:
        name = _OLD.fullmatch(found.name)
        if name and found.is_dir():
            _put_back(found, folder / name[1])
        elif _PARTIAL.fullmatch(found.name):
            _remove(found)


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Turn the many ways in which libraries report a full disk into a ValueError that names it."""
    try:
        yield
    except Exception as error:  # OSError, RuntimeError (HDF5), SafetensorError, …
        if not _is_full(error):
            raise
        raise ValueError(
            f"{path} cannot be written: its disk is full, or your quota is; make room and run the "
            f"same again (what was finished before is as it was)"
        ) from None


def _is_full(error: BaseException) -> bool:
    told = str(error)
    known = isinstance(error, OSError) and error.errno in _FULL
    return known or any(os.strerror(number) in told for number in _FULL)


def _draft(path: Path) -> Path:
    """A new hidden name beside `path`; what killed processes of this machine left is removed."""
    stem = path.stem[:_LONGEST]
    ours = re.compile(
        rf"\.{re.escape(stem)}\.{_machine()}-(\d+)-\w+\.partial{re.escape(path.suffix)}"
    )
    older = (f".{path.name}.partial", f".{path.stem}.partial{path.suffix}")
    for found in path.parent.iterdir():
        match = ours.fullmatch(found.name)
        if found.name in older or (match and not _writes(found.name, int(match[1]))):
            _remove(found)
    writer = f"{_machine()}-{os.getpid()}-{secrets.token_hex(8)}"
    name = f".{stem}.{writer}.partial{path.suffix}"
    _OWN.add(name)
    return path.with_name(name)


def _machine() -> str:
    """A word for where process numbers mean the same: the host, and the container on it."""
    space = Path("/proc/self/ns/pid")
    container = str(space.readlink()) if space.exists() else ""
    return f"{zlib.crc32(f'{platform.node()} {container}'.encode()):08x}"


def _writes(name: str, process: int) -> bool:
    """Whether the process of a hidden name is still there: this number may be its second owner."""
    if process == os.getpid():
        return name in _OWN
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def _put_back(holder: Path, path: Path) -> None:
    """What a process that was killed between two renames took away (see `_swap`)."""
    old = holder / path.name
    if old.exists() and not path.exists():
        old.rename(path)
    shutil.rmtree(holder, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if not (path.is_dir() and error.errno in _NO_FOLDERS):
            raise


def _swap(draft: Path, path: Path) -> None:
    """Rename `draft` to `path`; what was there takes the draft's name, or is put back."""
    if not path.exists():
        draft.rename(path)
    elif not _exchanged(draft, path):
        _swap_in_two(draft, path)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two names at once, where system and disk can: then both are there at any moment."""
    try:
        exchange = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, TypeError, AttributeError):  # not Linux, or an old one
        return False
    here, at_once = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return exchange(here, os.fsencode(one), here, os.fsencode(other), at_once) == 0


def _swap_in_two(draft: Path, path: Path) -> None:
    """Put `path` away and rename `draft`; what was there is put back if that fails."""
    holder = path.with_name(f".{path.name}-old-{secrets.token_hex(8)}")
    holder.mkdir()
    old = holder / path.name
    try:
        path.rename(old)
        draft.rename(path)
    except BaseException:
        if old.exists():
            old.rename(path)
        holder.rmdir()
        raise
    shutil.rmtree(holder)
