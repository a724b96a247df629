"""Tensors of a training state in shards: every process writes the pieces that it has.

`torch.distributed.checkpoint` plans who writes what and who reads which part of it, so that any
number of processes can go on; the files are safetensors that say where their pieces lie in the
whole (it pickles nothing in this format). The manifest of the state, which is written last, has
their checksums.
"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import torch
from packaging.version import Version
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from ...datasets.base.manifest import digest
from ..ranks import Ranks

FOLDER = "shards"
_SINCE = Version("2.9")
_AT_ONCE = 2**28  # bytes; looking for tensors in the files has a price, too


def wanted(asked: bool | None, sharded: bool) -> bool:
    """Whether states are written in shards.

    Args:
        asked: what the recipe says; None: as the parameters are.
        sharded: whether those are.

    Raises:
        ValueError: this version of torch cannot.
    """
    possible = Version(torch.__version__) >= _SINCE
    if asked and not possible:
        raise ValueError(
            f"states.sharded needs torch {_SINCE} or newer, and this is {torch.__version__}; leave "
            "it out, and states are written whole"
        )
    return (sharded and possible) if asked is None else asked


def are_in(state: Path) -> bool:
    """Whether the tensors of a training state are in shards."""
    return (state / FOLDER).is_dir()


def files_of(state: Path) -> tuple[str, ...]:
    """The names of its files, below the state."""
    return tuple(sorted(f"{FOLDER}/{path.name}" for path in (state / FOLDER).iterdir()))


def write(state: Path, tensors: Mapping[str, Tensor], ranks: Ranks) -> dict[str, str]:
    """Write what the processes have of tensors; every one of them must call it.

    What several of them have whole, one writes.

    Args:
        state: the folder of the state, which is there.
        tensors: by name; sharded ones, and others that are the same on all processes.
        ranks: the processes, in a group that nobody else uses meanwhile.

    Returns:
        The SHA-256 of each file, by its name below the state.

    Raises:
        ValueError: the folder is not on a disk that all share.
        OSError: a process cannot write; raised on all.
    """
    unseen = [each for each in ranks.gather(_unseen(state)) if each]
    if unseen:
        raise ValueError(f"{unseen[0]}; the run must lie on a disk that all machines share")
    writer = HuggingFaceStorageWriter(str(state / FOLDER), save_distributed=True)
    try:
        save(dict(tensors), storage_writer=writer, process_group=ranks.group)
    except CheckpointException as failure:
        raise _cause(failure) from None
    own = sorted((state / FOLDER).glob(f"shard-{ranks.rank + 1:05d}-*"))
    found = ranks.gather({f"{FOLDER}/{path.name}": digest(path) for path in own})
    return {name: sha256 for each in found for name, sha256 in each.items()}


def _unseen(state: Path) -> str:
    return "" if state.is_dir() else f"{platform.node()} does not see {state.parent.parent}"


def _cause(failure: CheckpointException) -> BaseException:
    """What went wrong on the first process that failed, being told to stop included."""
    error, _ = failure.failures[min(failure.failures)]
    return error


def read(state: Path, targets: Mapping[str, Tensor]) -> None:
    """Fill tensors with what a state has of them: each process reads what its own pieces need.

    Args:
        state: a training state in shards.
        targets: by name; filled in place.

    Raises:
        ValueError: a file is missing or damaged, or a tensor is missing, not expected, or of
            another shape or type (named).
    """
    stored = _stored(state)
    wrong = sorted({*stored} ^ {*targets}) or [
        name
        for name, found in stored.items()
        if (found.size, found.properties.dtype) != (targets[name].shape, targets[name].dtype)
    ]
    if wrong:
        raise ValueError(
            f"{state / FOLDER} lacks or should not hold {', '.join(wrong[:5])}, of this shape and "
            f"type; remove {state} to start over"
        )
    _load(state, dict(targets))


def read_whole(state: Path, prefix: str) -> dict[str, Tensor]:
    """All tensors whose names begin with `prefix`, put together, by the rest of their names.

    Raises:
        ValueError: a file is missing or damaged.
    """
    stored = {name: of for name, of in _stored(state).items() if name.startswith(prefix)}
    whole: dict[str, Any] = {
        name: torch.empty(of.size, dtype=of.properties.dtype) for name, of in stored.items()
    }
    _load(state, whole)
    return {name.removeprefix(prefix): tensor for name, tensor in whole.items()}


def shapes(state: Path) -> dict[str, Tensor]:
    """What tensors a state has, without values.

    Raises:
        ValueError: a file is missing or damaged.
    """
    return {
        name: torch.empty(of.size, dtype=of.properties.dtype, device="meta")
        for name, of in _stored(state).items()
    }


def read_one_by_one(state: Path, names: Sequence[str]) -> Iterator[Tensor]:
    """Tensors in this order, whole; some of them are in memory at a time.

    Raises:
        ValueError: a file is missing or damaged.
    """
    waiting: dict[str, Any] = {}
    found = shapes(state)
    for name in names:
        waiting[name] = torch.empty_like(found[name], device="cpu")
        if sum(each.nbytes for each in waiting.values()) > _AT_ONCE or name == names[-1]:
            _load(state, waiting)
            while waiting:
                yield waiting.pop(next(iter(waiting)))


def _load(state: Path, targets: dict[str, Any]) -> None:
    """Fill tensors in place.

    Raises:
        ValueError: a file is damaged.
    """
    reader = HuggingFaceStorageReader(str(state / FOLDER))
    with warnings.catch_warnings():  # alone is meant
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        try:
            load(targets, storage_reader=reader, no_dist=True)
        except CheckpointException as failure:
            cause = _cause(failure)
            if not isinstance(cause, Exception):  # told to stop
                raise cause from None
            raise _damaged(state, cause) from None
        except (SafetensorError, OSError) as error:
            raise _damaged(state, error) from None


def _stored(state: Path) -> dict[str, TensorStorageMetadata]:
    """Shape, type and pieces of each tensor.

    Raises:
        ValueError: a file is damaged, or pieces of a tensor are missing.
    """
    try:
        found = HuggingFaceStorageReader(str(state / FOLDER)).read_metadata().state_dict_metadata
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(state, error) from None
    tensors = {name: of for name, of in found.items() if isinstance(of, TensorStorageMetadata)}
    for name, of in tensors.items():
        if sum(prod(piece.sizes) for piece in of.chunks) != prod(of.size):
            raise _damaged(state, f"pieces of {name} are missing")
    return tensors


def _damaged(state: Path, reason: object) -> ValueError:
    words = " ".join(str(reason).split())
    return ValueError(f"{state / FOLDER} is damaged ({words}); remove {state} to start over")
