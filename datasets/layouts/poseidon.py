"""Poseidon's files, read in place: every published data set, by contents and by name.

One NetCDF-4 or HDF5 file per data set, on the unit square. Trajectories are split from the end of
the file: the last are `test`, those before them `valid`, the rest `train`; a file with too few for
that is not split. Values are those of the file. Times are frame numbers: divided by the data set's
time constant (`provenance["time_constant"]`) they are the published lead times.

| name | fields | constant fields |
|---|---|---|
| NS-Sines, -Gauss, -PwC, -SVS, -BB, -SL | density (1), velocity, pressure (0) | |
| NS-Tracer-PwC | the same and tracer (`layout="Poseidon:NS-Tracer-PwC"` reads NS-PwC.nc so) | |
| FNS-KF | density (1), velocity, pressure (0) | forcing |
| CE-RP, -CRP, -KH, -Gauss, -RPUI, -RM | density, velocity, pressure | |
| GCE-RT | density, velocity, pressure, potential | |
| Wave-Layer, Wave-Gauss | u | wave_speed |
| ACE | u | |
| SE-AF (steady) | density | obstacle |
| Poisson-Gauss (steady) | u | source |
| Helmholtz (steady) | u | coefficient, boundary_value |

The files of the incompressible flows have no density and no pressure; as published they are
filled with 1 and 0, and pressure counts in no error (`mask`). Inside the airfoil nothing is
predicted either. NS-SL, recognised by its two channels, stores its space axes as (y, x).

Contents do not tell some data sets apart (all CE with one array `data`; NS with three channels);
they are told by the file's name, and `layout="Poseidon:CE-KH"` says it where that was changed. Only
the published constants (`poseidon_published`) depend on it.

Source: Herde et al., arXiv 2405.19101, and its data sets (CC-BY-NC-4.0).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from ..fields.grid import Grid
from ..fields.vocabulary import SPLITS
from ..files import guard
from ..files.hdf5 import Hdf5File, metadata
from . import doubts as contents
from .arrays import TIME, TRAJECTORY, ArraySource, Variable, component, sizes, unit_grid
from .layout import Layout
from .poseidon_tables import FLOW, PUBLISHED, USUAL
from .source import Header

SPACE = ("x", "y")
SAMPLE = re.compile(r"Sample_(\d+)")


@dataclass(eq=False)
class PoseidonSource(ArraySource):
    """An `ArraySource` that says where fields are predicted.

    Attributes:
        unpredicted: fields that are never predicted.
        obstacle: whether the constant field `obstacle` is 1 where nothing is predicted.
    """

    unpredicted: tuple[str, ...] = ()
    obstacle: bool = False

    def mask(self, trajectory: int) -> Bool[np.ndarray, "C *S"] | None:
        """Where the fields of a trajectory are predicted; None for everywhere."""
        if not self.unpredicted and not self.obstacle:
            return None
        mask = np.ones((len(self.header.fields), *self.header.grid.shape), dtype=bool)
        mask[[name in self.unpredicted for name in self.header.fields]] = False
        if self.obstacle:
            mask &= self.constants(trajectory)[self.header.constant_fields.index("obstacle")] != 1
        return mask


def matches(path: Path) -> bool:
    """Whether a file has one of Poseidon's layouts, by its contents."""
    try:
        with metadata(path) as root:
            return _kind(root, path.stem) is not None
    except ValueError:
        return False


def open_file(path: Path, split: str, variant: str = "") -> Mapping[str, ArraySource]:
    """The sources of a file by split; `variant` is the data set, where the name does not say it.

    Raises:
        ValueError: the file is damaged, or a part of the layout is missing or does not fit.
    """
    with metadata(path) as root:
        kind = _kind(root, variant or path.stem)
        if kind is None:
            raise ValueError(f"{path} has none of Poseidon's layouts")
        name = variant or _named(path.stem, kind, root)
        published = PUBLISHED[name]
        if published.kind != kind:
            raise ValueError(
                f"{path} cannot be {name}: it has the layout of {USUAL[kind]} ({kind})"
            )
        source = OPENERS[kind](path, root, name)
    n = len(source)
    held = published.valid + published.test
    if split in SPLITS or n <= held:  # the folder says it, or there are too few
        return {split: source}
    return {
        "train": source.part(slice(n - held)),
        "valid": source.part(slice(n - held, n - published.test)),
        "test": source.part(slice(n - published.test, n)),
    }


def _named(stem: str, kind: str, root: guard.Group) -> str:
    """The data set that a file's name mentions, or the usual one of its family."""
    known = [name for name, published in PUBLISHED.items() if published.kind == kind]
    mentioned = [name for name in known if name.lower() in stem.lower()]
    if mentioned:
        return max(mentioned, key=len)
    if kind == "incompressible" and root["velocity"].shape[2] == 2:
        return "NS-SL"
    return USUAL[kind]


def _kind(root: guard.Group, stem: str) -> str | None:
    """The family of a file by the arrays at its root and the numbers of their axes."""
    names = set(itertools.islice(root, 64))
    if any(SAMPLE.fullmatch(name) for name in names):
        first = root[next(name for name in names if SAMPLE.fullmatch(name))]
        known = isinstance(first, guard.Group) and all(key in first for key in ("a", "bc", "u"))
        return "helmholtz" if known else None
    arrays = {
        name: root[name].shape
        for name in ("velocity", "solution", "data", "source", "c", "t", "particles")
        if name in names and isinstance(root[name], guard.Dataset)
    }
    velocity, solution = arrays.get("velocity", ()), arrays.get("solution", ())
    if len(velocity) == 5 and velocity[2] in (2, 3) and "particles" not in arrays:
        return "incompressible"
    if len(arrays.get("data", ())) == 5 and arrays["data"][2] in (4, 5):
        return "euler"
    if len(solution) == 5:
        return {2: "forced", 5: "euler solution", 6: "gravity"}.get(solution[2])
    if len(solution) == 4 and len(arrays.get("c", ())) == 3:
        return "wave"
    if len(solution) == 4:
        return "airfoil" if solution[1] == 2 and "ace" not in stem.lower() else "scalar"
    return "poisson" if len(solution) == 3 and len(arrays.get("source", ())) == 3 else None


# ---------------------------------------------------------------- families


def _incompressible(path: Path, root: guard.Group, name: str) -> ArraySource:
    order = SPACE[::-1] if name == "NS-SL" else SPACE
    axes = (TRAJECTORY, TIME, "channel", *order)
    shape = sizes(root["velocity"], axes, path, "velocity")
    channels = _filled("velocity", axes)
    if "Tracer" in name:
        if shape["channel"] < 3:
            raise ValueError(f"{path} has no tracer: 'velocity' has {shape['channel']} channels")
        channels["tracer"] = component("velocity", axes, 2)
    return _source(Hdf5File(path), name, shape, channels, unpredicted=("pressure",))


def _filled(array: str, axes: tuple[str, ...]) -> dict[str, Variable]:
    """Velocity, between a density of 1 and a pressure of 0."""
    return {
        "density": Variable("", value=1.0),
        "velocity_x": component(array, axes, 0),
        "velocity_y": component(array, axes, 1),
        "pressure": Variable("", value=0.0),
    }


def _forced(path: Path, root: guard.Group, name: str) -> ArraySource:
    axes = (TRAJECTORY, TIME, "channel", *SPACE)
    shape = sizes(root["solution"], axes, path, "solution")
    constant = {"forcing": Variable(FORCING, SPACE)}
    file = KolmogorovFile(path, (shape["x"], shape["y"]))
    channels = _filled("solution", axes)
    return _source(file, name, shape, channels, constant, unpredicted=("pressure",))


FORCING = "(forcing)"  # no array of the file


class KolmogorovFile(Hdf5File):
    """The file, and the forcing 0.1 sin 2π(x + y), which it does not hold."""

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        super().__init__(path)
        self.shape = shape

    def array(self, name: str) -> Any:
        """As published, the forcing has both ends of the axes among its points."""
        if name != FORCING:
            return super().array(name)
        x, y = (np.linspace(0, 1, n, dtype=np.float32) for n in self.shape)
        return 0.1 * np.sin(2 * np.pi * (x[:, None] + y))

    def __getstate__(self) -> dict:
        return {"path": self.path, "shape": self.shape}


def _euler_flow(path: Path, root: guard.Group, name: str) -> ArraySource:
    return _channels(path, root, name, "data", dict(enumerate(FLOW)))


def _euler_solution(path: Path, root: guard.Group, name: str) -> ArraySource:
    return _channels(path, root, name, "solution", dict(enumerate(FLOW)))


def _gravity(path: Path, root: guard.Group, name: str) -> ArraySource:
    return _channels(path, root, name, "solution", {**dict(enumerate(FLOW)), 5: "potential"})


def _channels(
    path: Path, root: guard.Group, name: str, array: str, fields: Mapping[int, str]
) -> ArraySource:
    axes = (TRAJECTORY, TIME, "channel", *SPACE)
    shape = sizes(root[array], axes, path, array)
    channels = {field: component(array, axes, i) for i, field in fields.items()}
    return _source(Hdf5File(path), name, shape, channels)


def _wave(path: Path, root: guard.Group, name: str) -> ArraySource:
    axes = (TRAJECTORY, TIME, *SPACE)
    shape = sizes(root["solution"], axes, path, "solution")
    constant = {"wave_speed": Variable("c", (TRAJECTORY, *SPACE))}
    return _source(Hdf5File(path), name, shape, {"u": Variable("solution", axes)}, constant)


def _scalar(path: Path, root: guard.Group, name: str) -> ArraySource:
    axes = (TRAJECTORY, TIME, *SPACE)
    shape = sizes(root["solution"], axes, path, "solution")
    return _source(Hdf5File(path), name, shape, {"u": Variable("solution", axes)})


def _airfoil(path: Path, root: guard.Group, name: str) -> ArraySource:
    axes = (TRAJECTORY, "channel", *SPACE)
    shape = sizes(root["solution"], axes, path, "solution")
    constant = {"obstacle": component("solution", axes, 0)}
    fields = {"density": component("solution", axes, 1)}
    return _source(Hdf5File(path), name, {**shape, TIME: 1}, fields, constant, obstacle=True)


def _poisson(path: Path, root: guard.Group, name: str) -> ArraySource:
    axes = (TRAJECTORY, *SPACE)
    shape = sizes(root["solution"], axes, path, "solution")
    constant = {"source": Variable("source", axes)}
    return _source(
        Hdf5File(path), name, {**shape, TIME: 1}, {"u": Variable("solution", axes)}, constant
    )


def _helmholtz(path: Path, root: guard.Group, name: str) -> ArraySource:
    numbered = sorted((int(found[1]), found[0]) for found in map(SAMPLE.fullmatch, root) if found)
    groups = tuple(group for _, group in numbered)
    shape = sizes(root[groups[0]]["u"], SPACE, path, f"{groups[0]}/u")
    bc = root[groups[0]]["bc"].shape
    constant = {
        "coefficient": Variable("a", SPACE),
        "boundary_value": Variable("bc", ("one",) * len(bc), (("one", 0),) * bool(bc)),
    }
    shape = {**shape, TIME: 1, TRAJECTORY: len(groups)}
    return _source(
        Hdf5File(path), name, shape, {"u": Variable("u", SPACE)}, constant, groups=groups
    )


OPENERS = {
    "incompressible": _incompressible,
    "forced": _forced,
    "euler": _euler_flow,
    "euler solution": _euler_solution,
    "gravity": _gravity,
    "wave": _wave,
    "scalar": _scalar,
    "airfoil": _airfoil,
    "poisson": _poisson,
    "helmholtz": _helmholtz,
}


def _source(
    file: Hdf5File,
    name: str,
    shape: Mapping[str, int],
    channels: dict[str, Variable],
    constant: dict[str, Variable] | None = None,
    groups: tuple[str, ...] = (),
    unpredicted: tuple[str, ...] = (),
    obstacle: bool = False,
) -> ArraySource:
    published = PUBLISHED[name]
    grid: Grid = unit_grid([shape[axis] for axis in SPACE], published.boundary)
    return PoseidonSource(
        file=file,
        header=Header(
            axes=SPACE,
            grid=grid,
            times=np.arange(shape[TIME], dtype=np.float64),
            rows=range(shape[TRAJECTORY]),
            provenance={
                "source": "Poseidon",
                "dataset": name,
                "time_constant": published.time_constant,
                "licence": "CC-BY-NC-4.0",
            },
        ),
        channels=channels,
        constant_channels=constant or {},
        groups=groups,
        unpredicted=unpredicted,
        obstacle=obstacle,
    )


PUBLISHED_SHAPE = (128, 128)
# Arrays of each family -> their axes.
ARRAYS = {
    "incompressible": {"velocity": (TRAJECTORY, TIME, "channel", *SPACE)},
    "forced": {"solution": (TRAJECTORY, TIME, "channel", *SPACE)},
    "euler": {"data": (TRAJECTORY, TIME, "channel", *SPACE)},
    "euler solution": {"solution": (TRAJECTORY, TIME, "channel", *SPACE)},
    "gravity": {"solution": (TRAJECTORY, TIME, "channel", *SPACE)},
    "wave": {"solution": (TRAJECTORY, TIME, *SPACE), "c": (TRAJECTORY, *SPACE)},
    "scalar": {"solution": (TRAJECTORY, TIME, *SPACE)},
    "airfoil": {"solution": (TRAJECTORY, "channel", *SPACE)},
    "poisson": {"solution": (TRAJECTORY, *SPACE), "source": (TRAJECTORY, *SPACE)},
}


def doubts(path: Path) -> str:
    """What speaks against a file's being one of Poseidon's, where its name is none of theirs.

    Its arrays have generic names; of two channels `velocity` can be little else.
    """
    with metadata(path) as root:
        kind = _kind(root, path.stem)
        named = any(name.lower() in path.stem.lower() for name in PUBLISHED)
        if named or kind is None or kind == "helmholtz":
            return ""
        shape = root[next(iter(ARRAYS[kind]))].shape
    axes = ARRAYS[kind]
    if kind == "incompressible" and shape[2] == 2:  # the shear layer is (y, x)
        axes = {"velocity": (TRAJECTORY, TIME, "channel", "", "")}
    against = contents.doubts(path, axes, ())
    sure = shape[-2:] == PUBLISHED_SHAPE or (kind == "incompressible" and shape[2] == 2)
    if against or sure:
        return against
    array, like = next(iter(axes)), USUAL[kind]
    return (
        f"neither the file's name nor its {shape[-2]} x {shape[-1]} points are those of a "
        f"published one such as {like}, and an array {array!r} {tuple(shape)} may be anything"
    )


LAYOUT = Layout("Poseidon", matches, open_file, tuple(PUBLISHED), doubts)
