"""The parameters of the trajectories, as a description says."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from jaxtyping import Float64

from .arrays import number
from .described_arrays import DescribedArrays
from .description import Description


def parameters(
    arrays: DescribedArrays, description: Description, count: int
) -> tuple[tuple[str, ...], Float64[np.ndarray, "n P"]]:
    """Names and values of the parameters of `count` trajectories.

    Raises:
        ValueError: one is missing, no number, or not there for each trajectory.
    """
    columns = {
        name: column(arrays, f"parameters.{name}", given, count)
        for name, given in description.parameters.items()
    }
    return tuple(columns), np.array([*columns.values()], np.float64).reshape(-1, count).T


def column(
    arrays: DescribedArrays, key: str, given: float | str, count: int
) -> Float64[np.ndarray, " n"]:
    """A number of each trajectory: the same for all, an array, or an attribute.

    Raises:
        ValueError: it is missing, no number, or not there for each trajectory.
    """
    if isinstance(given, str) and ("@" not in given or given in arrays.shapes):
        values = arrays.values(given, key)
        if values.size not in (1, count):
            raise arrays.wrong(
                f"{key}: {given!r} must have one entry or {count}; got shape {values.shape}"
            )
        return np.broadcast_to(values.reshape(-1).astype(np.float64), (count,))
    found = attributes(arrays, given) if isinstance(given, str) else [given]
    entries = [number(arrays.path, key.rpartition(".")[2], value) for value in found]
    return np.broadcast_to(np.array(entries, np.float64), (count,))


def attributes(arrays: DescribedArrays, text: str) -> list[Any]:
    """`@name` of the file, `place@name` of a group or array, `*@name` of each group."""
    place, _, name = text.rpartition("@")
    places = arrays.matching(place) if "*" in place else [place]
    found: list[Any] = []
    with suppress(KeyError, ValueError):  # told of below
        found = arrays.file.stated(places, name)
    if found and not any(value is None for value in found):
        return found
    found = []
    for each in places:
        try:
            known = arrays.file.attributes(each)
        except (KeyError, ValueError):
            known = {}
        if name not in known:
            shown = ", ".join(known) or "none"
            raise arrays.wrong(f"no attribute {each}@{name}; there are: {shown}")
        found.append(known[name])
    if not found:
        raise arrays.wrong(f"no group {place!r}, whose attribute {name!r} could be read")
    return found
