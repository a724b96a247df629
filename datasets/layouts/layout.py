"""What a layout is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .source import Source


def _none(path: Path) -> str:
    return ""


@dataclass(frozen=True)
class Layout:
    """A layout on disk.

    Attributes:
        name: of the layout, under which it is registered.
        matches: whether a file has it.
        open: the sources of a file by split, given the split that its folder says (`UNSPLIT` if
            none) and the variant ("" if none was asked for).
        variants: those that can be asked for; None for any text.
        doubts: what in a file that matches speaks against the layout; "" for nothing. Then it is
            read so only when asked for.
    """

    name: str
    matches: Callable[[Path], bool]
    open: Callable[[Path, str, str], Mapping[str, Source]]
    variants: tuple[str, ...] | None = ()
    doubts: Callable[[Path], str] = _none
