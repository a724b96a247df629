"""What a folder was made from and how: a record that is written first, so that the same goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .appearing import appearing_file
from .texts import MOST_YAML, parse_yaml, read_text


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record, or replace it; it appears when it is complete.

    Raises:
        ValueError: the disk is full.
    """
    text = yaml.safe_dump(dict(record), sort_keys=False, allow_unicode=True)
    with appearing_file(path, overwrite=True) as draft:
        draft.write_text(text, encoding="utf-8")


def require_same(
    path: Path,
    record: Mapping[str, Any],
    verb: str,
    remedy: str,
    defaults: Mapping[str, Any] | None = None,
) -> None:
    """Refuse to go on with a folder that was made from something else, or otherwise.

    Args:
        path: the record in it.
        record: what is asked for now. Its `state` stands for the state of a source.
        verb: what was done, as in "simulated".
        remedy: what to do about it, as a clause.
        defaults: values of keys that the record need not have.

    Raises:
        ValueError: a key differs (the first is named), or the record is damaged.
    """
    try:
        found = parse_yaml(read_text(path, MOST_YAML))
    except (yaml.YAMLError, ValueError, OSError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged; {remedy}")
    for key, value in record.items():
        known = found.get(key, (defaults or {}).get(key))
        if known != value and key == "state":
            raise ValueError(
                f"{path.parent} was {verb} from a source that has changed since; {remedy}"
            )
        if known != value:
            raise ValueError(f"{path.parent} was {verb} with {key} {known}, not {value}; {remedy}")
