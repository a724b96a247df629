"""Files that HDF5 writes: a disk that is full, or fails, ends in an error, not inside HDF5.

Where a write fails, HDF5 may crash, or drop what it could not write and report success when the
file is closed. So it writes into a `Disk`, which keeps the error, lets HDF5 come to an end, and
raises then.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Disk(io.RawIOBase):
    """A file that never fails to be written; nothing is written any more once it has.

    Args:
        path: the file.
        new: make it, or empty it; otherwise it is there already.

    Attributes:
        error: the first that occurred.
    """

    error: OSError | None

    def __init__(self, path: Path, *, new: bool) -> None:
        super().__init__()
        flags = os.O_RDWR | (os.O_CREAT | os.O_TRUNC if new else 0)
        self.path, self.error = path, None
        self._file: int = os.open(path, flags, 0o666)
        self._place, self._size = 0, os.fstat(self._file).st_size

    def readable(self) -> bool:
        """It is."""
        return True

    def writable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}
        self._place = start[whence] + offset
        return self._place

    def readinto(self, buffer: Any) -> int:
        """As of any file; what could not be written is zero."""
        view = memoryview(buffer).cast("B")
        found = os.pread(self._file, len(view), self._place)
        view[: len(found)] = found
        view[len(found) :] = bytes(len(view) - len(found))
        self._place += len(view)
        return len(view)

    def write(self, data: Any) -> int:
        """All of it, if the disk takes it."""
        view = memoryview(data).cast("B")
        end = self._place + len(view)
        try:
            left, place = view, self._place
            while left and self.error is None:
                count = os.pwrite(self._file, left, place)
                left, place = left[count:], place + count
        except OSError as error:
            self.error = error
        self._place, self._size = end, max(self._size, end)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """As of any file."""
        self._size = self._place if size is None else size
        try:
            if self.error is None:
                os.ftruncate(self._file, self._size)
        except OSError as error:
            self.error = error
        return self._size

    def close(self) -> None:
        """Give the file back."""
        if not self.closed:
            os.close(self._file)
        super().close()


@contextmanager
def written(path: Path, *, new: bool = True) -> Iterator[Disk]:
    """A file for HDF5, to be opened and closed by it inside the block.

    Args:
        path: the file.
        new: make it, or empty it; otherwise it is there already, and goes on.

    Raises:
        OSError: the disk is full or fails.
    """
    disk = Disk(path, new=new)
    try:
        yield disk
    except Exception as error:
        if disk.error is not None:
            raise _about(disk) from error
        raise
    finally:
        disk.close()
    if disk.error is not None:
        raise _about(disk)


def _about(disk: Disk) -> OSError:
    """The error, with the name of the file."""
    error = disk.error
    assert error is not None
    return type(error)(error.errno, error.strerror, str(disk.path))
