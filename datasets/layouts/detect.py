"""The layouts on disk that can be read, and which of them a file has.

A layout is one file that offers a `Layout`, and one line in `LAYOUTS`; that of another package is
an entry point of the group `pelagos.layouts`.
"""

from __future__ import annotations

import itertools
from pathlib import Path

from ..base.config import nearest
from ..base.registry import Registry
from ..files.containers import kind, listing
from .description import FILE as DESCRIPTION
from .layout import Layout
from .unstructured import REMEDY, lists_of_cells

LAST = "CF"  # tried after the layouts of other packages: almost any file of xarray's has it
SHOWN = 6  # arrays of a file that has no known layout

# Detected in this order: a description beside the data comes before what the data look like.
LAYOUTS: Registry[Layout] = Registry(
    "pelagos.layouts",
    "layout",
    {
        "described": f"{__package__}.described:LAYOUT",
        "The Well": f"{__package__}.well_reader:LAYOUT",
        "PDEBench": f"{__package__}.pdebench:LAYOUT",
        "PDEArena": f"{__package__}.pdearena:LAYOUT",
        "DyMixOp": f"{__package__}.dymixop:LAYOUT",
        "Poseidon": f"{__package__}.poseidon:LAYOUT",
        LAST: f"{__package__}.cf:LAYOUT",
    },
)


def choose(given: str) -> tuple[Layout, str]:
    """The layout and variant that `NAME`, `NAME:VARIANT` or a description's path asks for.

    Raises:
        ValueError: there is no such layout, variant or file.
    """
    name, _, variant = given.partition(":")
    names = LAYOUTS.names()
    known = next((known for known in names if known.lower() == name.lower()), None)
    if known is None and given.endswith((".yaml", ".yml")):
        if not Path(given).is_file():
            raise ValueError(f"no such description: {given}")
        return named("described"), str(Path(given).absolute())
    if known is None:
        raise ValueError(
            f"no layout {given!r}{nearest(name, names)}; known: {', '.join(names)}, or the path of "
            f"a description.yaml"
        )
    found = named(known)
    if found.variants is not None and variant not in ("", *found.variants):
        known = f"it has: {', '.join(found.variants)}" if found.variants else "it has none"
        raise ValueError(
            f"{found.name} has no variant {variant!r}{nearest(variant, found.variants)}; {known}"
        )
    return found, variant


def named(name: str) -> Layout:
    """The layout of this name.

    Raises:
        ValueError: there is none, or it cannot be imported.
    """
    layout = LAYOUTS.get(name)
    if layout.name != name:
        raise ValueError(
            f"the layout {name!r} of {LAYOUTS.provider(name)} calls itself {layout.name!r}; give "
            f"it the name of its entry point"
        )
    return layout


def detect(path: Path) -> Layout | None:
    """The first layout that a file has, and that nothing in it contradicts."""
    names = sorted(LAYOUTS.names(), key=lambda name: name == LAST)
    fitting = (layout for layout in map(named, names) if layout.matches(path))
    return next((layout for layout in fitting if not layout.doubts(path)), None)


def _resemblance(path: Path) -> str:
    """Which layout a file looks like, and what speaks against it; "" for none."""
    for layout in map(named, LAYOUTS.names()):
        against = layout.matches(path) and layout.doubts(path)
        if against:
            asked = f"--layout {layout.name!r}"
            return (
                f" It looks like {layout.name}'s, but {against}; if it is, say so: {asked} "
                f"(layout: {layout.name} in a recipe)."
            )
    return ""


def explain(path: Path, expected: str) -> str:
    """Why `path` cannot be read, in one line."""
    readable = f"readable layouts: {', '.join(LAYOUTS.names())}"
    if expected and detect(path):
        return f"{path} is not in the layout of the files beside it ({expected}); move it away"
    if not kind(path):
        size = path.stat().st_size
        known = "nor NetCDF, MATLAB, Zarr or NumPy"
        return f"{path} is not an HDF5 file ({size} bytes), {known}; {readable}"
    try:
        shapes = listing(path)
    except ValueError as error:
        return str(error)
    lists = lists_of_cells(shapes)
    if lists:
        return f"{path}: {lists} list an unstructured mesh, which is not read: {REMEDY}"
    shown = [f"{name} {shape}" for name, shape in itertools.islice(shapes.items(), SHOWN)]
    arrays = ", ".join([*shown, "…"] if len(shapes) > SHOWN else shown) or "no arrays"
    found = {"hdf5": "HDF5", "netcdf": "NetCDF", "matlab": "MATLAB", "zarr": "Zarr"}
    resembles = _resemblance(path)
    resembles = resembles and f".{resembles}"
    return (
        f"{path} is {found.get(kind(path), 'NumPy')} with {arrays}, which is no known layout; "
        f"describe it in a {DESCRIPTION} beside it (draft one: pelagos data describe {path}; see "
        f"pelagos help data); {readable}{resembles}"
    )
