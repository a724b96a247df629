"""Files that appear under their names when complete; what is said where they cannot be written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)


def unfinished(path: Path) -> Path:
    """The hidden name beside `path` under which its file is written."""
    return path.with_name(f".{path.stem}.partial{path.suffix}")


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


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to; the file takes the name `path` once the block has succeeded.

    It is on disk by then. If the block fails nothing is left of it, and `path` is as it was.

    Raises:
        ValueError: the disk is full.
    """
    partial = unfinished(path)
    try:
        with naming_full_disk(path):
            yield partial
            with partial.open("rb") as file:
                os.fsync(file.fileno())
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


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
    known = getattr(error, "errno", None) in _FULL
    return known or any(os.strerror(number) in told for number in _FULL)
