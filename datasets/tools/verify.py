"""A dataset against the checksums that were written with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..base.manifest import MANIFEST, faults
from ..base.progress import Bar
from ..stores.store import Store
from .findings import Finding

ABOVE = 3  # folders above a file, at most, of which the manifest may be


def checksum_findings(store: Store, progress: bool = False) -> Iterator[Finding]:
    """Files that are missing or are not what was written; every byte of the dataset is read.

    Args:
        store: the dataset.
        progress: show a progress bar on stderr.

    Raises:
        ValueError: the manifest is damaged.
    """
    root = _root(store.sources[0].path)
    if root is None:
        yield Finding(
            "note",
            "no checksums",
            f"there is no {MANIFEST} to verify the files of {store.name!r} against",
            "simulate, convert and rechunk write one; to add one, run sha256sum over the files",
        )
        return
    total = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    with Bar(f"verifying {store.name}", total >> 20, unit="MiB", active=progress) as bar:
        for fault in faults(root, lambda size: bar.advance(size / 2**20)):
            added = fault.endswith("later")
            yield Finding(
                "note" if added else "error",
                "checksum",
                f"{fault}, says {MANIFEST}" if not added else f"{fault}: {MANIFEST} has it not",
                "copy it again" if not added else "nothing, if it was you",
            )


def _root(file: Path) -> Path | None:
    """The folder above a file that has a manifest."""
    return next((p for p in file.parents[:ABOVE] if (p / MANIFEST).is_file()), None)
