"""Zarr chunks in a local folder whose Blosc headers are checked: Blosc itself trusts them."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
from zarr.storage import LocalStore


class CheckedStore(LocalStore):
    """An array's folder, read-only.

    Args:
        folder: of the array.

    Attributes:
        limit: bytes that a chunk compressed by Blosc may unpack to; None where they are not.
        absent: which chunks may be left out, by key; None: none.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, read_only=True)
        self.limit: int | None = None
        self.absent: Callable[[str], bool] | None = None

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
        if found is None and self.absent is not None and self.absent(key):
            return None  # Zarr takes the fill value
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


def leaves_out(array: Any, present: Collection[str]) -> Callable[[str], bool] | None:
    """Which chunks of an array may be absent; None: none of them.

    Writers leave out chunks that hold the fill value alone: land that is NaN in every frame, or a
    single number. Any other absent chunk may as well have been lost.

    Args:
        array: of Zarr.
        present: keys of the chunks that are there.
    """
    if math.prod(array.shape) == 1:
        return lambda key: True
    fill = array.metadata.fill_value
    if array.ndim < 2 or array.dtype.kind != "f" or fill is None or not np.isnan(fill):
        return None
    kept = {_across(key) for key in present}
    if not kept:
        return None
    return lambda key: _across(key) not in kept


def _across(key: str) -> tuple[str, ...]:
    """Where a chunk lies along all axes but the first, in which time is."""
    parts = key.replace(".", "/").split("/")
    return tuple(parts[2:] if parts[0] == "c" else parts[1:])


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
