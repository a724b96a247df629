"""Offsets that a description subtracts, so that single precision holds what varies."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np

from .arrays import ArraySource
from .described_arrays import DescribedArrays
from .description import MEAN, Description

DIGITS = 6  # of a mean


def subtracted(arrays: DescribedArrays, given: Description, source: ArraySource) -> ArraySource:
    """The source with the offsets of `subtract` taken from its fields, and stated.

    A mean is that of the first frame of the file, to six digits.

    Raises:
        ValueError: there is no such field, or its first frame has no finite value.
    """
    asked = given.subtract
    chosen = dict.fromkeys(given.fields, asked) if isinstance(asked, str) else asked
    if not chosen:
        return source
    unknown = ", ".join(sorted(set(chosen) - set(given.fields)))
    if unknown:
        raise arrays.wrong(f"subtract: no field {unknown}; there are: {', '.join(given.fields)}")
    offsets = {
        name: _mean(arrays, source, name) if value == MEAN else float(value)
        for name, value in chosen.items()
    }
    changed = copy.copy(source)
    changed.channels = {
        name: replace(variable, offset=variable.offset - offsets.get(name, 0.0))
        for name, variable in source.channels.items()
    }
    provenance = {**source.header.provenance, "subtracted": offsets}
    changed.header = replace(source.header, provenance=provenance)
    return changed


def _mean(arrays: DescribedArrays, source: ArraySource, name: str) -> float:
    frame = source.read_exactly(0, slice(0, 1), [source.header.fields.index(name)])
    source.close()
    finite = frame[np.isfinite(frame)]
    if not finite.size:
        raise arrays.wrong(
            f"subtract: the first frame of {name!r} has no finite value; say a number"
        )
    return float(f"{finite.mean():.{DIGITS}g}")
