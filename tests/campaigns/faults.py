"""Faults of disks, and kills at calls for files, by a library that is preloaded (faults.c)."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

KILL, FULL, FAIL, SHORT = 1, 2, 3, 4


def arm(action: int, number: int, place: Path, *, changes: bool) -> None:
    """From now on calls are counted, and at one of them it happens; 0: at none.

    Args:
        action: what happens.
        number: of the call.
        place: the folder whose files can fail.
        changes: count only calls that change something in `place`.
    """
    _library().faults_arm(action, number, int(changes), str(place).encode())


def counted() -> int:
    """Calls since the library was armed."""
    return _library().faults_counted()


def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(os.environ["FAULTS_LIBRARY"])
    library.faults_counted.restype = ctypes.c_long
    library.faults_arm.argtypes = [ctypes.c_int, ctypes.c_long, ctypes.c_int, ctypes.c_char_p]
    return library
