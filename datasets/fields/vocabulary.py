"""Names that all datasets share: fields, splits."""

from __future__ import annotations

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
