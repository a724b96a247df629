"""Arrays as JSON: nested lists, or their bytes in base64."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .asked import Encoding

SHAPE, BYTES = "shape", "float32"


def encoded(values: np.ndarray, how: Encoding) -> Any:
    """An array as JSON can hold it; in lists `null` stands for what is not finite."""
    values = np.asarray(values, np.float32)
    if how == "base64":
        raw = np.ascontiguousarray(values, "<f4").tobytes()
        return {SHAPE: list(values.shape), BYTES: base64.b64encode(raw).decode("ascii")}
    found = values.astype(object)
    found[~np.isfinite(values)] = None
    return found.tolist()


def decoded(name: str, given: Any, under: str = "fields") -> np.ndarray:
    """The array that `encoded` wrote, in either way; `null` is NaN.

    Args:
        name: of the field.
        given: from JSON.
        under: the key that holds it.

    Raises:
        ValueError: these are no numbers, or lists of different lengths.
    """
    if isinstance(given, Mapping):
        return _from_bytes(f"{under}.{name}", given)
    try:
        return np.asarray(given, np.float32)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(
            f"{under}.{name} must be numbers in nested lists of equal lengths, or "
            f'{{"{SHAPE}": […], "{BYTES}": base64}}'
        ) from None


def _from_bytes(key: str, given: Mapping[str, Any]) -> np.ndarray:
    shape, text = given.get(SHAPE), given.get(BYTES)
    whole = isinstance(shape, list) and len(shape) < 16
    if not whole or not all(type(n) is int and n >= 0 for n in shape or ()):
        raise ValueError(f"{key}.{SHAPE} must be a list of whole numbers")
    try:
        raw = base64.b64decode(text if isinstance(text, str) else "?", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{key}.{BYTES} must be base64") from None
    count = math.prod(shape or ())
    if len(raw) != 4 * count:
        raise ValueError(f"{key} has {len(raw)} bytes, and its shape {shape} needs {4 * count}")
    return np.frombuffer(raw, "<f4").reshape(shape or ()).astype(np.float32)
