"""Checkpoints: a directory with `config.json` and `model.safetensors`, and nothing else needed.

`config.json` says which operator it is, how it is built, which fields in which units it maps, how
it normalises, its time scale, where it comes from and under which licence. Loading is strict,
runs no code from the checkpoint and needs no network.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..datasets import codec
from . import registry
from .description import Description, description_from_dict, description_to_dict

if TYPE_CHECKING:
    from .interface import Operator

SCHEMA = 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"


def save(operator: Operator, path: Path, *, overwrite: bool = False) -> Path:
    """Write a checkpoint; it appears under `path` only when complete.

    Raises:
        ValueError: `path` exists (and `overwrite` is not set).
    """
    if path.exists() and not overwrite:
        raise ValueError(f"{path} exists already; choose another path, or pass overwrite")
    state = {name: value.detach().cpu() for name, value in operator.state_dict().items()}
    return write(path, config_of(operator), state)


def config_of(operator: Operator) -> dict[str, Any]:
    """The contents of `config.json`."""
    return {
        "schema": SCHEMA,
        "operator": operator.name,
        "config": codec.plain(operator.config),
        **description_to_dict(operator.description),
    }


def write(path: Path, config: dict[str, Any], state: dict[str, Tensor]) -> Path:
    """Write both files into a temporary directory and swap it in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        (temporary / CONFIG).write_text(json.dumps(config, indent=2, allow_nan=False) + "\n")
        contiguous = {name: tensor.contiguous() for name, tensor in state.items()}
        save_file(contiguous, temporary / WEIGHTS, metadata={"format": "pt"})
        temporary.chmod(0o755)
        _swap(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return path


def from_pretrained(path: str | Path) -> Operator:
    """The operator of a checkpoint directory, or of a Hugging Face repository id.

    Raises:
        ValueError: no checkpoint there, another schema, or tensors that do not fit.
    """
    directory = directory_of(path)
    config = read_config(directory)
    operator = build(config)
    load_state(operator, read_state(directory), str(directory))
    return operator.eval()


def build(config: dict[str, Any]) -> Operator:
    """A freshly initialised operator as `config.json` describes it."""
    description = describe(config)
    return registry.create(config["operator"], description=description, **config["config"])


def describe(config: dict[str, Any]) -> Description:
    """The description held by `config.json`."""
    outer = ("schema", "operator", "config")
    return description_from_dict({k: v for k, v in config.items() if k not in outer})


def read_config(directory: Path) -> dict[str, Any]:
    """The checked contents of `config.json`.

    Raises:
        ValueError: missing, not JSON, or written under another schema.
    """
    path = directory / CONFIG
    if not path.is_file():
        raise ValueError(f"{directory} is no checkpoint: it has no {CONFIG}")
    try:
        config = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    schema = config.get("schema") if isinstance(config, dict) else None
    if schema != SCHEMA:
        raise ValueError(
            f"{path} has checkpoint schema {schema!r}; this version of pelagos reads schema "
            f"{SCHEMA}. Upgrade pelagos, or import foreign weights through operators.compat"
        )
    missing = {"operator", "config", "fields"} - set(config)
    if missing:
        raise ValueError(f"{path} lacks the key(s) {', '.join(sorted(missing))}")
    return config


def read_state(directory: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint directory, by name.

    Raises:
        ValueError: the file is missing or damaged.
    """
    path = directory / WEIGHTS
    if not path.is_file():
        raise ValueError(f"{directory} is no complete checkpoint: it has no {WEIGHTS}")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged or truncated: {error}") from None


def load_state(operator: Operator, state: dict[str, Tensor], source: str) -> None:
    """Copy `state` into the operator; every tensor must fit.

    Raises:
        ValueError: a tensor is missing, unexpected or of another shape (named).
    """
    own = operator.state_dict()
    problems = [f"missing {name}" for name in own if name not in state]
    problems += [f"unexpected {name}" for name in state if name not in own]
    problems += [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ValueError(f"{source} does not fit its config: {'; '.join(problems[:5])}{more}")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(state[name])


def push_to_hub(operator: Operator, repository: str, *, private: bool = False) -> str:
    """Upload a checkpoint to the Hugging Face hub; returns its address."""
    from huggingface_hub import HfApi  # slow to import, and only needed here

    api = HfApi()
    api.create_repo(repository, private=private, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        path = save(operator, Path(folder) / "checkpoint")
        return str(api.upload_folder(repo_id=repository, folder_path=path))


def directory_of(path: str | Path, files: tuple[str, ...] = (CONFIG, WEIGHTS)) -> Path:
    """A local checkpoint directory; a name like `owner/model` that is none is downloaded.

    Args:
        path: directory or repository id.
        files: what to download from a repository.

    Raises:
        ValueError: neither a directory nor a repository that can be reached.
    """
    local = Path(path)
    if local.is_dir():
        return local
    if local.exists() or local.is_absolute() or str(path).count("/") != 1 or local.parent.exists():
        raise ValueError(f"no checkpoint directory at {path}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(path), allow_patterns=list(files)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"no checkpoint directory {path}, and no such model: {reason}") from None


def _swap(temporary: Path, path: Path) -> None:
    """Rename `temporary` to `path`, keeping an old directory until the new one is in place."""
    if not path.exists():
        temporary.rename(path)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}-old-", dir=path.parent))
    path.rename(old / path.name)
    temporary.rename(path)
    shutil.rmtree(old)
