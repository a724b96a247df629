"""Checkpoints: a directory with `config.json` and `model.safetensors`, and nothing else needed.

`SHA256SUMS` beside them says what they were when they were saved; a checkpoint of an earlier
version has none, and is taken as it is.

`config.json` says which operator it is, how it is built, which fields in which units it maps, how
it normalises, its time scale, where it comes from and under which licence. Loading is strict,
runs no code from the checkpoint and needs no network.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from ...datasets.base.appearing import appearing_folder
from ...datasets.base.config import build as build_config
from ...datasets.base.config import plain
from ...datasets.base.manifest import MANIFEST, require_intact, seal
from ...datasets.base.paths import is_folder, shown, there
from ...datasets.base.texts import MOST_JSON, parse_json, read_text
from . import adapter, registry
from .description import Description, description_from_dict, description_to_dict
from .halves import HALF, STORED, widened
from .shipped import folder_of, is_named
from .sizes import MOST_TENSORS, TooManyTensors, at_most
from .tensors import load_state, read_tensors, require_dtypes, require_fit, tensor_names
from .writing import Slots, write_one_by_one, write_tensors

if TYPE_CHECKING:
    from .operator import Operator

SCHEMA = 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"
FILES = (CONFIG, WEIGHTS)
_CONVERTED = {torch.float16, torch.bfloat16, torch.float64}
OF_A_RUN = "checkpoint"  # where a run directory has its checkpoint
HUB = "hf:"


def save(operator: Operator, path: Path, *, overwrite: bool = False) -> Path:
    """Write a checkpoint; it appears under `path` only when complete.

    Raises:
        ValueError: as `require_free`, or the operator was converted to other types of numbers.
    """
    require_free(path, overwrite)
    state = {name: value.detach().cpu() for name, value in operator.state_dict().items()}
    converted = {value.dtype for value in state.values()} & _CONVERTED
    if converted:
        raise ValueError(
            f"checkpoints hold float32, and this operator has {', '.join(map(str, converted))}; "
            "save operator.float()"
        )
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
        except OSError as error:
            raise OSError(f"cannot write {path}: {' '.join(str(error).split())}") from error
    return path


def fill(folder: Path, config: dict[str, Any], state: dict[str, Tensor]) -> None:
    """Write all files into a folder that has no name yet (see `write`)."""
    write_config(folder, config)
    weights = write_tensors(folder / WEIGHTS, state, {"format": "pt"})
    seal(folder, {WEIGHTS: weights})


def fill_one_by_one(
    folder: Path, config: dict[str, Any], slots: Slots, tensors: Iterable[Tensor]
) -> None:
    """As `fill`, with one of the tensors in memory at a time (see `writing.write_one_by_one`)."""
    write_config(folder, config)
    weights = write_one_by_one(folder / WEIGHTS, slots, tensors, {"format": "pt"})
    seal(folder, {WEIGHTS: weights})


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """Write `config.json` into a folder."""
    folder.mkdir(exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(config, indent=2, allow_nan=False) + "\n")


def from_pretrained(
    path: str | Path, *, verify: bool = True, base: str | Path | None = None
) -> Operator:
    """The operator of a checkpoint directory, a run, or a Hugging Face repository.

    Args:
        path: a checkpoint directory, a run directory (then its checkpoint), `pelagos:NAME` for a
            checkpoint that ships (see `shipped`), `hf:owner/model` to download a repository; or an
            adapter, which is added to its base.
        verify: whether files must be those that were saved, by their SHA-256.
        base: of an adapter: the checkpoint that it adds to, where that is no longer where it was.

    Raises:
        ValueError: no checkpoint there, a damaged file, another schema, a config that describes no
            operator, or tensors that are missing, unexpected, misshaped, of other types or not
            finite; an adapter of another base, or a base for what is no adapter.
    """
    directory = locate(directory_of(path))
    if adapter.is_adapter(directory):
        return _adapted(directory, base, verify)
    if base is not None:
        raise ValueError(f"{path} is a checkpoint, no adapter: it needs no base")
    if verify:
        require_as_saved(directory)
    config = read_config(directory)
    expected = _expected(config, directory)
    state = read_state(directory)
    if config.get(STORED) == HALF:
        state = widened(state)
    require_fit(state, expected, str(directory))
    require_dtypes(state, expected, str(directory))
    operator = build(config)
    load_state(operator, state, str(directory))
    return operator.eval()


def _adapted(directory: Path, base: str | Path | None, verify: bool) -> Operator:
    """The operator that an adapter makes of its base."""
    about = adapter.read_adapter(directory, verify=verify)
    source = str(about.base.source if base is None else base)
    try:
        opened = from_pretrained(source, verify=verify)
    except ValueError as error:
        raise ValueError(
            f"{directory} adds to {about.base.source}, which cannot be opened ({error}); say where "
            f"that is: pelagos adapter merge {directory} OUT --base CHECKPOINT (in Python base=)"
        ) from None
    state = opened.state_dict()
    adapter.require_base(about, state, source, directory)
    operator = build(about.operator)
    adapter.add(about, directory, state, operator)
    return operator.eval()


def require_as_saved(directory: Path) -> None:
    """Refuse a checkpoint with another file than was saved.

    Raises:
        ValueError: a file is damaged (named), with what to do.
    """
    try:
        require_intact(directory, FILES)
    except ValueError as error:
        remedy = "restore it from a copy"
        if directory.name == OF_A_RUN and any((directory.parent / "state").glob("step-*")):
            remedy = f"remove {directory} and go on with --resume auto: the run writes it anew"
        raise ValueError(
            f"{error}; {remedy} (a file that you changed on purpose is opened with --no-verify, "
            f"in Python verify=False, or without {MANIFEST})"
        ) from None


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
    outer = ("schema", "operator", "config", STORED)
    return description_from_dict({k: v for k, v in config.items() if k not in outer})


def read_config(directory: Path) -> dict[str, Any]:
    """The checked contents of `config.json`.

    Raises:
        ValueError: missing, not JSON, written under another schema, or a key is unknown or wrong.
    """
    path = directory / CONFIG
    if not path.is_file():
        raise ValueError(f"{directory} is no checkpoint: it has no {CONFIG}")
    try:
        config = parse_json(read_text(path, MOST_JSON))
    except ValueError as error:
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
    with tempfile.TemporaryDirectory() as folder:
        path = save(operator, Path(folder) / "checkpoint")
        api.create_repo(repository, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repository, folder_path=path))


def locate(path: str | Path) -> Path:
    """The checkpoint of a run directory (its `checkpoint/`), or `path` itself.

    Raises:
        ValueError: a run that has no checkpoint yet.
    """
    path = Path(path)
    if is_folder(path / OF_A_RUN):
        return path / OF_A_RUN
    if there(path / "recipe.yaml"):
        raise ValueError(f"run {path} has no checkpoint yet; finish it with --resume auto")
    return path


def directory_of(
    path: str | Path, files: tuple[str, ...] = (*FILES, *adapter.FILES, MANIFEST)
) -> Path:
    """A local checkpoint directory; `hf:owner/model` is downloaded, and nothing else.

    Args:
        path: directory, name with the prefix `pelagos:`, or repository with the prefix `hf:`.
        files: what to download from a repository.

    Raises:
        ValueError: neither a directory nor a repository that can be reached.
    """
    if is_folder(path):
        return Path(path)
    if is_named(path):
        return folder_of(path)
    remote, repository = str(path).startswith(HUB), str(path).removeprefix(HUB)
    if not remote:
        raise ValueError(
            f"no checkpoint directory at {shown(path)} (pelagos checkpoints names those that ship)"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
    )

    try:
        return Path(snapshot_download(repository, allow_patterns=list(files)))
    except LocalEntryNotFoundError as error:
        raise ValueError(
            f"{path} was never downloaded here, and the Hugging Face hub cannot be reached "
            f"({_told(error.__cause__ or error)}); try again with a network (HF_ENDPOINT may name "
            "a mirror), or give the folder of a checkpoint that was downloaded elsewhere"
        ) from None
    except HFValidationError:
        raise ValueError(
            f"{shown(path)!r} names no model on the Hugging Face hub: write hf:owner/model"
        ) from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ValueError(f"no model {repository} on the Hugging Face hub: {_told(error)}") from None


def _told(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _construct(config: dict[str, Any], most: int = MOST_TENSORS) -> Operator:
    """The operator of `config.json`, before its weights are drawn; of so many tensors at most."""
    with at_most(most):
        return registry.get(config["operator"])(_architecture(config), describe(config))


def _architecture(config: dict[str, Any]) -> Any:
    """The operator's own config dataclass."""
    cls = registry.get(config["operator"])
    return build_config(cls.Config, _with_earlier(cls, config["config"]), prefix="config")


def _with_earlier(cls: type[Operator], config: Any) -> Any:
    """The config with what a checkpoint that lacks a key meant, also of an operator inside."""
    if not isinstance(config, dict):
        return config  # building says what is wrong
    inner = config.get(cls.wraps)
    name = inner.get("name") if isinstance(inner, dict) else None
    wrapped = {cls.wraps: _with_earlier(registry.get(name), inner)} if name else {}
    return {**cls.earlier, **config, **wrapped}


def _expected(config: dict[str, Any], directory: Path) -> dict[str, Tensor]:
    """The operator's tensors without memory: a config may ask for more than there is."""
    try:
        stored = len(tensor_names(directory / WEIGHTS))
    except (OSError, SafetensorError):
        stored = MOST_TENSORS  # reading the weights says what is wrong with them
    try:
        with torch.device("meta"):
            return _construct(config, 2 * stored + 100).state_dict()  # some are made in passing
    except TooManyTensors:
        raise ValueError(
            f"{directory} does not fit its config: that asks for more tensors than the {stored} "
            f"of {WEIGHTS}"
        ) from None
    except (RuntimeError, OverflowError) as error:  # more elements than can be counted
        reason = str(error).splitlines()[0]
        raise ValueError(f"{directory} does not fit its config: {reason}") from None
