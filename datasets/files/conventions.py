"""What attributes say about numbers, by the conventions of NetCDF (CF): decoded by xarray.

Only what is read is decoded. What no attribute changes stays as it is, so that it can be mapped
into memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

# Attributes that make numbers stand for others.
CODING = ("_FillValue", "missing_value", "scale_factor", "add_offset", "_Unsigned")
# How netCDF marks an HDF5 dataset that is the length of a dimension and has no values.
NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable"


def coding(attributes: Mapping[str, Any], dtype: np.dtype) -> dict[str, Any]:
    """The attributes that change values of this type; {} where numbers are what they are."""
    if dtype.kind not in "fiu":
        return {}
    found = {key: plain(attributes[key]) for key in CODING if key in attributes}
    neutral = {"scale_factor": 1, "add_offset": 0, "_Unsigned": "false"}
    changing = {}
    for key, value in found.items():
        is_nan = dtype.kind == "f" and isinstance(value, (float, np.floating)) and np.isnan(value)
        if not is_nan and not (key in neutral and _same(value, neutral[key])):
            changing[key] = value
    return changing


def plain(value: Any) -> Any:
    """An attribute as a number or text where it is one, whatever wraps it."""
    values = np.asarray(value)
    if values.dtype.kind in "SO" and values.size == 1:
        one = values.reshape(()).item()
        return one.decode(errors="replace") if isinstance(one, bytes) else one
    return values.reshape(())[()] if values.size == 1 else value


def texts(attributes: Mapping[str, Any]) -> dict[str, str]:
    """The attributes that are text."""
    known = {key: plain(value) for key, value in attributes.items()}
    return {key: str(value) for key, value in known.items() if isinstance(value, str)}


class DecodedArray:
    """An array whose numbers stand for others; index it with integers and slices to read.

    Missing values become NaN.

    Args:
        name: of the array, for messages.
        array: as it is stored.
        attributes: what `coding` found.

    Raises:
        ValueError: the attributes are not of the conventions.
    """

    def __init__(self, name: str, array: Any, attributes: Mapping[str, Any]) -> None:
        import xarray  # on use: most files need no decoding
        from xarray.conventions import decode_cf_variable
        from xarray.core.indexing import LazilyIndexedArray

        self.shape = tuple(array.shape)
        self.chunks: tuple[int, ...] | None = getattr(array, "chunks", None)  # mapped ones have no
        dims = tuple(f"axis {i}" for i in range(len(self.shape)))
        stored = xarray.Variable(dims, LazilyIndexedArray(stored_array(array)), dict(attributes))
        try:
            self._values = decode_cf_variable(
                name, stored, decode_times=False, decode_timedelta=False
            )
            self.dtype: np.dtype = self._values.dtype
            if self.dtype.kind not in "fiub":
                raise TypeError("they make no numbers")
        except Exception as error:  # whatever xarray makes of attributes from anywhere
            said = ", ".join(f"{key} {value!r:.40}" for key, value in attributes.items())
            raise ValueError(
                f"{name!r} cannot be decoded by its attributes {said} ({error!s:.200}); mend them"
            ) from None

    def __getitem__(self, key: Any) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(self._values[key].values)


def stored_array(array: Any) -> Any:
    """An array of ours as a lazy one of xarray's."""
    from xarray.backends import BackendArray
    from xarray.core import indexing

    class Stored(BackendArray):
        shape, dtype = tuple(array.shape), array.dtype

        def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
            support = indexing.IndexingSupport.BASIC
            return indexing.explicit_indexing_adapter(
                key, self.shape, support, lambda inner: np.asarray(array[inner])
            )

    return Stored()


def decoded(name: str, array: Any, attributes: Mapping[str, Any]) -> Any:
    """The array itself, or decoded on use where attributes change its numbers.

    Raises:
        ValueError: the attributes are not of the conventions.
    """
    changing = coding(attributes, array.dtype)
    return DecodedArray(name, array, changing) if changing else array


def _same(value: Any, neutral: Any) -> bool:
    return str(value).lower() == neutral if isinstance(neutral, str) else bool(value == neutral)
