"""Arrays of files of classic NetCDF; NetCDF-4 is HDF5."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .conventions import decoded
from .lazy import Lazy


class NetcdfFile(Lazy):
    """A file of classic NetCDF (versions 1, 2 and 5), memory-mapped."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the variables."""
        return {name: item.values.shape for name, item in self._variables().items()}

    def array(self, name: str) -> Any:
        """A view of the mapped file; what stands for other numbers is decoded on use.

        Raises:
            ValueError: its attributes are not of the conventions.
        """
        item = self._variables()[name]
        return decoded(name, item.values, item.attributes)

    def attributes(self, name: str = "") -> Mapping[str, Any]:
        """Attributes of a variable, by default of the file."""
        if name:
            return self._variables()[name].attributes
        self._variables()
        return self._opened[1]

    def dimensions(self, name: str) -> tuple[str, ...]:
        """Names of a variable's dimensions."""
        return self._variables()[name].dimensions

    def _variables(self) -> dict[str, Stored]:
        self._own()
        if self._opened is None:
            self._opened = _read(self.path)
        return self._opened[0]


class Stored(NamedTuple):
    """A variable as it is stored."""

    values: np.ndarray
    dimensions: tuple[str, ...]
    attributes: dict[str, Any]


def _read(path: Path) -> tuple[dict[str, Stored], dict[str, Any]]:
    """The variables as views of a map that lives as long as they do; the file's attributes."""
    import scipy.io  # on use: a tenth of a second of every command

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = scipy.io.netcdf_file(path, "r", mmap=True)
            found = {
                name: Stored(item.data, tuple(item.dimensions), dict(item._attributes))
                for name, item in file.variables.items()
            }
            attributes = dict(file._attributes)
            file._mm_buf = None  # the views keep the map; closing would copy or complain
            file.close()
            return found, attributes
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{path} is damaged ({reason:.200}); copy or make it again") from None
