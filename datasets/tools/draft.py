"""A first `description.yaml` for files of no known layout: what they say, and what is guessed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..base.config import read
from ..fields.grid import spacing
from ..fields.vocabulary import AXES
from ..files.containers import kind, open_container
from ..files.folders import find_files
from ..files.hdf5 import metadata
from ..layouts.arrays import NUMERIC, TIME, TRAJECTORY
from ..layouts.described import axes_of
from ..layouts.described_arrays import DescribedArrays
from ..layouts.description import CHANNEL, FILE, Description
from ..layouts.unstructured import REMEDY, lists_of_cells
from ..stores.opening import open_store
from .folder_draft import follow, other_fields
from .named_draft import named_lines

TIMES = ("t", "time", "times", "t-coordinate", "t_coordinate", "t_array", "tspan", "valid_time")
SPACE = {
    **{name: "x" for name in ("x", "x-coordinate", "x_coordinate", "xc")},
    **{name: "y" for name in ("y", "y-coordinate", "y_coordinate", "yc")},
    **{name: "z" for name in ("z", "z-coordinate", "z_coordinate", "zc")},
}
NAMED = ("lat", "latitude", "lon", "longitude", "lev", "level", "depth", "height")
HEAD = (
    "# Drafted from FILE. Look at every line: a guess says so.",
    "# What the keys mean: pelagos help data",
)
END = (
    "# units: {time: s, length: m}  # converts what the file says, or says what it does not",
    "# splits: {train: 0.8, valid: 0.1, test: 0.1}  # in order; by: time for one run",
)
CHANNELS = 4  # points of a last axis, at most, that are taken for components
Shape = tuple[int, ...]


@dataclass
class _Guess:
    """What is said of a file.

    Attributes:
        shape: of the fields.
        fields: names in the description.
        axes: name of each axis.
        reasons: why, for each axis.
        coordinates: axis -> array.
    """

    shape: Shape
    fields: dict[str, str]
    axes: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    coordinates: dict[str, str] = field(default_factory=dict)


def draft(path: str | Path) -> str:
    """The text of a description of a file, or of the first file of a folder.

    Every line that is a guess says so, and so does what the file cannot tell.

    Raises:
        ValueError: nothing can be read there, or no array has numbers on a grid.
    """
    root = Path(path).absolute()
    files = [each for _, each in find_files(root)]
    file, others = files[0], other_fields(files)
    lines = named_lines(file, others)
    if lines is None:
        arrays = _numeric(file)
        lists = lists_of_cells(arrays)
        if lists:
            raise ValueError(f"{file}: {lists} list an unstructured mesh, not read: {REMEDY}")
        shapes, members = _together(arrays)
        guess = _guess(file, shapes, grouped=members > 0)
        lines = _lines(file, shapes, guess, members)
    text = "\n".join([*HEAD, *lines, *END]).replace("FILE", file.name)
    text += "".join(f"\n{line}" for line in _regrid(file, text))
    joins = ["fields"] if others else []
    with _written(text + _join([*joins, "time"])) as where:
        if len(files) > len(others) + 1 and follow(root, where):
            joins.append("time")
    text += _join(joins)
    return text + _tried(root if joins else file, text)


def _join(joins: Sequence[str]) -> str:
    """The line that makes several files one run."""
    words = {
        "fields": "a file for each field",
        "time": "files that continue each other",
    }
    told = ", ".join(words[each] for each in joins)
    return f"\njoin: [{', '.join(joins)}]  # {told}" if joins else ""


def _regrid(file: Path, text: str) -> list[str]:
    """The line that interpolates to a uniform grid, where the axes of a description are not one."""
    with _written(text) as where:
        given = read(Description, where)
        arrays = DescribedArrays(file, where, given)
        try:
            known = axes_of(arrays, given)
        except ValueError:  # told of by `_tried`
            return []
        finally:
            arrays.file.close()
    uneven = [
        each.axis
        for each in known
        if each.points is not None
        and (each.points.ndim > 1 or spacing(each.points) is None)
        and (each.points.ndim > 1 or (np.diff(each.points) > 0).all())
        and len(each.points) > 1
    ]
    if not uneven:
        return []
    counts = "×".join(str(arrays.sizes[each.axis]) for each in known)
    told = f"{', '.join(uneven)} {'is' if len(uneven) == 1 else 'are'} not uniform"
    order = ", ".join(each.axis for each in known)
    return [f"regrid: {{to: {counts}, method: linear}}  # {told}; points of {order}", ""]


def _numeric(file: Path) -> dict[str, Shape]:
    """The arrays of numbers."""
    container = open_container(file)
    shapes = container.shapes()
    found = {k: s for k, s in shapes.items() if container.array(k).dtype.kind in NUMERIC}
    container.close()
    return found


def _together(shapes: Mapping[str, Shape]) -> tuple[dict[str, Shape], int]:
    """Arrays, those of one name and shape in several groups as `*/name`; how many groups."""
    found: dict[str, Shape] = {}
    most = 0
    for name, shape in shapes.items():
        group, _, inner = name.rpartition("/")
        alike = [k for k, s in shapes.items() if k.rpartition("/")[2] == inner and s == shape]
        groups = {k.rpartition("/")[0] for k in alike}
        depth = group.count("/")
        if group and len(groups) > 1 and all(g and g.count("/") == depth for g in groups):
            found["/".join(["*"] * (depth + 1) + [inner])] = shape
            most = max(most, len(groups))
        else:
            found[name] = shape
    return found, most


def _guess(file: Path, shapes: Mapping[str, Shape], grouped: bool) -> _Guess:
    grids = {name: shape for name, shape in shapes.items() if not _is_line(shape) and shape}
    grids = grids or {name: shape for name, shape in shapes.items() if shape}
    if not grids:
        raise ValueError(f"{file} holds no array of numbers on a grid; nothing can be described")
    main = max(grids.values(), key=lambda shape: (len(shape), _size(shape)))
    names = [name for name, shape in grids.items() if shape == main]
    guess = _Guess(main, {})
    lines = {name: _size(shape) for name, shape in shapes.items() if _is_line(shape)}
    inner = [s for s in shapes.values() if 1 < len(s) < len(main) and main[-len(s) :] == s]
    one = grouped or any(len(main) - len(s) == 1 for s in inner)  # a constant field beside a run
    _name_axes(guess, lines, [TIME] if one else [TRAJECTORY, TIME])
    for name in names:
        plain = _plain(name)
        if CHANNEL in guess.axes:
            count = main[guess.axes.index(CHANNEL)]
            guess.fields.update({f"{plain}_{c}": f"{name}[{c}]" for c in range(count)})
        else:
            guess.fields[plain] = name
    return guess


def _is_line(shape: Shape) -> bool:
    """Whether an array is one of points along an axis: MATLAB has them as rows or columns."""
    return len(shape) == 1 or (len(shape) == 2 and 1 in shape)


def _size(shape: Shape) -> int:
    size = 1
    for n in shape:
        size *= n
    return size


def _plain(name: str) -> str:
    """A field's name: the last part of an array's."""
    return name.rpartition("/")[2]


def _name_axes(guess: _Guess, lines: Mapping[str, int], leading: Sequence[str]) -> None:
    """Names for the axes: of coordinates of their length, then by their place."""
    rank = len(guess.shape)
    axes: list[str] = [""] * rank
    reasons = [""] * rank
    for array, n in lines.items():
        plain = _plain(array).lower()
        axis = TIME if plain in TIMES else SPACE.get(plain, plain if plain in NAMED else "")
        free = [i for i in range(rank) if not axes[i] and guess.shape[i] == n]
        if axis and axis not in axes and free:
            axes[free[0]] = axis
            alike = "; others have as many" if len(free) > 1 else ""
            reasons[free[0]] = f"{array} has {n} points{alike}"
            guess.coordinates[axis] = array
    _fill(axes, reasons, guess.shape, [axis for axis in leading if axis not in axes])
    guess.axes, guess.reasons = axes, reasons


def _fill(axes: list[str], reasons: list[str], shape: Shape, leading: list[str]) -> None:
    """Name the axes that no coordinate names, by their place; `leading` come before space."""
    rank = len(axes)
    if rank > 3 and not axes[-1] and shape[-1] <= CHANNELS:
        axes[-1], reasons[-1] = CHANNEL, f"a guess: only {shape[-1]} points"
    known = [axis for axis in axes if axis and axis not in (TRAJECTORY, TIME, CHANNEL)]
    empty = [i for i in range(rank) if not axes[i]]
    square = len(empty) == 3 and shape[empty[-1]] == shape[empty[-2]]
    if TRAJECTORY in leading and TIME in leading and not known and (len(empty) < 3 or square):
        leading = [TIME]
    space = [axis for axis in AXES if axis not in axes]
    for i in empty:
        left = len([j for j in empty if j >= i])
        lead = leading and (known or left > 1)
        axes[i] = leading.pop(0) if lead else space.pop(0) if space else f"axis_{i}"
        reasons[i] = "a guess, from its place"


def _lines(file: Path, shapes: Mapping[str, Shape], guess: _Guess, groups: int) -> list[str]:
    space = [axis for axis in guess.axes if axis not in (TRAJECTORY, TIME, CHANNEL)]
    lines = [f"axes: [{', '.join(guess.axes)}]"]
    for axis, n, why in zip(guess.axes, guess.shape, guess.reasons, strict=True):
        lines.append(f"#   {axis}: {n} points ({why})")
    if groups:
        lines.append(f"#   a trajectory for each of {groups} groups")
    lines.append("fields:  # rename them as you like: the name stands left")
    lines += [f'  {name}: "{array}"  # {guess.shape}' for name, array in guess.fields.items()]
    if TIME in guess.axes:
        known = guess.coordinates.get(TIME)
        unknown = "{start: 0, step: 1}  # not in the file"
        lines.append("time: " + (f'"{known}"' if known else unknown))
    lines.append("boundary: open  # not in the file: periodic, wall or open; or a list of them")
    lines.append("grid:")
    for axis in space:
        known = guess.coordinates.get(axis)
        end = "[0, 1]  # not in the file: the low and high end of the domain"
        lines.append(f"  {axis}: " + (f'"{known}"' if known else end))
    lines += _constants(shapes, guess, space)
    lines += _parameters(file, shapes)
    return lines


def _constants(shapes: Mapping[str, Shape], guess: _Guess, space: Sequence[str]) -> list[str]:
    """Arrays that have the space axes alone."""
    shape = tuple(guess.shape[guess.axes.index(axis)] for axis in space)
    used = {*guess.fields.values(), *guess.coordinates.values()}
    found = [k for k, s in shapes.items() if s == shape and k not in used and len(s) > 1]
    found = [k for k in found if shape != guess.shape]
    lines = [f'  {_plain(name)}: "{name}"' for name in found]
    return ["constants:  # a guess: arrays with the space axes alone", *lines] if lines else []


def _parameters(file: Path, shapes: Mapping[str, Shape]) -> list[str]:
    """Single numbers of the file, and number attributes of HDF5."""
    lines = [f'  {_plain(k)}: "{k}"' for k, s in shapes.items() if _size(s) == 1]
    if kind(file) == "hdf5":
        with metadata(file) as root:
            for name in root.attrs:
                value = root.attrs[name]
                if not isinstance(value, (str, bytes)) and _is_number(value):
                    lines.append(f'  {name}: "@{name}"  # {value}')
    return ["parameters:", *lines] if lines else []


def _is_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def _tried(file: Path, text: str) -> str:
    """What opening the file by a description says, as a comment."""
    with _written(text) as where:
        try:
            store = open_store(file, layout=str(where))
        except ValueError as error:
            reason = str(error).replace(str(where), FILE)
            return f"\n# This does not open yet: {reason}\n"
    count = f"{len(store)} trajector{'y' if len(store) == 1 else 'ies'}"
    return f"\n# It opens so: {count} of {store.n_frames(0)} frames, {store.grid.shape} points.\n"


@contextmanager
def _written(text: str) -> Iterator[Path]:
    """The path of a description that is there for a while."""
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder) / FILE
        where.write_text(text, encoding="utf-8")
        yield where
