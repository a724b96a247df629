"""Reads that cannot succeed, said in one line that names the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn a failure to read into a ValueError that names the file."""
    try:
        yield
    except MemoryError:
        raise ValueError(f"{path} declares more than fits into memory; is it damaged?") from None
    except ValueError as error:
        if str(path) in str(error) or FILE in str(error):
            raise
        raise ValueError(guard.one_line(f"{path}: {error}")) from None
    except (OSError, RuntimeError, KeyError, TypeError, SystemError) as error:
        system = unreadable(path, error) if isinstance(error, OSError) else None
        if system:
            raise system from None
        # Of HDF5 and of decompression, whose extensions trip over damaged lengths.
        reason = guard.one_line(str(error))
        raise ValueError(f"{path} is damaged ({reason}); copy or make it again") from None
