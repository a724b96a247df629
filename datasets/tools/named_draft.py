"""The lines of a description of a file that names its dimensions (NetCDF, Zarr, some HDF5)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..files.containers import open_container
from ..files.conventions import texts
from ..layouts.arrays import NUMERIC, TIME
from ..layouts.cf import SPACE, Variables, boundaries, read_variables, stated_boundaries
from ..layouts.description import CHANNEL
from ..layouts.unstructured import REMEDY, counts_places


def named_lines(file: Path, others: Sequence[Path] = ()) -> list[str] | None:
    """What the file says, line by line; None where its dimensions have no names.

    Args:
        file: any, of a store.
        others: files with the other fields of the store, where each has its own.

    Raises:
        ValueError: its fields lie on an unstructured mesh.
    """
    found = read_variables(file)
    groups: dict[frozenset[str], list[str]] = {}
    for name, dims in found.dims.items():
        axes = found.space(dims)
        if TIME in map(found.roles.get, dims) and 1 <= len(axes) <= 3:
            groups.setdefault(frozenset(axes), []).append(name)
    if not groups:
        return None
    space = max(groups, key=lambda axes: (len(axes), len(groups[axes])))
    fields = [name for name in groups[space] if not _loose(found, name)]
    loose = [name for name in groups[space] if name not in fields]
    places = next((axis for axis in space if counts_places(axis) or axis in found.scattered), "")
    if places:
        raise ValueError(
            f"{file}: {places!r} counts the places of an unstructured mesh, which is not read: "
            f"{REMEDY}"
        )
    constants = [
        name
        for name, dims in found.dims.items()
        if name not in fields
        and frozenset(found.space(dims)) == space
        and TIME not in map(found.roles.get, dims)
    ]
    return [
        *_axes(found, [*fields, *constants]),
        *_fields(file, found, "fields", fields),
        *(line for other in others for line in _more(other)),
        *(_fields(file, found, "constants", constants) if constants else ()),
        *_not_centred(found, loose),
        *_staggered(found, [*fields, *constants]),
        *_time(file, found, fields[0]),
        *_boundary(found, found.space(found.dims[fields[0]])),
        *_grid(found, found.space(found.dims[fields[0]])),
        *_parameters(found, [*fields, *constants]),
        *_left_out(found, [*groups[space], *constants]),
    ]


def _axes(found: Variables, used: Sequence[str]) -> list[str]:
    """One list where all arrays have their axes in its order, else one for each array."""
    words = {name: found.axes(name) for name in used}
    longest = max(words.values(), key=len)
    alike = all([axis for axis in longest if axis in own] == own for own in words.values())
    if alike:
        lines = [f"axes: [{', '.join(longest)}]"]
    else:
        lines = ["axes:", *(f"  {name}: [{', '.join(own)}]" for name, own in words.items())]
    dims = max((found.dims[name] for name in used), key=len)
    for dim in dims:
        middle = found.middle.get(dim, dim)
        role = found.roles[dim] or "not said, taken for space"
        said = "" if role in (middle, TIME) or middle == role else f" ({role})"
        lines.append(f"#   {middle}: {found.lengths.get(middle, found.lengths[dim])} points{said}")
    return lines


def _fields(file: Path, found: Variables, key: str, names: Sequence[str]) -> list[str]:
    lines = [f"{key}:  # rename them as you like: the name stands left"]
    container = open_container(file)
    for name in names:
        unit = texts(container.attributes(name)).get("units", "")
        told = f"({', '.join(found.dims[name])})" + (f", {unit}" if unit else "")
        for field, text in found.named([name]).items():
            lines.append(f'  {field}: "{text}"  # {told}')
    container.close()
    return lines


def _more(file: Path) -> list[str]:
    """The lines of the fields of another file."""
    found = read_variables(file)
    return _fields(file, found, "fields", list(found.fields()))[1:]


def _loose(found: Variables, name: str) -> bool:
    """Whether a variable lies on faces of which some are left out, as only a boundary can tell."""
    apart = [dim for dim in found.dims[name] if dim in found.faces and dim in found.middle]
    return any(found.lengths[dim] != found.lengths[found.middle[dim]] + 1 for dim in apart)


def _not_centred(found: Variables, names: Sequence[str]) -> list[str]:
    """Fields that become readable when the boundary is known."""
    if not names:
        return []
    told = ", ".join(f"{name}({', '.join(found.dims[name])})" for name in names)
    return [
        f"# on faces of cells, of which some are left out: {told};",
        "#   say `boundary: periodic` or `wall`, and name them in `fields` and `staggered`",
    ]


def _staggered(found: Variables, used: Sequence[str]) -> list[str]:
    faces = {
        field: axes
        for name in used
        if (axes := found.staggered(name))
        for field in found.named([name])
    }
    rows = [f"  {field}: [{', '.join(axes)}]" for field, axes in faces.items()]
    return ["staggered:  # on the faces of cells along these axes", *rows] if rows else []


def _time(file: Path, found: Variables, field: str) -> list[str]:
    dim = next(dim for dim in found.dims[field] if found.roles[dim] == TIME)
    container = open_container(file)
    known = dim in found.lines and container.array(dim).dtype.kind in NUMERIC
    unit = texts(container.attributes(dim)).get("units", "") if known else ""
    container.close()
    if not known:
        other = found.times()
        return [f'time: "{other}"' if other else "time: {start: 0, step: 1}  # not in the file"]
    return [f'time: "{dim}"' + (f"  # {unit}" if unit else "")]


def _boundary(found: Variables, order: tuple[str, ...]) -> list[str]:
    axes, kinds = found.read_order(order), boundaries(found, order)
    if stated_boundaries(found, order):
        return [f"boundary: [{', '.join(kinds)}]  # of {', '.join(axes)}"]
    around = [axis for axis, kind in zip(axes, kinds, strict=True) if kind == "periodic"]
    why = "not in the file: periodic, wall or open"
    if around:
        why = f"{', '.join(around)} goes around; the others are {why}"
    return [f"boundary: [{', '.join(kinds)}]  # of {', '.join(axes)}: {why}"]


def _grid(found: Variables, axes: Sequence[str]) -> list[str]:
    """The axes whose coordinates are not simply of their name."""
    rows = []
    for axis in axes:
        if axis in found.lines:
            continue
        others = (dim for dim, middle in found.middle.items() if middle == axis)
        if any(dim in found.lines for dim in others):
            continue
        mesh = found.mesh(axis)
        low = f"[0, {found.lengths[axis]}]  # not in the file: the low and high end of the domain"
        rows.append(f"  {axis}: " + (f'"{mesh}"' if mesh else low))
    return ["grid:", *rows] if rows else []


def _parameters(found: Variables, used: Sequence[str]) -> list[str]:
    rows = [f'  {name}: "{name}"' for name in found.parameters(used)]
    return ["parameters:", *rows] if rows else []


def _left_out(found: Variables, used: Sequence[str]) -> list[str]:
    """Variables of other axes, which no field of this description can be."""
    others = [
        name
        for name, dims in found.dims.items()
        if name not in used
        and name not in found.parameters(used)
        and any(found.roles[dim] in (*SPACE, "", TIME, CHANNEL) for dim in dims)
    ]
    if not others:
        return []
    shown = ", ".join(f"{name}({', '.join(found.dims[name])})" for name in others[:8])
    return [f"# left out, with other axes: {shown}"]
