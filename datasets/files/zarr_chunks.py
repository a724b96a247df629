"""Zarr chunks in a local folder whose Blosc headers are checked: Blosc itself trusts them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from zarr.storage import LocalStore


class CheckedStore(LocalStore):
    """An array's folder, read-only.

    Args:
        folder: of the array.
        limit: bytes that a chunk compressed by Blosc may unpack to; None where they are not.
    """

    def __init__(self, folder: Path, limit: int | None) -> None:
        super().__init__(folder, read_only=True)
        self.limit = limit

    async def get(self, key: str, prototype: Any = None, byte_range: Any = None) -> Any:
        """What is stored under a key.

        Raises:
            ValueError: it is a damaged chunk, or one that is not there: Zarr would make up its
                values.
        """
        found = await super().get(key, prototype, byte_range)
        named = key.rsplit("/", 1)[-1]
        if named.startswith(".z") or named == "zarr.json":
            return found
        if found is None:
            raise ValueError(
                f"{self.root}: the chunk {key} is missing; if it was left out because all of its "
                f"values are the fill value, write the array again with all chunks "
                f"(zarr.config.set({{'array.write_empty_chunks': True}})), else copy it again"
            )
        if byte_range is not None or self.limit is None:
            return found
        if not sound(found.to_bytes(), self.limit):
            raise ValueError(f"{self.root}: the chunk {key} is damaged; copy or make it again")
        return found


def sound(data: bytes, limit: int) -> bool:
    """Whether Blosc's header, and the places of its blocks, fit the chunk that they stand in."""
    if len(data) < 16:
        return False
    flags, typesize = data[2], data[3]
    size, block, stored = struct.unpack("<III", data[4:16])
    if stored != len(data) or size > limit or not typesize:
        return False
    if flags & 2:  # copied as it is
        return size + 16 == stored
    count = -(-size // block) if block else 0
    begin = 16 + 4 * count
    if not count >= 1 or block > max(size, 1) or begin > stored:
        return False
    starts = struct.unpack(f"<{count}I", data[16:begin])
    return all(begin <= start <= stored - 4 for start in starts)
