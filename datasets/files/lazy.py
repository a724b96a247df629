"""A file that is opened on use, and again in every process."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .unreadable import Version, require_unchanged, version


class Lazy:
    """A container that opens its file on use and again in every process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reset()

    def require_unchanged(self) -> None:
        """Refuse a file that changed since it was opened; see `unreadable`."""
        if self._pid == os.getpid() and self._opened is not None:
            require_unchanged(self.path, self._version)

    def attributes(self, name: str = "") -> Mapping[str, Any]:
        """Attributes of an array, by default of the file; none in this format."""
        return {}

    def stated(self, names: Sequence[str], key: str) -> list[Any]:
        """One attribute of several arrays; None of those without it."""
        return [self.attributes(name).get(key) for name in names]

    def dimensions(self, name: str) -> tuple[str, ...]:
        """The file's names of an array's axes; none in this format."""
        return ()

    def close(self) -> None:
        """Give the file back; the next access opens it again."""
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._opened: Any = None
        self._version: Version = (-1, -1, -1)

    def _own(self) -> None:
        if self._pid != os.getpid():
            self._reset()
        if self._opened is None:
            self._version = version(self.path)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)
