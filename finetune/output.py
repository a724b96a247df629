"""Output files: complete or absent, and never silently in place of another."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise before any work is done if `path` is taken.

    Raises:
        ValueError: it exists and `overwrite` is not set, or it is a directory.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a directory; name a file")
    if path.exists() and not overwrite:
        raise ValueError(f"{path} exists already; choose another path, or pass --overwrite")


@contextmanager
def replacing(path: Path, overwrite: bool) -> Iterator[Path]:
    """A temporary file beside `path` that takes its name once the block has succeeded.

    Raises:
        ValueError: as `refuse_existing`.
    """
    refuse_existing(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    temporary = folder / path.name
    try:
        yield temporary
        temporary.replace(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
