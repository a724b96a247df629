"""A checkpoint with another description; its weights stay as they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ...datasets.base.appearing import appearing_folder
from ...datasets.base.manifest import seal
from . import checkpoint
from .description import Description, description_to_dict


def redescribe(directory: Path, description: Description) -> None:
    """Replace the description of a checkpoint directory, complete or not at all.

    Raises:
        ValueError: no checkpoint there, or it is damaged.
    """
    checkpoint.require_as_saved(directory)
    config = checkpoint.read_config(directory)
    kept = {key: config[key] for key in ("schema", "operator", "config")}
    text = json.dumps({**kept, **description_to_dict(description)}, indent=2, allow_nan=False)
    with appearing_folder(directory, overwrite=True) as draft:
        shutil.copytree(directory, draft, dirs_exist_ok=True)
        (draft / checkpoint.CONFIG).write_text(text + "\n")
        seal(draft)
