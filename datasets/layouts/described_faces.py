"""How the arrays of a description lie on the faces of cells, as it and the file say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..files.conventions import plain
from .description import Description
from .dimensions import CHANNEL
from .staggering import SHIFT, Ends, Faces, centres, place

if TYPE_CHECKING:
    from .described_arrays import DescribedArrays


# Faces less cells, whether the axis is periodic, whether faces lie before cells.
_ENDS: dict[tuple[int, bool, bool], Ends] = {
    **{(1, periodic, False): "both" for periodic in (False, True)},
    (0, True, True): "wrap before",
    (0, True, False): "wrap after",
    (0, False, True): "wall before",
    (0, False, False): "wall after",
    (-1, False, False): "walls",
}


class FaceLine(NamedTuple):
    """The coordinates of the faces along an axis: an array, and how they lie."""

    name: str
    ends: Ends


def staggered(arrays: DescribedArrays, given: Description) -> dict[str, tuple[str, ...]]:
    """Field or constant field -> the axes along which it lies on faces.

    As the description says, or as the file's names of dimensions do: where some arrays have the
    dimension of the centres and others that of the faces (see `staggering.place`).
    """
    if given.staggered:
        asked = given.staggered.items()
        return {name: (axes,) if isinstance(axes, str) else tuple(axes) for name, axes in asked}
    if isinstance(given.axes, dict):
        return {}
    names = {}
    for name, text in {**given.fields, **given.constants}.items():
        array, _ = arrays.split(text)
        _, shape = arrays.locate(array)
        dims = arrays.file.dimensions(arrays.key(array))
        if len(dims) == len(shape) and all(dims):
            names[name] = dict(zip(dims, shape, strict=True)), arrays.key(array)
    lengths = {dim: n for own, _ in names.values() for dim, n in own.items()}
    said = {dim: _attributes(arrays, key, dim) for own, key in names.values() for dim in own}
    middle = centres(lengths, said)
    found = {}
    for name, (own, _) in names.items():
        axes = [*given.axes]
        if len(axes) - len(own) and CHANNEL not in axes:
            axes = axes[len(axes) - len(own) :]
        apart = {dim: at for at, dim in enumerate(own) if dim in middle}
        faces = [axes[at] for dim, at in apart.items() if place(dim, said[dim])[1]]
        if faces and len(axes) == len(own):
            found[name] = tuple(faces)
    return found


def _attributes(arrays: DescribedArrays, key: str, dim: str) -> Mapping[str, object]:
    coordinate = arrays.coordinate(key, dim)
    return arrays.file.attributes(coordinate) if coordinate else {}


def faces_of(arrays: DescribedArrays, name: str, at: int, axis: str, dim: str) -> Faces:
    """How an array lies on faces along an axis.

    Args:
        arrays: of the file; learns the number of cells and the coordinates of the faces.
        name: of the array.
        at: number of the axis in the array.
        axis: its name.
        dim: the file's name of it; "" if it has none.

    Raises:
        ValueError: the faces are neither all, nor those of a periodic or walled axis.
    """
    count = arrays.locate(name)[1][at]
    kind = arrays.boundary(axis)
    cells = arrays.sizes.get(axis, count if kind == "periodic" else count - 1)
    surplus = count - cells
    line = arrays.coordinate_of(name, dim) if dim else ""
    fits = surplus == 1 or (surplus == 0 and kind != "open") or (surplus == -1 and kind == "wall")
    if not fits:
        raise arrays.wrong(
            f"staggered: {name!r} has {count} faces along {axis!r} for {cells} cells; there are "
            f"{cells + 1}, or {cells} where `boundary` says that the axis is periodic, or that it "
            f"ends at walls whose faces are left out{arrays.drafted}"
        )
    before = surplus == 0 and _before(arrays, axis, line, dim)
    ends = _ENDS[surplus, kind == "periodic", before]
    if line:
        arrays.faces.setdefault(axis, FaceLine(line, ends))
    return Faces(at, ends)


def _before(arrays: DescribedArrays, axis: str, line: str, dim: str) -> bool:
    """Whether face i lies before cell i: by what the file says, else so it is taken."""
    said = arrays.file.attributes(arrays.key(line)) if line else {}
    if SHIFT in said:
        return float(plain(said[SHIFT])) < 0
    points = arrays.points_of(axis)
    if line and points is not None and len(points) > 1:
        values = np.asarray(arrays.values(line, axis), np.float64)
        first = values.reshape(-1, values.shape[-1])[0, 0]
        return bool((first - points[0]) * (points[1] - points[0]) < 0)
    return not dim.lower().endswith("_right")


def centre_points(faces: np.ndarray, ends: Ends) -> np.ndarray:
    """Coordinates of the centres from those of the faces along the last axis."""
    if ends == "both":
        return (faces[..., 1:] + faces[..., :-1]) / 2
    step = np.diff(faces, axis=-1)
    if ends == "walls":
        low, high = faces[..., :1] - step[..., :1] / 2, faces[..., -1:] + step[..., -1:] / 2
        return np.concatenate([low, (faces[..., 1:] + faces[..., :-1]) / 2, high], -1)
    if ends.endswith("before"):
        return faces + np.concatenate([step, step[..., -1:]], -1) / 2
    return faces - np.concatenate([step[..., :1], step], -1) / 2


def unstaggered_first(names: Sequence[str], on_faces: Mapping[str, object]) -> list[str]:
    """Names with those at centres first: these say how many cells there are."""
    return sorted(names, key=lambda name: name in on_faces)
