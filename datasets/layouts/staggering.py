"""Staggered components: values on the faces between cells, brought to the centres of cells.

A centre gets the mean of the two faces beside it. Along a periodic axis the last cell's second face
is the first one; at walls, faces that the file leaves out are 0, as no flow goes through them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from ..files.containers import Container
from ..files.conventions import plain, texts

Ends = Literal["both", "wrap before", "wrap after", "wall before", "wall after", "walls"]
SHIFT = "c_grid_axis_shift"  # of the comodo conventions: 0 at centres, ±0.5 at faces
_FACE = ("q", "f", "face", "faces", "stag", "edge", "edges", "g", "psi", "outer", "inner")
_CENTRE = ("c", "t", "center", "centre", "rho", "h", "cell", "r", "mid")
_OF = {"u": "x", "v": "y", "w": "z"}  # a component is staggered along its own axis
_STEMS = {
    **dict.fromkeys(("x", "xi", "lon", "longitude", "west_east", "i", "ni", "nx"), "x"),
    **dict.fromkeys(("y", "eta", "lat", "latitude", "south_north", "j", "nj", "ny"), "y"),
    **dict.fromkeys(("z", "s", "lev", "level", "bottom_top", "k", "nz", "depth"), "z"),
}


def place(name: str, attributes: Mapping[str, Any]) -> tuple[str, bool]:
    """The axis that a dimension counts along ("" if unknown), and whether it counts faces.

    By `c_grid_axis_shift`, or by names: x_u, x_face, xq, xh, west_east_stag, xi_rho, xu_ocean, ….
    """
    lower = name.lower().removesuffix("_ocean")
    stem, _, end = lower.rpartition("_")
    if lower in _STEMS:
        stem, end = lower, ""
    elif stem not in _STEMS and len(lower) == 2 and lower[0] in "xyz":
        stem, end = lower
    axis = texts(attributes).get("axis", "").lower() or _STEMS.get(stem, "")
    if SHIFT in attributes:
        return axis, float(plain(attributes[SHIFT])) != 0
    if stem not in _STEMS or (end and end not in (*_FACE, *_CENTRE, *_OF, "left", "right")):
        return "", False
    return axis, end in (*_FACE, "left", "right") or _OF.get(end, "") == _STEMS[stem] != ""


def centres(
    lengths: Mapping[str, int], attributes: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """Dimension -> the dimension of the centres along the same axis, where it is another.

    Args:
        lengths: dimension -> points.
        attributes: those of its coordinates.
    """
    along: dict[str, list[tuple[str, bool]]] = {}
    for name in lengths:
        axis, faces = place(name, attributes.get(name, {}))
        along.setdefault(axis, []).append((name, faces))
    along.pop("", None)
    found = {}
    for members in along.values():
        middle = next((name for name, faces in members if not faces), None)
        if middle is None or not any(faces for _, faces in members):
            continue
        for name, faces in members:
            apart = abs(lengths[name] - lengths[middle])
            if name != middle and apart <= int(faces):
                found[name] = middle
    return found


class Faces(NamedTuple):
    """How an array lies on faces along one of its axes.

    Attributes:
        axis: number of the axis of the array.
        ends: "both": it has all faces, one more than cells; "wrap": one for each cell of a periodic
            axis, before or after it; "wall": likewise, the last (or first) face is a wall;
            "walls": neither wall is there.
    """

    axis: int
    ends: Ends

    @property
    def surplus(self) -> int:
        """Faces less cells."""
        return {"both": 1, "walls": -1}.get(self.ends, 0)

    def centred(self, values: np.ndarray, axis: int) -> np.ndarray:
        """Means of neighbouring faces along an axis of values that were read."""
        first, last = values.take([0], axis), values.take([-1], axis)
        wall = np.zeros_like(first)
        before, after = {
            "both": ([], []),
            "wrap before": ([], [first]),
            "wrap after": ([last], []),
            "wall before": ([], [wall]),
            "wall after": ([wall], []),
            "walls": ([wall], [wall]),
        }[self.ends]
        every = np.concatenate([*before, values, *after], axis)
        n = every.shape[axis]
        return (every.take(range(n - 1), axis) + every.take(range(1, n), axis)) / 2


class CentredArray:
    """An array of a file at the centres of cells; index it with integers and slices to read."""

    def __init__(self, array: Any, faces: Sequence[Faces]) -> None:
        self._array, self._faces = array, faces
        counts = [*array.shape]
        for each in faces:
            counts[each.axis] -= each.surplus
        self.shape = tuple(counts)
        single = array.dtype == np.float32
        self.dtype = np.dtype(np.float32 if single else np.float64)
        self.chunks: tuple[int, ...] | None = None

    def __getitem__(self, key: tuple[Any, ...]) -> np.ndarray:
        wide = [slice(None) if k in {f.axis for f in self._faces} else one
                for k, one in enumerate(key)]  # fmt: skip
        values = np.asarray(self._array[tuple(wide)]).astype(self.dtype, copy=False)
        kept = [k for k, one in enumerate(wide) if isinstance(one, slice)]
        for each in self._faces:
            values = each.centred(values, kept.index(each.axis))
        narrow = [key[k] if wide[k] is not key[k] else slice(None) for k in kept]
        return values[tuple(narrow)]


class Centred:
    """A container that offers, beside the arrays of a file, some of them at the centres of cells.

    Args:
        file: whose arrays they are.
    """

    def __init__(self, file: Container) -> None:
        self.path, self._file = file.path, file
        # Name of a view (within the groups of trajectories) -> array on faces, and how it lies.
        self._views: dict[str, tuple[str, tuple[Faces, ...]]] = {}

    def add(self, name: str, faces: Sequence[Faces]) -> str:
        """Offer an array at centres.

        Returns:
            The name under which it is offered.
        """
        view = f"{name} at centres of axes {', '.join(str(each.axis) for each in faces)}"
        self._views[view] = (name, tuple(faces))
        return view

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the arrays of the file."""
        return self._file.shapes()

    def array(self, name: str) -> Any:
        """An array of the file, or one of the views."""
        for view, (inner, faces) in self._views.items():
            if name == view or name.endswith(f"/{view}"):
                return CentredArray(self._file.array(name.removesuffix(view) + inner), faces)
        return self._file.array(name)

    def attributes(self, name: str = "") -> Mapping[str, Any]:
        """Attributes of an array or group, by default of the file."""
        return self._file.attributes(name)

    def stated(self, names: Sequence[str], key: str) -> list[Any]:
        """One attribute of several arrays; None of those without it."""
        return self._file.stated(names, key)

    def dimensions(self, name: str) -> tuple[str, ...]:
        """The file's names of an array's axes."""
        return self._file.dimensions(name)

    def require_unchanged(self) -> None:
        """Refuse a file that is another than the one that was opened."""
        self._file.require_unchanged()

    def close(self) -> None:
        """Give the file back; the next access opens it again."""
        self._file.close()
