"""Equations by name."""

from __future__ import annotations

import functools
import importlib

from ..base.config import nearest
from .equation import Equation

# Files of this folder, each with a tuple `EQUATIONS`.
FAMILIES = (
    "model_equations",
    "navier_stokes",
    "incompressible",
    "reaction_diffusion",
    "diffusion_sorption",
    "klein_gordon",
    "elliptic",
    "compressible",
    "shallow_water",
    "waves",
)


@functools.cache
def _registry() -> dict[str, Equation]:
    # Imported here because the families are written in terms of `Equation`.
    modules = (importlib.import_module(f".{family}", __package__) for family in FAMILIES)
    return {equation.name: equation for module in modules for equation in module.EQUATIONS}


def names() -> tuple[str, ...]:
    """Names of all equations."""
    return tuple(_registry())


def get(name: str) -> Equation:
    """The equation of that name.

    Raises:
        ValueError: there is none; names the nearest.
    """
    if name not in _registry():
        raise ValueError(f"unknown equation {name!r}{nearest(name, names())}")
    return _registry()[name]
