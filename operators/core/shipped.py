"""Checkpoints by name, `pelagos:NAME`: those that ship with Pelagos, and those of your own folders.

They lie in `operators/shipped`, and in the folders that $PELAGOS_CHECKPOINTS lists (separated as in
$PATH), which come first. Nothing is downloaded.
"""

from __future__ import annotations

import os
from pathlib import Path

from ...datasets.base.config import nearest
from ...datasets.base.paths import shown

NAMED = "pelagos:"
FOLDERS = "PELAGOS_CHECKPOINTS"
CARD = "README.md"


def shipped() -> dict[str, Path]:
    """All checkpoints that have a name, and their folders; sorted."""
    given = [Path(part) for part in os.environ.get(FOLDERS, "").split(os.pathsep) if part]
    found: dict[str, Path] = {}
    for folder in (*given, Path(__file__).parents[1] / "shipped"):
        for config in sorted(folder.glob("*/config.json")):
            found.setdefault(config.parent.name, config.parent)
    return dict(sorted(found.items()))


def is_named(path: str | Path) -> bool:
    """Whether a path is a checkpoint's name."""
    return str(path).startswith(NAMED)


def folder_of(path: str | Path) -> Path:
    """The folder of the checkpoint `pelagos:NAME`.

    Raises:
        ValueError: there is none of that name; known ones are listed.
    """
    name, known = str(path).removeprefix(NAMED), shipped()
    if name not in known:
        none = f"; there are none (${FOLDERS} names folders of your own)"
        raise ValueError(f"no checkpoint {shown(path)}{nearest(name, [*known]) if known else none}")
    return known[name]


def summary(folder: Path) -> str:
    """The first sentence of a checkpoint's card: its first line that is text."""
    card = folder / CARD
    if not card.is_file():
        return ""
    text = card.read_text(encoding="utf-8", errors="replace")
    if text.startswith("---\n"):
        text = text.partition("\n---\n")[2]
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if line and not line.startswith("#")), "")
