"""`xarray.open_dataset(path, engine="pelagos")`: a dataset of any layout as xarray opens it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import xarray
from xarray.backends import BackendEntrypoint

from .opening import open_store
from .xarray_view import to_xarray


class PelagosBackend(BackendEntrypoint):
    """Opens what `open_store` opens, lazily; it never offers itself for a path."""

    description: ClassVar[str] = "Datasets of PDEs in any layout that Pelagos reads"
    open_dataset_parameters = ("split", "layout", "units")

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        split: str | None = None,
        layout: str | None = None,
        units: Mapping[str, str] | None = None,
    ) -> xarray.Dataset:
        """The dataset at a path; see `open_store` for the options.

        Raises:
            ValueError: as `open_store`, or this is no path.
        """
        if not isinstance(filename_or_obj, (str, os.PathLike)):
            raise ValueError(f"a dataset is opened by its path; got {filename_or_obj!r}")
        store = open_store(Path(filename_or_obj), split, layout, units=units)
        dropped = [drop_variables] if isinstance(drop_variables, str) else drop_variables
        return to_xarray(store).drop_vars(dropped or (), errors="ignore")

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """No: what xarray finds by itself stays as it is."""
        return False
