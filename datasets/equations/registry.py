"""Equations by name, in families: those of Pelagos, and those that other packages declare.

A package adds a family by an entry point that names its equations, one or a tuple:

    [project.entry-points."pelagos.equations"]
    mine = "my_package.equations:EQUATIONS"

The docstring of that module is the family's title and introduction.
"""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass

from ..base.config import nearest
from ..base.registry import Registry
from .equation import Equation

# Files of this folder, in the order of the documentation.
_FILES = (
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
FAMILIES: Registry[Equation | tuple[Equation, ...]] = Registry(
    "pelagos.equations",
    "equation family",
    {file: f"{__package__}.{file}:EQUATIONS" for file in _FILES},
)


@dataclass(frozen=True)
class Family:
    """Equations that share a solver.

    Attributes:
        name: in the registry.
        title, introduction: the first line and the rest of their module's docstring.
        equations: in the order of its documentation.
    """

    name: str
    title: str
    introduction: str
    equations: tuple[Equation, ...]


def family(name: str) -> Family:
    """The family of that name.

    Raises:
        ValueError: there is none, or its package has no equations at the place that it names.
    """
    found = FAMILIES.get(name)
    equations = found if isinstance(found, tuple) else (found,)
    module = FAMILIES.module(name)
    for one in equations:
        if not isinstance(one, Equation):
            raise ValueError(
                f"equation family {name!r} of {FAMILIES.provider(name) or module} must be an "
                f"Equation or a tuple of them; got {one!r}"
            )
    doc = (importlib.import_module(module).__doc__ or "") if module else ""
    title, _, rest = doc.strip().partition("\n")
    return Family(name, title.rstrip(".") or name, rest.strip(), equations)


@functools.cache
def ours() -> tuple[Family, ...]:
    """The families of Pelagos."""
    return tuple(map(family, FAMILIES.ours))


def families() -> tuple[Family, ...]:
    """All families, ours first.

    Raises:
        ValueError: two equations of different packages have the same name.
    """
    found = [*ours(), *(family(name) for name in FAMILIES.names() if name not in FAMILIES.ours)]
    owner: dict[str, Family] = {}
    for one in found:
        for equation in one.equations:
            if owner.setdefault(equation.name, one) is not one:
                raise ValueError(
                    f"equation {equation.name!r} of {FAMILIES.provider(one.name) or one.name} has "
                    f"a name that is taken already; uninstall that package, or rename the equation"
                )
    return tuple(found)


@functools.cache
def _ours_by_name() -> dict[str, Equation]:
    return {equation.name: equation for one in ours() for equation in one.equations}


def names() -> tuple[str, ...]:
    """Names of all equations, family by family."""
    return tuple(equation.name for one in families() for equation in one.equations)


def get(name: str) -> Equation:
    """The equation of that name.

    Raises:
        ValueError: there is none; names the nearest.
    """
    if name in _ours_by_name():  # whatever state other packages are in
        return _ours_by_name()[name]
    known = {equation.name: equation for one in families() for equation in one.equations}
    if name not in known:
        raise ValueError(f"unknown equation {name!r}{nearest(name, [*known])}")
    return known[name]
