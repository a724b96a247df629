"""What a layout is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .source import Source


@dataclass(frozen=True)
class Layout:
    """A layout on disk.

    Attributes:
        name: of the layout, under which it is registered.
        matches: whether a file has it.
        open: the sources of a file by split, given the split that its folder says (`UNSPLIT` if
            none) and the variant ("" if none was asked for).
        variants: those that can be asked for; None for any text.
    """

    name: str
    matches: Callable[[Path], bool]
    open: Callable[[Path, str, str], Mapping[str, Source]]
    variants: tuple[str, ...] | None = ()
