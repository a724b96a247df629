"""Why a file cannot be read: what the system says, before a file is called damaged."""

from __future__ import annotations

import errno
import os
import resource
import stat
from pathlib import Path

Version = tuple[int, int, int]  # of a file: size, time of modification, and which file it is
ENOUGH = 4096  # files that a process may open, for many workers and stores
_GONE = (errno.ENOENT, errno.ESTALE)
_DISK = (errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.ENODEV)


def unreadable(path: Path, error: OSError) -> ValueError | None:
    """The one-line error where the system is the reason; None where the file's contents are."""
    number = error.errno or 0
    if number in (errno.EMFILE, errno.ENFILE):
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return ValueError(
            f"{path} cannot be opened: this process has too many files open (it may have {limit}); "
            f"allow more with `ulimit -n {max(ENOUGH, 4 * limit)}`, or read with fewer workers"
        )
    if number in _GONE:
        return ValueError(f"{path} is gone: it was deleted or renamed; open its new name")
    if number in (errno.EACCES, errno.EPERM):
        return ValueError(f"{path} may not be read; ask for permission to read it")
    if number in _DISK:
        reason = os.strerror(number)
        return ValueError(f"{path} cannot be read now ({reason}); look after its disk or network")
    return None


def version(path: Path) -> Version:
    """What changes when a file is written or replaced; of a folder nothing."""
    found = os.stat(path)  # noqa: PTH116  before every read; thrice as fast as Path.stat
    if stat.S_ISDIR(found.st_mode):
        return (0, 0, 0)
    return found.st_size, found.st_mtime_ns, found.st_ino


def require_unchanged(path: Path, known: Version) -> None:
    """Refuse a file that was written, or replaced, since it was looked at.

    Where it is mapped into memory, reading it would end the process without a word, or give values
    of two versions.

    Raises:
        ValueError: it has changed.
        OSError: it is gone.
    """
    if version(path) != known:
        raise ValueError(
            f"{path} changed while it was read: another program writes to it; wait until that is "
            f"done, and open it anew"
        )
