"""The known linear part of an observer, from an equation that the simulators know.

A recipe says `linear: {equation: kuramoto_sivashinsky_1d}`; what goes into the operator's config,
and so into its checkpoint, are the coefficients. They are found from the equation's symbol: its
values on a small grid determine the polynomial in i k, and the polynomial is checked on another.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..datasets import equations
from ..datasets.base.config import build, plain
from ..datasets.equations.semilinear import SemilinearEquation
from ..datasets.fields.grid import Grid
from ..datasets.fields.window import Context
from ..operators.assimilation.exponential import Derivative, monomial, symbol

_ORDER = 6  # highest total order of a derivative that is looked for
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class KnownLinear:
    """Where the linear part comes from.

    Attributes:
        equation: registry name of a semilinear equation.
        parameters: values for parameters that the data do not carry, or another fixed value; what
            the equation draws per trajectory is otherwise taken from the data.
    """

    equation: str
    parameters: dict[str, float] = field(default_factory=dict)


def resolve_linear(config: Mapping[str, Any]) -> dict[str, Any]:
    """An operator's config in which `linear: {equation: …}` is replaced by its terms.

    Raises:
        ValueError: no such equation, none with a known symbol, or an unknown parameter.
    """
    resolved = dict(config)
    if isinstance(resolved.get("linear"), Mapping):
        known = build(KnownLinear, resolved["linear"], prefix="operator.linear")
        resolved["linear"] = plain(linear_part(known.equation, known.parameters))
    return resolved


def linear_part(
    equation: str | equations.Equation, parameters: Mapping[str, float] | None = None
) -> tuple[Derivative, ...]:
    """The linear part A of u_t = A u + N(u) as a sum of derivatives.

    A parameter with a range becomes a factor by name; a fixed one is part of the coefficient.

    Args:
        equation: registry name, or an equation of your own.
        parameters: values by which parameters are fixed.

    Raises:
        ValueError: the equation has no symbol, depends on parameters otherwise than linearly, or
            is no polynomial of derivatives up to order 6 with real coefficients.
    """
    if isinstance(equation, str):
        equation = equations.get(equation)
    if not isinstance(equation, SemilinearEquation):
        raise ValueError(
            f"{equation.name} is not of the form u_t = A u + N(u) on a periodic box; leave out "
            "linear, or give its terms"
        )
    equation = equation.restricted(parameters or {})
    drawn = [name for name, parameter in equation.parameters.items() if not parameter.fixed]
    base = {n: p.low if p.fixed else 0.0 for n, p in equation.parameters.items()}
    constant = _terms(equation, base, "")
    terms = list(constant)
    for name in drawn:
        difference = _terms(equation, {**base, name: 1.0}, name, minus=base)
        terms += difference
    _check(equation, drawn, base, terms)
    return tuple(terms)


def _terms(
    equation: SemilinearEquation,
    values: Mapping[str, float],
    parameter: str,
    minus: Mapping[str, float] | None = None,
) -> list[Derivative]:
    """The polynomial of the symbol at some parameters, less that at others."""
    grid = _grid(equation.ndim, 2 * _ORDER + 1)
    target = _symbol(equation, grid, values)
    if minus is not None:
        target = target - _symbol(equation, grid, minus)
    orders = [
        each
        for each in itertools.product(range(_ORDER + 1), repeat=equation.ndim)
        if sum(each) <= _ORDER
    ]
    basis = torch.stack([monomial(grid, each).flatten() for each in orders], 1)
    scale = basis.abs().amax(0)
    found = torch.linalg.lstsq(basis / scale, target.flatten(1).T).solution.T / scale
    size = max(1.0, float(target.abs().max()))
    same = bool((found == found[:1]).all())
    names = ("",) if same else equation.fields
    return [
        Derivative(_rounded(value.real.item()), each, name, parameter)
        for name, row in zip(names, found, strict=False)
        for each, value, unit in zip(orders, row, scale, strict=True)
        if abs(value) * unit > _TOLERANCE * size
    ]


def _check(
    equation: SemilinearEquation,
    drawn: Sequence[str],
    base: Mapping[str, float],
    terms: Sequence[Derivative],
) -> None:
    """Compare the terms with the symbol on another grid, at other parameters."""
    grid = _grid(equation.ndim, 7, length=3.0)
    values = {**base, **{name: 0.3 + 0.2 * i for i, name in enumerate(drawn)}}
    parameters = torch.tensor([[values[name] for name in values]], dtype=torch.float64)
    context = Context(equation.fields, grid, parameters=parameters, parameter_names=tuple(values))
    expected, found = _symbol(equation, grid, values), symbol(terms, context)[0]
    if not (found - expected).abs().max() <= 1e-6 * max(1.0, float(expected.abs().max())):
        raise ValueError(
            f"the linear part of {equation.name} is no sum of derivatives up to order {_ORDER} "
            "whose coefficients are linear in its parameters; give its terms instead"
        )


def _symbol(equation: SemilinearEquation, grid: Grid, values: Mapping[str, float]) -> Tensor:
    """(C, *K), complex."""
    each = {name: torch.tensor([value], dtype=torch.float64) for name, value in values.items()}
    found = equation.symbol(grid, each)[0].to(torch.complex128)
    *full, last = grid.shape
    return found.expand(len(equation.fields), *full, last // 2 + 1)


def _grid(ndim: int, points: int, length: float = 2 * math.pi) -> Grid:
    """An odd number of points: no Nyquist mode, on which odd derivatives vanish."""
    return Grid((points,) * ndim, (length,) * ndim, ("periodic",) * ndim)


def _rounded(value: float) -> float:
    """Without the last digits, which are rounding errors of the fit."""
    return float(f"{value:.10g}")
