"""NetCDF 4 that is written; apart from what reads it, as its libraries are slow to import."""

from __future__ import annotations

from pathlib import Path

import h5netcdf
import xarray
from xarray.backends import H5NetCDFStore

from .disk import written


def write_netcdf(dataset: xarray.Dataset, path: Path) -> None:
    """Write a dataset as NetCDF 4, into a new file or over one.

    Raises:
        OSError: the disk is full or fails.
    """
    with written(path) as disk, h5netcdf.File(disk, "w") as file:
        dataset.dump_to_store(H5NetCDFStore(file, autoclose=False))
