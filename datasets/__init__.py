"""What a field is: describe, read, simulate, compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .opening import open_store
    from .store import Store

__all__ = ["Store", "open_store"]


def __getattr__(name: str) -> Any:
    """Import the store on first use: operators need fields only, and no file library."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import opening

    return getattr(opening, name)
