"""Tensors into a safetensors file, at once or one after another; its SHA-256 is found meanwhile.

The library's own writer would have to be followed by a second pass over the file; a hash that goes
along costs no time where there is a second core. The bytes are those that the library writes.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

# The names of types in the format, in the order of their tensors in a file: last ones first.
_TYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int32: "I32",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int64: "I64",
}
Slots: TypeAlias = Mapping[str, tuple[torch.dtype, torch.Size]]
_ALIGNED = 8  # bytes that the length of a header is a multiple of


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> str:
    """Write a safetensors file, and bring it to disk.

    Args:
        path: the file, which is not there yet.
        tensors: on the host, by name; they must not change meanwhile.
        metadata: words beside them.

    Returns:
        The SHA-256 of the file, in hexadecimal digits.

    Raises:
        OSError: the file cannot be written.
    """
    assert sys.byteorder == "little", "the format is little-endian"
    slots = slots_of(tensors)
    parts = [_header(slots, metadata), *(_bytes(tensors[name]) for name in slots)]
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(_digest, parts)
        with path.open("xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        return found.result()


def write_one_by_one(
    path: Path, slots: Slots, tensors: Iterable[Tensor], metadata: Mapping[str, str] | None = None
) -> str:
    """As `write_tensors`, to the same bytes, with one of the tensors in memory at a time.

    Args:
        path, metadata: as `write_tensors` takes them.
        slots: of all tensors, from `slots_of`.
        tensors: in the order of the slots, each made when it is asked for.
    """
    found = hashlib.sha256()
    with ThreadPoolExecutor(1) as pool, path.open("xb") as file:

        def put(part: memoryview) -> None:
            hashed = pool.submit(found.update, part)
            file.write(part)
            hashed.result()

        put(_header(slots, metadata))
        rest = iter(tensors)
        for slot in slots.values():
            tensor = next(rest)
            assert (tensor.dtype, tensor.shape) == slot, "as the header says"
            put(_bytes(tensor))
            del tensor  # before the next one is made
        file.flush()
        os.fsync(file.fileno())
    return found.hexdigest()


def slots_of(tensors: Mapping[str, Tensor]) -> Slots:
    """Type and shape of tensors by name, in the order in which a file has them."""
    ranks = {dtype: rank for rank, dtype in enumerate(_TYPES)}
    names = sorted(tensors, key=lambda name: (-ranks[tensors[name].dtype], name))
    return {name: (tensors[name].dtype, tensors[name].shape) for name in names}


def _header(slots: Slots, metadata: Mapping[str, str] | None) -> memoryview:
    """What stands before the tensors: its length, and where each of them lies."""
    entries: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    end = 0
    for name, (dtype, shape) in slots.items():
        begin, end = end, end + prod(shape) * dtype.itemsize
        entries[name] = {
            "dtype": _TYPES[dtype],
            "shape": list(shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNED)
    return memoryview(len(text).to_bytes(8, "little") + text)


def _bytes(tensor: Tensor) -> memoryview:
    """The numbers of a tensor as they lie in memory, not copied if they are in order there."""
    flat = tensor.detach().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def _digest(parts: Sequence[memoryview]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()
