"""The equations described for people: the documentation page and the list of the command line.

`python -m pelagos.datasets.equations.catalogue > docs/equations.md` renews the page.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator

from .equation import Equation, Parameter
from .registry import FAMILIES, Family, families, ours

WIDTH = 120  # of the page

_INTRODUCTION = """\
# Equations

What `pelagos data simulate NAME` knows, family by family, with the defaults of each dataset;
points, domain, frames, parameters and steps can be changed per dataset. Subscripts are
derivatives; in 2D the first axis is x. Quantities are dimensionless where no unit is given.
Parameters are drawn per trajectory, uniformly or (log) uniformly in the logarithm. In motion: the
[gallery](gallery.md).

Equations of a family share a solver, so each family has one figure of it: on the left against a
closed form or what is conserved, on the right the order of convergence, in time against a run with
a quarter of the shortest step where no closed form is named. What each equation is tested against
stands under "checked". Drawn by `python docs/figures/validation_figures.py docs`.

Sets "after" a publication have its equations, domain, times and kind of initial states. Ranges of
random numbers in those after Poseidon are what we draw from: its appendix has not been compared.

To add an equation, write an instance of its family's class (`SemilinearEquation` takes the
symbol of the linear part and a nonlinear term; `Equation` with a `march` of your own takes
anything) in the file of its family and list it there; `simulate` also takes an equation of your
own directly, and a package of your own can declare a family (entry point `pelagos.equations`).
This page is generated: `python -m pelagos.datasets.equations.catalogue > docs/equations.md`.
"""


def page() -> str:
    """The documentation page of the equations of Pelagos, in Markdown."""
    return "\n".join([_INTRODUCTION, *map(_family, ours())])


def listing() -> str:
    """Every equation on one line, by family: name, formula, fields."""
    known = families()
    width = max(len(equation.name) for family in known for equation in family.equations)
    lines = []
    for family in known:
        package = FAMILIES.provider(family.name)
        lines += ["", f"{family.title} (from {package})" if package else family.title]
        lines += [
            f"  {one.name:{width}}  {one.formula}   [{_field_names(one)}]"
            for one in family.equations
        ]
    return "\n".join(lines[1:])


def _family(family: Family) -> str:
    figure = f"![Solutions against closed forms, and orders](validation/{family.name}.png)"
    sections = map(_section, family.equations)
    parts = [f"## {family.title}", family.introduction, figure, *sections]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(equation: Equation) -> str:
    rows = "\n".join(_row(key, text) for key, text in _rows(equation) if text)
    return f"### `{equation.name}`: {equation.title}\n\n    {equation.formula}\n\n{rows}"


def _row(key: str, text: str) -> str:
    """An entry of a list, within the width of a page."""
    return textwrap.fill(
        f"- {key}: {text}",
        WIDTH,
        subsequent_indent="  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _rows(equation: Equation) -> Iterator[tuple[str, str]]:
    learned = [name for name in equation.fields if name not in equation.prescribed]
    yield "fields", ", ".join(_with_unit(equation, name) for name in learned)
    yield "prescribed", ", ".join(_with_unit(equation, name) for name in equation.prescribed)
    constants = ", ".join(_with_unit(equation, name) for name in equation.constant_fields)
    yield "constant fields", constants
    yield "domain", _domain(equation)
    yield "points", _points(equation)
    yield "time", _time(equation)
    yield "initial states", equation.starts()
    parameters = equation.parameters.items()
    yield "parameters", "; ".join(_parameter(name, p) for name, p in parameters)
    yield "solver", f"{equation.solver}; {_steps(equation)}"
    yield "conserved", ", ".join(equation.invariants)
    if equation.lyapunov_time is not None:
        yield "Lyapunov time", f"{equation.lyapunov_time:g}"
    yield "checked", equation.validation
    yield "source", equation.source


def _field_names(equation: Equation) -> str:
    given = ", ".join((*equation.constant_fields, *equation.prescribed))
    learned = ", ".join(name for name in equation.fields if name not in equation.prescribed)
    return learned + (f"; given {given}" if given else "")


def _with_unit(equation: Equation, name: str) -> str:
    unit = equation.units[name]
    return f"`{name}`" if unit == "1" else f"`{name}` ({unit})"


def _domain(equation: Equation) -> str:
    lengths = " × ".join(f"{length:.5g}" for length in equation.lengths)
    kinds = dict.fromkeys(equation.boundary)
    unit = equation.units["length"]
    return f"{lengths}{'' if unit == '1' else f' {unit}'}, {' × '.join(kinds)}"


def _points(equation: Equation) -> str:
    points = " × ".join(map(str, equation.resolution))
    what = " cells" if equation.cell_centred else ""
    if equation.subsample == 1:
        return points + what
    finer = " × ".join(str(n * equation.subsample) for n in equation.resolution)
    return f"{points}{what}, solved on {finer}"


def _time(equation: Equation) -> str:
    if equation.steady:
        return "steady"
    unit = "" if equation.units["time"] == "1" else f" {equation.units['time']}"
    warm = f", from t = {equation.warm_up:g}{unit}" if equation.warm_up else ""
    return f"{equation.frames} frames, {equation.dt:.6g}{unit} apart{warm}"


def _steps(equation: Equation) -> str:
    return equation.step_control or f"steps of at most {equation.solver_step:g}"


def _parameter(name: str, parameter: Parameter) -> str:
    low, high = f"{parameter.low:.4g}", f"{parameter.high:.4g}"
    values = low if parameter.fixed else f"{low} … {high}{' (log)' if parameter.log else ''}"
    unit = "" if parameter.unit == "1" else f" {parameter.unit}"
    return f"`{name}` {values}{unit}: {parameter.description}"


if __name__ == "__main__":
    sys.stdout.write(page())
