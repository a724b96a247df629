"""The layouts on disk that can be read, and which of them a file has.

A layout is one file of this folder that offers `matches(path)` and `open_file(path, split,
variant)`, and one line in `LAYOUTS`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..base.config import nearest
from ..fields.vocabulary import SPLITS, UNSPLIT
from ..files.containers import kind, listing
from . import (
    described,
    pdearena,
    pdebench,
    poseidon,
)
from . import (
    dymixop as dymixop_files,
)
from . import (
    poseidon_tables as poseidon_published,
)
from . import (
    well_reader as well_files,
)

SUFFIXES = (".h5", ".hdf5", ".he5", ".hdf", ".nc", ".nc4", ".cdf", ".mat", ".zarr")
SHOWN = 6  # arrays of a file that has no known layout
# What other projects call the folders of splits.
MISNAMED = {"val": "valid", "validation": "valid", "dev": "valid"} | {
    "training": "train",
    "testing": "test",
}


@dataclass(frozen=True)
class Layout:
    """A layout on disk.

    Attributes:
        name: of the layout.
        matches: whether a file has it.
        open: the sources (see `source.Source`) of a file by split, given the split that its folder
            says (`UNSPLIT` if none) and the variant ("" if none was asked for).
        variants: those that can be asked for; None for any text.
    """

    name: str
    matches: Callable[[Path], bool]
    open: Callable[[Path, str, str], Mapping[str, Any]]
    variants: tuple[str, ...] | None = ()


# In this order: a description beside the data comes before what the data look like.
LAYOUTS = (
    Layout("described", described.matches, described.open_file, None),
    Layout("The Well", well_files.matches, well_files.open_file),
    Layout("PDEBench", pdebench.matches, pdebench.open_file, pdebench.VARIANTS),
    Layout("PDEArena", pdearena.matches, pdearena.open_file),
    Layout("DyMixOp", dymixop_files.matches, dymixop_files.open_file, dymixop_files.VARIANTS),
    Layout("Poseidon", poseidon.matches, poseidon.open_file, tuple(poseidon_published.PUBLISHED)),
)


def choose(given: str) -> tuple[Layout, str]:
    """The layout and variant that `NAME`, `NAME:VARIANT` or a description's path asks for.

    Raises:
        ValueError: there is no such layout, variant or file.
    """
    name, _, variant = given.partition(":")
    found = next((item for item in LAYOUTS if item.name.lower() == name.lower()), None)
    if found is None and given.endswith((".yaml", ".yml")):
        if not Path(given).is_file():
            raise ValueError(f"no such description: {given}")
        return LAYOUTS[0], str(Path(given).absolute())
    names = [item.name for item in LAYOUTS]
    if found is None:
        raise ValueError(
            f"no layout {given!r}{nearest(name, names)}; known: {', '.join(names)}, or the path of "
            f"a description.yaml"
        )
    if found.variants is not None and variant not in ("", *found.variants):
        known = f"it has: {', '.join(found.variants)}" if found.variants else "it has none"
        raise ValueError(
            f"{found.name} has no variant {variant!r}{nearest(variant, found.variants)}; {known}"
        )
    return found, variant


def named(name: str) -> Layout:
    """The layout of this name."""
    return next(layout for layout in LAYOUTS if layout.name == name)


def detect(path: Path) -> Layout | None:
    """The first layout that a file has."""
    return next((layout for layout in LAYOUTS if layout.matches(path)), None)


def explain(path: Path, expected: str) -> str:
    """Why `path` cannot be read, in one line."""
    readable = f"readable layouts: {', '.join(layout.name for layout in LAYOUTS)}"
    if expected and detect(path):
        return f"{path} is not in the layout of the files beside it ({expected}); move it away"
    if not kind(path):
        size = path.stat().st_size
        return f"{path} is not an HDF5 file ({size} bytes), nor NetCDF, MATLAB or Zarr; {readable}"
    try:
        shapes = listing(path)
    except ValueError as error:
        return str(error)
    shown = [f"{name} {shape}" for name, shape in itertools.islice(shapes.items(), SHOWN)]
    arrays = ", ".join([*shown, "…"] if len(shapes) > SHOWN else shown) or "no arrays"
    found = {"hdf5": "HDF5", "netcdf": "NetCDF", "matlab": "MATLAB", "zarr": "Zarr"}[kind(path)]
    return (
        f"{path} is {found} with {arrays}, which is no known layout; describe it in a "
        f"{described.FILE} beside it (docs/data.md); {readable}"
    )


def find_files(path: Path) -> list[tuple[str, Path]]:
    """Split and path of every data file under `path`.

    Raises:
        ValueError: there are none, or the dataset is incomplete.
    """
    if not path.exists():
        raise ValueError(f"no such file or folder: {path}")
    if not path.is_file() and not path.is_dir():  # a pipe would be waited for
        raise ValueError(f"{path} is neither a file nor a folder")
    if path.is_file() or kind(path):
        return [(path.parent.name if path.parent.name in SPLITS else UNSPLIT, path)]
    _check_complete(path)
    base = path / "data" if (path / "data").is_dir() else path
    folders = [base / name for name in SPLITS if (base / name).is_dir()] or [base]
    for name, split in MISNAMED.items():
        if folders != [base] and (base / name).is_dir() and base / split not in folders:
            raise ValueError(f"{base / name} would not be read; name it {split!r}, or a link to it")
    files = [
        (folder.name if folder.name in SPLITS else UNSPLIT, file)
        for folder in folders
        for file in _data_files(folder)
    ]
    if not files:
        inner = sorted(item.name for item in path.iterdir() if item.is_dir())
        if inner and base == path:
            raise ValueError(
                f"no data files in {path}, but the folders {', '.join(inner[:8])}; open one of them"
            )
        raise ValueError(
            f"no HDF5 files in {path}; expected {', '.join(f'*{s}' for s in SUFFIXES)} in it or in "
            f"data/train, data/valid, data/test below it"
        )
    return files


def dataset_name(path: Path) -> str:
    """The name of a dataset that does not say it: the file's, or its root folder's."""
    if path.is_file() or kind(path):
        return path.stem
    for part in (*SPLITS, "data"):
        path = path.parent if path.name == part else path
    return path.name


def _data_files(folder: Path) -> Iterator[Path]:
    """The data files of a folder by name, sorted; unfinished (hidden) ones are left out."""
    for path in sorted(folder.iterdir()):
        known = path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        if known and (path.is_file() or kind(path)):
            yield path


def _check_complete(path: Path) -> None:
    """Refuse a dataset whose simulation or conversion has not finished."""
    path = path.resolve()
    root = path.parent.parent if path.name in SPLITS else path
    root = path.parent if path.name == "data" else root
    for made in ("simulation", "conversion"):
        if (root / f"{made}.yaml").exists() and not (root / "stats.yaml").exists():
            raise ValueError(
                f"the dataset {root} is incomplete (it has no stats.yaml): its {made} was "
                f"interrupted; run the same {made} again to finish it"
            )
