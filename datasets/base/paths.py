"""Paths as people write them: `~` and `$VAR` in files, names that are too long or no text."""

from __future__ import annotations

import os
import re
from pathlib import Path

# Endings of NetCDF, whose files are HDF5.
NETCDF = (".nc", ".nc4", ".cdf", ".netcdf", ".h5", ".hdf5", ".hdf", ".he5")
MOST_SHOWN = 300  # characters of a path
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


def expanded(path: str, key: str) -> str:
    """A path or URL with `~` and `$VAR` (or `${VAR}`) replaced.

    Recipes keep what was written, and it is expanded where it is opened: a run may be resumed where
    the variable has another value, as `$TMPDIR` has in every job. A path that exists as it is
    written is taken so.

    Args:
        path: as it was written.
        key: of the recipe, for the error.

    Raises:
        ValueError: a variable is not set.
    """
    if there(path):
        return path
    for match in _VARIABLE.finditer(path):
        name = match[1] or match[2]
        if name not in os.environ:
            raise ValueError(
                f"{key}: the environment variable {name} of {path!r} is not set; set it, or write "
                "the path out"
            )
    return os.path.expanduser(os.path.expandvars(path))  # noqa: PTH111 (Path would spoil URLs)


def there(path: str | Path) -> bool:
    """Whether a file or folder is there: none is of a name that is longer than disks allow."""
    return os.path.exists(path)  # noqa: PTH110 (Path raises of such names)


def is_folder(path: str | Path) -> bool:
    """Whether a folder is there; see `there`."""
    return os.path.isdir(path)  # noqa: PTH112


def shown(path: str | Path) -> str:
    """A path for a message, without the middle of one that would fill the screen."""
    text = str(path)
    return text if len(text) <= MOST_SHOWN else f"{text[:100]}…{text[-50:]}"


def require_netcdf(path: Path, others: tuple[str, ...] = ()) -> None:
    """Refuse a file to be written whose name says that it is none of NetCDF.

    Args:
        path: of the file.
        others: endings that say what else is written.

    Raises:
        ValueError: its ending is another one.
    """
    if path.suffix and path.suffix.lower() not in NETCDF and path.suffix not in others:
        zarr = " or .zarr" if ".zarr" in others else ""
        raise ValueError(
            f"{shown(path)}: what is written is NetCDF, and {path.suffix} says otherwise; end its "
            f"name with .nc{zarr}"
        )


def require_text(path: Path | str, remedy: str) -> None:
    """Refuse a path whose bytes are not UTF-8: it stands in no text file, and weights cannot be
    read from it.

    Args:
        path: as it was given.
        remedy: what to do about it.

    Raises:
        ValueError: it is not.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        shown = str(path).encode(errors="surrogateescape").decode(errors="backslashreplace")
        raise ValueError(f"{shown} is not UTF-8 text; {remedy}") from None
