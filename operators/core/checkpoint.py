"""Checkpoints: a directory with `config.json` and `model.safetensors`, and nothing else needed.

`config.json` says which operator it is, how it is built, which fields in which units it maps, how
it normalises, its time scale, where it comes from and under which licence. Loading is strict,
runs no code from the checkpoint and needs no network.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ...datasets.base.appearing import appearing_folder
from ...datasets.base.config import build as build_config
from ...datasets.base.config import plain
from . import registry
from .description import Description, description_from_dict, description_to_dict
from .tensors import load_state, read_tensors, require_fit

if TYPE_CHECKING:
    from .operator import Operator

SCHEMA = 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"
OF_A_RUN = "checkpoint"  # where a run directory has its checkpoint
HUB = "hf:"


def save(operator: Operator, path: Path, *, overwrite: bool = False) -> Path:
    """Write a checkpoint; it appears under `path` only when complete.

    Raises:
        ValueError: as `require_free`.
    """
    require_free(path, overwrite)
    state = {name: value.detach().cpu() for name, value in operator.state_dict().items()}
    return write(path, config_of(operator), state)


def require_free(path: Path, overwrite: bool) -> None:
    """Refuse a path at which no checkpoint may be written.

    Raises:
        ValueError: `path` exists and `overwrite` is not set, or it holds something other than a
            checkpoint, which is never replaced.
    """
    if not path.exists():
        return
    if not overwrite:
        raise ValueError(
            f"{path} exists already; choose another path, or replace it "
            "(--overwrite, in Python overwrite=True)"
        )
    if not path.is_dir() or (any(path.iterdir()) and not (path / CONFIG).is_file()):
        raise ValueError(f"{path} is no checkpoint, and is not replaced; choose another path")


def config_of(operator: Operator) -> dict[str, Any]:
    """The contents of `config.json`."""
    return {
        "schema": SCHEMA,
        "operator": operator.name,
        "config": plain(operator.config),
        **description_to_dict(operator.description),
    }


def write(path: Path, config: dict[str, Any], state: dict[str, Tensor]) -> Path:
    """Write a checkpoint that appears when complete; replaces what `path` holds.

    Raises:
        ValueError: the disk is full.
        OSError: it cannot be written for another reason. Nothing is left behind.
    """
    with appearing_folder(path, overwrite=True) as draft:
        try:
            fill(draft, config, state)
        except (OSError, SafetensorError) as error:
            raise OSError(f"cannot write {path}: {' '.join(str(error).split())}") from error
    return path


def fill(folder: Path, config: dict[str, Any], state: dict[str, Tensor]) -> None:
    """Write both files into a folder that has no name yet (see `write`)."""
    text = json.dumps(config, indent=2, allow_nan=False) + "\n"
    (folder / CONFIG).write_text(text)
    contiguous = {name: tensor.contiguous() for name, tensor in state.items()}
    save_file(contiguous, folder / WEIGHTS, metadata={"format": "pt"})


def from_pretrained(path: str | Path) -> Operator:
    """The operator of a checkpoint directory, or of a Hugging Face repository.

    Args:
        path: a directory, or `hf:owner/model` to download a repository.

    Raises:
        ValueError: no checkpoint there, another schema, a config that describes no operator, or
            tensors that are missing, unexpected, misshaped or not finite.
    """
    directory = directory_of(path)
    config = read_config(directory)
    state = read_state(directory)
    require_fit(state, _expected(config, str(directory)), str(directory))
    operator = build(config)
    load_state(operator, state, str(directory))
    return operator.eval()


def build(config: dict[str, Any]) -> Operator:
    """A freshly initialised operator as `config.json` describes it.

    Raises:
        ValueError: a key of the description or of the operator's config is unknown or wrong.
    """
    operator = _construct(config)
    operator.reset(torch.Generator().manual_seed(0))
    return operator


def describe(config: dict[str, Any]) -> Description:
    """The description held by `config.json`."""
    outer = ("schema", "operator", "config")
    return description_from_dict({k: v for k, v in config.items() if k not in outer})


def read_config(directory: Path) -> dict[str, Any]:
    """The checked contents of `config.json`.

    Raises:
        ValueError: missing, not JSON, written under another schema, or a key is unknown or wrong.
    """
    path = directory / CONFIG
    if not path.is_file():
        inner = directory / OF_A_RUN
        remedy = f"; open {inner}" if (inner / CONFIG).is_file() else ""
        raise ValueError(f"{directory} is no checkpoint: it has no {CONFIG}{remedy}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    schema = config.get("schema") if isinstance(config, dict) else None
    if schema is None:
        raise ValueError(
            f"{path} is not a pelagos checkpoint's; bring published weights in with "
            "`pelagos import` or operators.compat"
        )
    if schema != SCHEMA:
        raise ValueError(
            f"{path} has checkpoint schema {schema!r}; this version of pelagos reads schema "
            f"{SCHEMA}. Upgrade pelagos"
        )
    missing = {"operator", "config", "fields"} - set(config)
    if missing:
        raise ValueError(f"{path} lacks the key(s) {', '.join(sorted(missing))}")
    if not isinstance(config["operator"], str):
        raise ValueError(f"{path}: operator must be a name; got {config['operator']!r}")
    try:
        describe(config)
        _architecture(config)
    except ValueError as error:
        unknown = config["operator"] not in registry.names()
        remedy = " (if another package adds it, install that)" if unknown else ""
        raise ValueError(f"{path}: {error}{remedy}") from None
    return config


def read_state(directory: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint directory, by name.

    Raises:
        ValueError: the file is missing or damaged.
    """
    path = directory / WEIGHTS
    if not path.is_file():
        raise ValueError(f"{directory} is no complete checkpoint: it has no {WEIGHTS}")
    return read_tensors(path)


def push_to_hub(operator: Operator, repository: str, *, private: bool = False) -> str:
    """Upload a checkpoint to the Hugging Face hub; returns its address."""
    from huggingface_hub import HfApi  # slow to import, and only needed here

    api = HfApi()
    api.create_repo(repository, private=private, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        path = save(operator, Path(folder) / "checkpoint")
        return str(api.upload_folder(repo_id=repository, folder_path=path))


def locate(path: str | Path) -> Path:
    """The checkpoint of a run directory (its `checkpoint/`), or `path` itself.

    Raises:
        ValueError: a run that has no checkpoint yet.
    """
    path = Path(path)
    if (path / OF_A_RUN).is_dir():
        return path / OF_A_RUN
    if (path / "recipe.yaml").is_file():
        raise ValueError(f"run {path} has no checkpoint yet; finish it with --resume auto")
    return path


def directory_of(path: str | Path, files: tuple[str, ...] = (CONFIG, WEIGHTS)) -> Path:
    """A local checkpoint directory; `hf:owner/model` is downloaded, and nothing else.

    Args:
        path: directory, or repository with the prefix `hf:`.
        files: what to download from a repository.

    Raises:
        ValueError: neither a directory nor a repository that can be reached.
    """
    if Path(path).is_dir():
        return Path(path)
    remote, repository = str(path).startswith(HUB), str(path).removeprefix(HUB)
    if not remote:
        raise ValueError(f"no checkpoint directory at {path}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, allow_patterns=list(files)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"no model {repository} on the Hugging Face hub: {reason}") from None


def _construct(config: dict[str, Any]) -> Operator:
    """The operator of `config.json`, before its weights are drawn."""
    return registry.get(config["operator"])(_architecture(config), describe(config))


def _architecture(config: dict[str, Any]) -> Any:
    """The operator's own config dataclass."""
    cls = registry.get(config["operator"])
    return build_config(cls.Config, config["config"], prefix="config")


def _expected(config: dict[str, Any], source: str) -> dict[str, Tensor]:
    """The operator's tensors without memory: a config may ask for more than there is."""
    try:
        with torch.device("meta"):
            return _construct(config).state_dict()
    except RuntimeError as error:  # more elements than can be counted
        reason = str(error).splitlines()[0]
        raise ValueError(f"{source} does not fit its config: {reason}") from None
