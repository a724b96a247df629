"""Arrays of files of classic NetCDF; NetCDF-4 is HDF5."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from .lazy import Lazy


class NetcdfFile(Lazy):
    """A file of classic NetCDF (versions 1, 2 and 5), memory-mapped."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the variables."""
        return {name: values.shape for name, (values, _) in self._open().items()}

    def array(self, name: str) -> np.ndarray:
        """A view of the mapped file.

        Raises:
            ValueError: its numbers stand for others.
        """
        values, packed = self._open()[name]
        if packed:
            raise ValueError(
                f"{self.path}: {name!r} is packed (scale_factor, add_offset); store its values "
                f"unpacked, as xarray.open_dataset reads them"
            )
        return values

    def _open(self) -> dict[str, tuple[np.ndarray, bool]]:
        self._own()
        if self._opened is None:
            self._opened = _variables(self.path)
        return self._opened


def _variables(path: Path) -> dict[str, tuple[np.ndarray, bool]]:
    """The variables as views of a map that lives as long as they do; whether they are packed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = scipy.io.netcdf_file(path, "r", mmap=True)
            found = {name: (item.data, _packed(item)) for name, item in file.variables.items()}
            file._mm_buf = None  # the views keep the map; closing would copy or complain
            file.close()
            return found
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{path} is damaged ({reason:.200}); copy or make it again") from None


def _packed(item: Any) -> bool:
    """Whether the numbers of a variable stand for others, by the conventions of NetCDF."""
    scaled = getattr(item, "scale_factor", 1) != 1, getattr(item, "add_offset", 0) != 0
    return bool(np.any(scaled))
