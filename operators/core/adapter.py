"""Adapters: what fine-tuning learned beside a checkpoint, its base, as a small folder.

`adapter.json` says which weights have updates (see `updates`), of which base they are, by the
SHA-256 of its weights, and what the operator is about; `adapter.safetensors` holds the updates, and
whole what was trained as it is. With the base they give a plain operator.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ...datasets.base.appearing import appearing_folder
from ...datasets.base.config import build, plain
from ...datasets.base.manifest import require_intact, seal
from ...datasets.base.texts import MOST_JSON, parse_json, read_text
from .tensors import load_state, read_tensors
from .updates import KINDS, merge, owner, put, updated

if TYPE_CHECKING:
    from .operator import Operator

ADAPTER, UPDATES = "adapter.json", "adapter.safetensors"
FILES = (ADAPTER, UPDATES)
SCHEMA = 1


@dataclass(frozen=True)
class Base:
    """The checkpoint that an adapter adds to.

    Attributes:
        source: where it was: a path, `pelagos:NAME` or `hf:owner/model`.
        sha256: of its weights, as `fingerprint` gives it.
    """

    source: str
    sha256: str


@dataclass(frozen=True)
class Adapter:
    """What `adapter.json` holds.

    Attributes:
        adapter: version of this layout.
        base: what it adds to.
        updates: weight -> kind and settings of its update.
        operator: `config.json` of the operator that results.
    """

    adapter: int
    base: Base
    updates: dict[str, dict[str, Any]]
    operator: dict[str, Any]


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """The SHA-256 of tensors: of their names, shapes, types and bytes, by name."""
    found = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        found.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def write_adapter(
    path: Path,
    operator: Operator,
    config: dict[str, Any],
    base: Base,
    kept: Collection[str],
    *,
    overwrite: bool = False,
) -> Path:
    """Write the adapter of an operator whose weights have updates.

    Args:
        path: the folder to write; it appears when complete.
        operator: as it is trained.
        config: its `config.json`.
        base: what it started from.
        kept: names of the parameters that are the base's.
        overwrite: replace an existing folder.
    """
    found = updated(operator)
    updates = {name: {"kind": u.kind, **u.settings()} for name, (_, _, u) in found.items()}
    originals = {_original(name) for name in found}
    tensors = {
        name: value.detach().cpu().contiguous()
        for name, value in operator.state_dict().items()
        if name not in kept and name not in originals
    }
    about = plain(Adapter(SCHEMA, base, updates, config))
    with appearing_folder(path, overwrite=overwrite) as draft:
        (draft / ADAPTER).write_text(json.dumps(about, indent=2, allow_nan=False) + "\n")
        save_file(tensors, draft / UPDATES, metadata={"format": "pt"})
        seal(draft)
    return path


def is_adapter(directory: Path) -> bool:
    """Whether a folder holds an adapter."""
    return (directory / ADAPTER).is_file()


def read_adapter(directory: Path, *, verify: bool = True) -> Adapter:
    """What an adapter says of itself.

    Raises:
        ValueError: a file is damaged or of another version, or another one than was written.
    """
    if verify:
        require_intact(directory, FILES)
    path = directory / ADAPTER
    try:
        values = parse_json(read_text(path, MOST_JSON))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    version = values.get("adapter") if isinstance(values, dict) else None
    if version != SCHEMA:
        raise ValueError(
            f"{path} has version {version!r}; this version of pelagos reads {SCHEMA}. Upgrade "
            "pelagos"
        )
    try:
        return build(Adapter, values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def require_base(adapter: Adapter, base: Mapping[str, Tensor], named: str, directory: Path) -> None:
    """Refuse weights that the adapter does not add to.

    Raises:
        ValueError: they are another checkpoint's.
    """
    found = fingerprint(base)
    if found != adapter.base.sha256:
        raise ValueError(
            f"{directory} adds to {adapter.base.source} (weights {adapter.base.sha256[:12]}…), and "
            f"{named} holds others ({found[:12]}…); give the one that it was trained from: pelagos "
            f"adapter merge {directory} OUT --base CHECKPOINT (in Python base=)"
        )


@torch.no_grad()
def add(adapter: Adapter, directory: Path, base: Mapping[str, Tensor], operator: Operator) -> None:
    """Give an operator the base's weights, and what the adapter adds to them.

    Args:
        adapter, directory: from `read_adapter`, and where it lies.
        base: tensors of the base, by name.
        operator: as `adapter.operator` describes it; its weights are replaced.

    Raises:
        ValueError: the adapter's tensors do not fit.
    """
    for name, settings in adapter.updates.items():
        _put(operator, name, settings, directory)
    given = read_tensors(directory / UPDATES)
    state = dict(given)
    for name, value in operator.state_dict().items():
        plain_name = _plain(name)
        if name not in given and plain_name in base and base[plain_name].shape == value.shape:
            state[name] = base[plain_name]
    load_state(operator, state, str(directory))
    merge(operator)


def _put(operator: Operator, name: str, settings: Mapping[str, Any], directory: Path) -> None:
    values = dict(settings)
    kind = values.pop("kind", None)
    if kind not in KINDS:
        raise ValueError(f"{directory / ADAPTER}: no update of kind {kind!r}; upgrade pelagos")
    try:
        module, leaf = owner(operator, name)
        put(operator, name, KINDS[kind](module.get_parameter(leaf), **values))
    except (AttributeError, TypeError, AssertionError, IndexError):
        raise ValueError(
            f"{directory / ADAPTER} is damaged: the update of {name} does not fit"
        ) from None


def _original(name: str) -> str:
    """Where the weight itself is in the state of an operator with updates."""
    path, _, leaf = name.rpartition(".")
    return f"{path}.parametrizations.{leaf}.original".lstrip(".")


def _plain(name: str) -> str:
    """The name of a weight without its update."""
    if not name.endswith(".original"):
        return name
    return name.removesuffix(".original").replace("parametrizations.", "")
