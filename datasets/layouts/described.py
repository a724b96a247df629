"""Any HDF5, NetCDF, MATLAB or Zarr file, read in place by a description of a few lines.

`description.yaml` lies beside the data, or its path is given as `open_store(path, layout=…)`:

    axes: [trajectory, time, x, y]           # of every array, in the order of the file
    fields: {velocity_x: u, velocity_y: v}   # name: array; `name: state[2]` is channel 2 of one
    time: t                                  # an array, or {start: 0, step: 0.1}
    boundary: periodic                       # or periodic, wall, open for each axis
    grid: {x: [0, 1], y: y}                  # ends of an axis, or its coordinates; [0, 1] if absent

Frames are read with their axes as (x, y, z), or in the order of the file if they are called
otherwise. An array with channels has an axis `channel`. Where arrays differ in their axes, `axes`
maps the names of arrays to theirs. An array may lack `trajectory` (the file holds one, or all share
it); `name: "*/data"` reads one group for each trajectory, and so may `time` and parameters. A
single frame of a steady problem needs neither a `time` axis nor `time`.

Further keys: `constants` (fields that do not vary in time, written as `fields`), `parameters`
(name: number, array, `@attribute` of the file, or `*@attribute` of each group), `units` (of a
field, a parameter, `time` or `length`), `splits` (name: fraction or number of trajectories, in the
order of the file) and `name`.

What is missing in every frame of a trajectory is its mask: not predicted, learned or scored.
`mask: array` names an array instead, not 0 where fields are predicted; `fill` is the value (0; or
name: value) that the fields have on input where they are not. What is missing in some frames only
is refused, or with `holes: skip` the windows that touch them are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..base.config import read
from ..fields.vocabulary import AXES, SPLITS
from .arrays import TIME, TRAJECTORY, ArraySource, divide
from .described_arrays import DescribedArrays
from .described_grid import grid
from .described_parameters import parameters
from .described_times import times
from .description import CHANNEL, FILE, MISSING, Description, find
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
    where = Path(variant) if variant else find(path)
    if where is None:
        raise ValueError(f"{path} has no {FILE} beside it")
    description = read(Description, where)
    source = _source(path, where, description)
    if split in SPLITS or not description.splits:
        return {split: source}
    return divide(source, description.splits, where)


def _source(path: Path, where: Path, given: Description) -> ArraySource:
    """A file as its description says."""
    arrays = DescribedArrays(path, where, given)
    fields = {name: arrays.variable(text, False) for name, text in given.fields.items()}
    constants = {name: arrays.variable(text, True) for name, text in given.constants.items()}
    space = tuple(
        axis for axis in next(iter(fields.values())).axes if axis not in (TRAJECTORY, TIME, CHANNEL)
    )
    if set(space) <= set(AXES):  # however the file orders them, x is the first axis
        space = tuple(sorted(space))
    count = len(arrays.groups) or arrays.sizes.get(TRAJECTORY, 1)
    names, table = parameters(arrays, given, count)
    fill = given.fill if isinstance(given.fill, dict) else dict.fromkeys(fields, given.fill)
    mask = None if given.mask == MISSING else arrays.variable(given.mask, True)
    if mask is not None and TIME in mask.axes:
        raise arrays.wrong(
            f"mask: {given.mask!r} varies in time; store what is missing in a frame as NaN, and "
            "say `holes: skip`"
        )
    source = ArraySource(
        file=arrays.file,
        header=Header(
            name=given.name,
            axes=space,
            grid=grid(arrays, given, space),
            times=times(arrays, given, count, arrays.sizes.get(TIME, 1)),
            rows=range(count),
            parameter_names=names,
            parameters=table,
            units=dict(given.units),
            provenance={"source": "described", "description": where.name},
            mask_fill={name: value for name, value in fill.items() if value},
            holes=given.holes,
        ),
        channels=fields,
        constant_channels=constants,
        groups=arrays.groups,
        mask_variable=mask,
    )
    arrays.file.close()
    return source


LAYOUT = Layout("described", matches, open_file, None)
