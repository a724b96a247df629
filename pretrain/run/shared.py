"""All processes of a run must see its directory: on a disk that their machines share."""

from __future__ import annotations

import platform
import time
from pathlib import Path

from ..ranks import Ranks
from .directory import identity

PATIENCE = 60.0  # seconds: network disks show new files late
_LOOK = 0.5


def require_shared(run: Path, ranks: Ranks) -> None:
    """Refuse to train where a process does not see the run that the main one made.

    Raises:
        ValueError: one does not; its machine is named.
    """
    if ranks.count == 1:
        return
    word = ranks.once(lambda: identity(run))
    unseen = ranks.gather("" if _sees(run, word) else platform.node())
    blind = sorted({machine for machine in unseen if machine})
    if blind:
        raise ValueError(
            f"{', '.join(blind)} does not see {run} as the first process does; it must lie on a "
            "disk that all machines share"
        )


def _sees(run: Path, word: str) -> bool:
    end = time.monotonic() + PATIENCE
    while identity(run) != word:
        if time.monotonic() > end:
            return False
        time.sleep(_LOOK)
    return True
