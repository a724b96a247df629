"""glibc's allocator for benchmarks: memory that a code frees is kept, and not mapped anew.

A fresh process returns large temporaries to the system at every call and maps them again, page by
page; how long that takes depends on the machine and on what ran before, not on the codes.
"""

import os
import sys

RAISED = {"MALLOC_MMAP_THRESHOLD_": "1000000000", "MALLOC_TRIM_THRESHOLD_": "1000000000"}


def raise_thresholds() -> None:
    """Go on in a process whose allocator, and that of its children, keeps what is freed.

    glibc reads the thresholds when a process starts: this one starts again.
    """
    if not RAISED.items() <= os.environ.items():
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | RAISED)
