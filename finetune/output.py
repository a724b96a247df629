"""Output files: complete or absent, and never silently in place of another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..datasets.base import appearing as files


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise before any work is done if `path` is taken, or cannot be written.

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
    files.require_writable(path)


@contextmanager
def replacing(path: Path, overwrite: bool) -> Iterator[Path]:
    """A temporary file beside `path` that takes its name once the block has succeeded.

    Raises:
        ValueError: as `refuse_existing`, or the disk is full.
    """
    refuse_existing(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as temporary:
        yield temporary
