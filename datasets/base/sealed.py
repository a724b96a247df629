"""A JSON object that carries its own SHA-256, by which its reader knows it for what was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL = "sha256"  # the key


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The object with its SHA-256 for the last key."""
    return {**content, SEAL: _digest(content)}


def unsealed(found: Mapping[str, Any]) -> dict[str, Any]:
    """The object that was sealed; one without a seal, of an earlier version, as it is.

    Raises:
        ValueError: it is not the one that was sealed.
    """
    content = {key: value for key, value in found.items() if key != SEAL}
    if SEAL in found and found[SEAL] != _digest(content):
        raise ValueError(f"it was changed after it was written (its {SEAL} is another)")
    return content


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
