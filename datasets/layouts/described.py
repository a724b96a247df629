"""Any HDF5, NetCDF, MATLAB or Zarr file, read in place by a description of a few lines.

`description.yaml` lies beside the data, or its path is given as `open_store(path, layout=…)`:

    axes: [trajectory, time, x, y]           # of every array, in the order of the file
    fields: {velocity_x: u, velocity_y: v}   # name: array; `name: state[2]` is channel 2 of one
    time: t                                  # an array, or {start: 0, step: 0.1}
    boundary: periodic                       # or periodic, wall, open for each axis
    grid: {x: [0, 1], y: y}                  # the domain, or its points' coordinates

The n points of a domain [low, high] are (high - low)/n apart, the first at low.

Frames are read with their axes as (x, y, z), or in the order of the file if they are called
otherwise. An array with channels has an axis `channel`. Where arrays differ in their axes, `axes`
maps the names of arrays to theirs. An array may lack `trajectory` (the file holds one, or all share
it); `name: "*/data"` reads one group for each trajectory, and so may `time` and parameters. A
single frame of a steady problem needs neither a `time` axis nor `time`.

Further keys: `constants` (fields that do not vary in time, written as `fields`), `parameters`
(name: number, array, `@attribute` of the file, or `*@attribute` of each group), `units` (of a
field, a parameter, `time` or `length`), `splits` (name: fraction or number of trajectories; see
`arrangement.Splits`), `join` (`time`, `fields` or both: files that continue or complete each
other), `subtract` (`mean`, or field: number or `mean`; taken from the values before they become
single precision, and stated in the provenance) and `name`.

What is missing in every frame of a trajectory is its mask: not predicted, learned or scored.
`mask: array` names an array instead, not 0 where fields are predicted; `fill` is the value (0; or
name: value) that the fields have on input where they are not. What is missing in some frames only
is refused, or with `holes: skip` the windows that touch them are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..base.config import read
from ..fields.vocabulary import AXES
from ..files.containers import listing
from .arrangement import Arrangement, join_of, splits_of
from .arrays import TIME, TRAJECTORY, ArraySource, Variable
from .described_arrays import DescribedArrays
from .described_grid import space
from .described_offsets import subtracted
from .described_parameters import parameters
from .described_times import times
from .described_units import Units
from .description import FILE, MISSING, Description, find
from .dimensions import CHANNEL
from .layout import Layout
from .source import Header


def matches(path: Path) -> bool:
    """Whether a file is described."""
    return find(path) is not None


def open_file(path: Path, split: str, variant: str = "") -> Mapping[str, ArraySource]:
    """The sources of a file by split; `variant` is the path of its description, if not beside it.

    Raises:
        ValueError: the description is wrong, or does not fit the file.
    """
    where, description = _description(path, variant)
    if "fields" in join_of(description.join, where):
        description = _held(description, listing(path))
    return {split: source_of(path, where, description)}


def arrangement(path: Path, variant: str = "") -> Arrangement:
    """How the trajectories of all files belong together, as the description of one says.

    Raises:
        ValueError: the description is wrong.
    """
    where, description = _description(path, variant)
    splits = splits_of(description.splits, where)
    return Arrangement(where, splits, join_of(description.join, where))


def _description(path: Path, variant: str) -> tuple[Path, Description]:
    where = Path(variant) if variant else find(path)
    if where is None:
        raise ValueError(f"{path} has no {FILE} beside it")
    return where, read(Description, where)


def _held(given: Description, shapes: Mapping[str, object]) -> Description:
    """The description of those fields alone whose arrays a file holds, if it holds some."""
    fields = {name: text for name, text in given.fields.items() if text in shapes}
    fields = fields or given.fields
    constants = {name: text for name, text in given.constants.items() if text in shapes}
    known = {*fields, *constants, *given.parameters, TIME, "length"}
    units = {name: unit for name, unit in given.units.items() if name in known}
    fill = given.fill
    if isinstance(fill, dict):
        fill = {name: value for name, value in fill.items() if name in fields}
    return replace(given, fields=fields, constants=constants, units=units, fill=fill)


def source_of(path: Path, where: Path, given: Description) -> ArraySource:
    """A file as its description says.

    Args:
        path: the file.
        where: the description, for messages; the file itself where it is its own.
        given: what it says.

    Raises:
        ValueError: the description does not fit the file.
    """
    arrays = DescribedArrays(path, where, given)
    fields = {name: arrays.variable(text, False) for name, text in given.fields.items()}
    constants = {name: arrays.variable(text, True) for name, text in given.constants.items()}
    axes = tuple(
        axis for axis in next(iter(fields.values())).axes if axis not in (TRAJECTORY, TIME, CHANNEL)
    )
    if set(axes) <= set(AXES):  # however the file orders them, x is the first axis
        axes = tuple(sorted(axes))
    count = len(arrays.groups) or arrays.sizes.get(TRAJECTORY, 1)
    names, table = parameters(arrays, given, count)
    fill = given.fill if isinstance(given.fill, dict) else dict.fromkeys(fields, given.fill)
    mask = _mask(arrays, given)
    known = space(arrays, given, axes)
    counted = times(arrays, given, count, arrays.sizes.get(TIME, 1))
    own = where == path
    provenance = {"source": "CF"} if own else {"source": "described", "description": where.name}
    found = Units(arrays, given)
    fields = {name: found.field(name, given.fields[name], item) for name, item in fields.items()}
    constants = {
        name: found.field(name, given.constants[name], item) for name, item in constants.items()
    }
    grid, moments = found.grid(known), found.times(counted)
    source = ArraySource(
        file=arrays.file,
        header=Header(
            name=given.name,
            axes=axes,
            grid=grid,
            times=moments,
            rows=range(count),
            parameter_names=names,
            parameters=table,
            units=found.units,
            provenance=provenance | ({"time": dict(counted.origin)} if counted.origin else {}),
            mask_fill={name: value for name, value in fill.items() if value},
            holes=given.holes,
        ),
        channels=fields,
        constant_channels=constants,
        groups=arrays.groups,
        mask_variable=mask,
        flipped=known.flipped,
    )
    arrays.file.close()
    return subtracted(arrays, given, source)


def _mask(arrays: DescribedArrays, given: Description) -> Variable | None:
    """Where the mask that a description names lies; None: what is missing is the mask."""
    if given.mask == MISSING:
        return None
    mask = arrays.variable(given.mask, True)
    if TIME in mask.axes:
        raise arrays.wrong(
            f"mask: {given.mask!r} varies in time; store what is missing in a frame as NaN, and "
            "say `holes: skip`"
        )
    return mask


LAYOUT = Layout("described", matches, open_file, None, arrangement=arrangement)
