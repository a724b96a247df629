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
single frame of a steady problem needs neither a `time` axis nor `time`. Trajectories differ in
length where groups do, or where frames at their end are `padding` (`nan`, a number, or the array
of their lengths); `time: {start, step}` may be arrays or attributes of each.

`regrid: {to: 64×64, method: linear}` interpolates to a uniform grid (see `described_regrid`) where
coordinates are not, also those of two axes on a mesh, `grid: {x: X, y: Y}`. `staggered: {u: x}`
brings a component from the faces of cells to their centres (see `staggering`); where the file's
names of dimensions say so it is done without.

Further keys: `constants` (fields that do not vary in time, written as `fields`), `prescribed`
(fields that are known at all times and not predicted, such as a forcing: names of some of `fields`,
or more of them, written as `fields`; they may lack the space axes), `parameters`
(name: number, array, `@attribute` of the file, or `*@attribute` of each group), `units` (of a
field, a parameter, `time` or `length`), `splits` (name: fraction or number of trajectories; see
`arrangement.Splits`), `join` (`time`, `fields` or both: files that continue or complete each
other), `subtract` (`mean`, or field: number or `mean`; taken from the values before they become
single precision, and stated in the provenance) and `name`.

What is missing in every frame of a trajectory is its mask: not predicted, learned or scored.
`mask: array` names an array instead, not 0 where fields are predicted (`mask: not array`: 0 there,
as of land); `fill` is the value (0; or name: value) that the fields have on input where they are
not. What is missing in some frames only is refused; with `holes: skip` the windows that touch it
are left out, with `holes: mask` such points are masked in all frames of their trajectory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from ..base.config import read
from ..files.containers import listing
from .arrangement import Arrangement, join_of, splits_of
from .arrays import TIME, TRAJECTORY, ArraySource, Variable
from .described_arrays import DescribedArrays, read_order
from .described_faces import staggered
from .described_grid import Coordinates, Space, coordinates, differ, space
from .described_lengths import alike, trimmed
from .described_offsets import subtracted
from .described_parameters import parameters
from .described_regrid import regridded
from .described_times import times
from .described_units import Units
from .description import FILE, MISSING, REST, Description, find
from .layout import Layout
from .regridded import Regridded
from .source import Header, Source


def matches(path: Path) -> bool:
    """Whether a file is described."""
    return find(path) is not None


def open_file(path: Path, split: str, variant: str = "") -> Mapping[str, Sequence[Source]]:
    """The sources of a file by split; `variant` is the path of its description, if not beside it.

    Raises:
        ValueError: the description is wrong, or does not fit the file.
    """
    where, description = _description(path, variant)
    if "fields" in join_of(description.join, where):
        description = _held(description, listing(path))
    return {split: described_sources(path, where, description)}


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
    fill, offsets = given.fill, given.subtract
    if isinstance(fill, dict):
        fill = {name: value for name, value in fill.items() if name in fields}
    if isinstance(offsets, dict):
        offsets = {name: value for name, value in offsets.items() if name in fields}
    return replace(
        given,
        fields=fields,
        constants=constants,
        prescribed=[name for name in given.prescribed if name in fields],
        units=units,
        fill=fill,
        subtract=offsets,
        staggered={name: axes for name, axes in given.staggered.items() if name in known},
    )


def described_sources(path: Path, where: Path, given: Description) -> list[Source]:
    """A file as its description says: a source for each run of trajectories of one length.

    Args:
        path: the file.
        where: the description, for messages; the file itself where it is its own.
        given: what it says.

    Raises:
        ValueError: the description does not fit the file.
    """
    arrays = DescribedArrays(path, where, given)
    found: list[Source] = []
    first: tuple[DescribedArrays, Sequence[Coordinates], Space] | None = None
    for groups in alike(arrays, given):
        part = arrays.of(groups) if groups else arrays
        fields, constants = _variables(part, given)
        known = coordinates(part, given, read_order(part.order))
        if first is None:
            placed = regridded if given.regrid else space
            first = part, known, placed(part, given, known)
        _check_alike(first, part, known)
        source, moments = _source(part, given, fields, constants, first[2])
        found += [_placed(each, first[2]) for each in trimmed(part, given, source, moments)]
    return found


def axes_of(arrays: DescribedArrays, given: Description) -> list[Coordinates]:
    """The coordinates of the space axes of a file, as they are.

    Raises:
        ValueError: the description does not fit the file.
    """
    groups = alike(arrays, given)[0]
    part = arrays.of(groups) if groups else arrays
    _variables(part, given)
    arrays.sizes = part.sizes
    return coordinates(part, given, read_order(part.order))


def _variables(
    arrays: DescribedArrays, given: Description
) -> tuple[dict[str, Variable], dict[str, Variable]]:
    """Where fields and constant fields lie; those at centres say how many cells there are."""
    faces = staggered(arrays, given)
    texts = {**given.fields, **given.constants}
    found = {
        name: arrays.variable(texts[name], name in given.constants, faces.get(name, ()))
        for name in sorted(texts, key=lambda name: (name in given.prescribed, name in faces))
    }
    fields = {name: found[name] for name in given.fields}
    return fields, {name: found[name] for name in given.constants}


def _check_alike(
    first: tuple[DescribedArrays, Sequence[Coordinates], Space],
    part: DescribedArrays,
    known: Sequence[Coordinates],
) -> None:
    """Refuse trajectories of another domain than the first ones have."""
    arrays, before, placed = first
    counts = tuple(part.sizes[each.axis] for each in known)
    told = f"{placed.stored} and {counts} points" if counts != placed.stored else ""
    told = told or differ(before, known)
    if told:
        one, other = arrays.groups[0], part.groups[0]
        raise part.wrong(
            f"trajectories have domains of their own, {told} ({one} and {other}); a dataset has "
            f"one: keep those of each domain in a dataset of its own, such as "
            f"fields: {{u: '{other}/u'}}, and train on all as a mixture"
        )


def _source(
    arrays: DescribedArrays,
    given: Description,
    fields: Mapping[str, Variable],
    constants: Mapping[str, Variable],
    placed: Space,
) -> tuple[ArraySource, Float64[np.ndarray, "*n T"]]:
    """The trajectories of a file as they are stored, and the times of their frames."""
    axes = read_order(arrays.order)
    count = len(arrays.groups) or arrays.sizes.get(TRAJECTORY, 1)
    names, table = parameters(arrays, given, count)
    fill = given.fill if isinstance(given.fill, dict) else dict.fromkeys(fields, given.fill)
    mask = _mask(arrays, given)
    counted = times(arrays, given, count, arrays.sizes.get(TIME, 1))
    own = arrays.where == arrays.path
    provenance: dict[str, Any] = {"source": "CF"}
    if not own:
        provenance = {"source": "described", "description": arrays.where.name}
    if counted.origin:
        provenance["time"] = dict(counted.origin)
    found = Units(arrays, given)
    channels = {name: found.field(name, given.fields[name], item) for name, item in fields.items()}
    constant_channels = {
        name: found.field(name, given.constants[name], item) for name, item in constants.items()
    }
    grid, moments = found.grid(placed), found.times(counted)
    if placed.regridding:  # as it is stored, until it is interpolated
        grid = replace(grid, shape=placed.stored)
    source = ArraySource(
        file=arrays.file,
        header=Header(
            name=given.name,
            axes=axes,
            grid=grid,
            times=moments if given.padding == "" else np.nan_to_num(moments),
            rows=range(count),
            parameter_names=names,
            parameters=found.parameters(names, table),
            units=found.units,
            provenance=provenance,
            prescribed=tuple(given.prescribed),
            mask_fill={name: value for name, value in fill.items() if value},
            holes=given.holes,
        ),
        channels=channels,
        constant_channels=constant_channels,
        groups=arrays.groups,
        mask_variable=mask,
        mask_of_rest=given.mask.startswith(REST),
        flipped=placed.flipped,
    )
    arrays.file.close()
    return subtracted(arrays, given, source), moments


def _placed(source: ArraySource, placed: Space) -> Source:
    """The source on the grid that is asked for."""
    if placed.regridding is None:
        return source
    grid = replace(source.header.grid, shape=placed.grid.shape)
    return Regridded(source, placed.regridding, grid, placed.said)


def _mask(arrays: DescribedArrays, given: Description) -> Variable | None:
    """Where the mask that a description names lies; None: what is missing is the mask."""
    if given.mask == MISSING:
        return None
    mask = arrays.variable(given.mask.removeprefix(REST), True)
    if TIME in mask.axes:
        raise arrays.wrong(
            f"mask: {given.mask!r} varies in time; store what is missing in a frame as NaN, and "
            "say `holes: skip`"
        )
    return mask


LAYOUT = Layout("described", matches, open_file, None, arrangement=arrangement)
