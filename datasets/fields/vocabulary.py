"""Names that all datasets share: fields, their components and parity, splits."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

# The shared vocabulary: the same quantity has the same name in every dataset. Other names are
# allowed (a user's own field), but only these are shared between datasets by convention.
VOCABULARY = {
    "u": "scalar unknown of a model equation",
    "u_t": "rate of change of u, where it is part of the state",
    "v": "second unknown of a two-component model equation",
    "velocity_x": "velocity, first axis",
    "velocity_y": "velocity, second axis",
    "velocity_z": "velocity, third axis",
    "vorticity": "curl of the velocity (2D: its only component)",
    "density": "mass density",
    "pressure": "pressure",
    "energy": "total energy density",
    "tracer": "concentration of a transported scalar, such as dye or smoke",
    "concentration": "concentration of a dissolved substance",
    "activator": "activator of a reaction–diffusion system",
    "inhibitor": "inhibitor of a reaction–diffusion system",
    "temperature": "temperature",
    "height": "height of the free surface",
    "potential": "gravitational potential",
    "electric_x": "electric field, first axis; _y, _z",
    "magnetic_x": "magnetic field, first axis; _y, _z",
    "force_x": "body force, first axis; _y, _z",
    "forcing": "scalar forcing",
    "source": "right-hand side of a steady problem",
    "coefficient": "material coefficient of a steady problem",
    "boundary_value": "value on the boundary, everywhere",
    "wave_speed": "speed of waves in a medium",
    "obstacle": "1 inside an obstacle, 0 outside",
}


SPLITS = ("train", "valid", "test")


UNSPLIT = "all"  # the split of trajectories that belong to none of train, valid and test


AXES = ("x", "y", "z")  # of space, as components are named after them

# Scalars that a reflection leaves alone, and those whose sign it changes.
INVARIANT = ("density", "pressure", "energy", "tracer", "temperature", "height")
_COEFFICIENTS = (
    *("viscosity", "diffusivity", "diffusivity_u", "diffusivity_v", "conductivity", "drag"),
    *("adiabatic_index", "gamma", "porosity", "mass_squared", "coupling", "feed", "kill"),
    *("frequency", "wave_speed", "potential"),
)
_NUMBERS = ("reynolds", "prandtl", "schmidt", "rayleigh", "mach")
EVEN = frozenset({*INVARIANT, "source", "coefficient", *_COEFFICIENTS, *_NUMBERS})
ODD = frozenset({"vorticity"})
# Vectors whose sign a reflection changes once more.
AXIAL = frozenset({"vorticity", "magnetic_field"})


def component(
    name: str, axes: Sequence[str] = AXES, orders: Sequence[int] = (1, 2)
) -> tuple[str, tuple[int, ...]]:
    """What a name is a component of, and along which axes.

    `velocity_y` is (velocity, (1,)), `D_xy` is (D, (0, 1)); a scalar is itself, ().

    Args:
        name: of a field or parameter.
        axes: names of the axes.
        orders: of the tensors that count, the lowest first: 1 for vectors, 2 for tensors.
    """
    stem, _, ending = name.rpartition("_")
    for order in orders if stem else ():
        for indices in itertools.product(range(len(axes)), repeat=order):
            if ending == "".join(axes[i] for i in indices):
                return stem, indices
    return name, ()


def vectors(names: Sequence[str]) -> list[list[int]]:
    """Indices of names, those of one vector together: `velocity_x` and `velocity_y`."""
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        groups.setdefault(component(name, orders=(1,))[0], []).append(index)
    return list(groups.values())


def tensors(names: Sequence[str], ndim: int) -> dict[str, tuple[int, list[str]]]:
    """Stem -> (order, its component names), scalars first, then vectors, then tensors.

    Names that end in every axis (`velocity_x`, `velocity_y` in 2D) make a vector, those that end
    in every pair of axes a tensor; all others are scalars.
    """
    axes, found = AXES[:ndim], {}
    for order in (2, 1):
        endings = ["".join(pair) for pair in itertools.product(axes, repeat=order)]
        for name in names:
            stem, indices = component(name, axes, (order,))
            parts = [f"{stem}_{ending}" for ending in endings]
            first = indices == (0,) * order
            if first and stem not in names and set(parts) <= set(names):
                found.setdefault(stem, (order, parts))
    known = {part for _, parts in found.values() for part in parts}
    scalars = {name: (0, [name]) for name in names if name not in known}
    return {**scalars, **dict(sorted(found.items(), key=lambda item: item[1][0]))}
