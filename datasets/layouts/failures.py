"""Reads that cannot succeed, said in one line that names the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import psutil

from ..files import guard
from ..files.unreadable import unreadable
from .description import FILE

LARGE = 2**30  # bytes that are read at once only if memory suffices


def check_memory(size: int, origin: Callable[[int], tuple[Path, int]], i: int) -> None:
    """Refuse to read what the system would kill this process for."""
    if size < LARGE:
        return
    available = psutil.virtual_memory().available
    if size > available:
        path, local = origin(i)
        raise ValueError(
            f"{path}: what is read at once of trajectory {local} takes {size / 2**30:.3g} GiB, and "
            f"{available / 2**30:.3g} GiB of memory are available; read fewer frames"
        )


class naming:
    """In this block, a failure to read is turned into a ValueError that names the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        """Nothing has failed yet."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        named = None if error is None else _named(self.path, error)
        if named is not None:
            raise named from None


def _named(path: Path, error: BaseException) -> ValueError | None:
    """A failure to read `path` in a line that names it; None: it does, or is something else."""
    if isinstance(error, MemoryError):
        return ValueError(f"{path} declares more than fits into memory; is it damaged?")
    if isinstance(error, ValueError):
        told = str(path) in str(error) or FILE in str(error)
        return None if told else ValueError(guard.one_line(f"{path}: {error}"))
    if not isinstance(error, (OSError, RuntimeError, KeyError, TypeError, SystemError)):
        return None
    system = unreadable(path, error) if isinstance(error, OSError) else None
    # Of HDF5 and of decompression, whose extensions trip over damaged lengths.
    reason = guard.one_line(str(error))
    return system or ValueError(f"{path} is damaged ({reason}); copy or make it again")
