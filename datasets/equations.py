"""Equations as small declarative objects, and the registry that finds them by name.

An equation states u_t = L u + N(u) on a periodic box: L by its symbol, N by a term in spectral
space, with the random parameters and initial states from which datasets are made. To add one, write
an `Equation` in its family's file and list it there.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from . import codec
from .fields import Grid
from .initial import Sampler
from .steppers import ETDRK4, Spectral, Term, substeps

# Parameters by name, each shaped (B, 1, 1, …) to broadcast over states (B, C, *K).
Parameters = Mapping[str, Tensor]


@dataclass(frozen=True)
class Parameter:
    """A coefficient of an equation, drawn once per trajectory.

    Attributes:
        low, high: range of the draw; equal for a fixed value.
        description: what it is, and its sign convention.
        unit: physical unit; "1" where the equation is dimensionless.
        log: draw uniformly in the logarithm.
        minimum: smallest value for which the equation is well posed.
    """

    low: float
    high: float
    description: str
    unit: str = "1"
    log: bool = False
    minimum: float = -math.inf

    @property
    def fixed(self) -> bool:
        """Whether all trajectories share one value."""
        return self.low == self.high

    def draw(self, generator: torch.Generator) -> float:
        """A value; always takes one number from the generator, also when fixed."""
        fraction = torch.rand((), generator=generator, dtype=torch.float64).item()
        if self.fixed:
            return self.low
        if self.log:
            return self.low * (self.high / self.low) ** fraction
        return self.low + (self.high - self.low) * fraction

    def restricted(self, name: str, value: float | Sequence[float]) -> Parameter:
        """The same parameter with a fixed value, or with another range (low, high).

        Raises:
            ValueError: not a number or a pair, low > high, not finite, or outside what the
                equation allows.
        """
        pair = (value, value) if isinstance(value, (int, float)) else tuple(value)
        if len(pair) != 2:
            raise ValueError(f"parameter {name} must be a number or [low, high]; got {value!r}")
        low, high = map(float, pair)
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise ValueError(f"parameter {name} needs finite low ≤ high; got {low:g}, {high:g}")
        if low < self.minimum:
            raise ValueError(
                f"parameter {name} ({self.description}) must be at least {self.minimum:g}; "
                f"got {low:g}"
            )
        if self.log and low <= 0 and low < high:
            raise ValueError(
                f"parameter {name} is drawn log-uniformly and needs low > 0; got {low:g}. "
                "Raise it, or give one fixed value"
            )
        return replace(self, low=low, high=high)


@dataclass(frozen=True)
class Equation:
    """u_t = L u + N(u) on a periodic box, with the defaults of the dataset made from it.

    Attributes:
        name: registry name, `<equation>_<ndim>d`.
        title: name in words.
        formula: the equation, in plain text.
        fields: names of the components C.
        lengths: box length per axis.
        resolution: points per axis.
        dt: time between saved frames.
        frames: saved frames per trajectory, the initial state included.
        solver_step: largest internal time step.
        initial: sampler of initial states (C, *S).
        linear: (spectral, parameters) → symbol of L, broadcastable to (B, C, *K), real or complex.
        nonlinear: (spectral, parameters) → N as a term of the spectral state; None if linear.
        parameters: coefficients by name.
        warm_up: time integrated before the first saved frame, to leave a transient behind.
        invariants: what the exact dynamics conserve, in words.
        units: of each field, "time" and "length".
    """

    name: str
    title: str
    formula: str
    fields: tuple[str, ...]
    lengths: tuple[float, ...]
    resolution: tuple[int, ...]
    dt: float
    frames: int
    solver_step: float
    initial: Sampler
    linear: Callable[[Spectral, Parameters], Tensor]
    nonlinear: Callable[[Spectral, Parameters], Term] | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    warm_up: float = 0.0
    invariants: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert len(self.lengths) == len(self.resolution), self.name
        dimensionless = dict.fromkeys((*self.fields, "time", "length"), "1")
        object.__setattr__(self, "units", {**dimensionless, **self.units})

    @property
    def ndim(self) -> int:
        """Number of space axes."""
        return len(self.lengths)

    def restricted(self, overrides: Mapping[str, float | Sequence[float]]) -> Equation:
        """The same equation with some parameters fixed or drawn from another range.

        Raises:
            ValueError: an unknown parameter (with the nearest valid name) or an impossible value.
        """
        known = dict(self.parameters)
        for name, value in overrides.items():
            if name not in known:
                hint = codec.nearest(name, [*known]) if known else "; it has none"
                raise ValueError(f"{self.name} has no parameter {name!r}{hint}")
            known[name] = known[name].restricted(name, value)
        return replace(self, parameters=known)

    def symbol(
        self, grid: Grid, parameters: Mapping[str, Float[Tensor, " B"]]
    ) -> Inexact[Tensor, "#B #C *#K"]:
        """Symbol λ(k) of L on the real-FFT modes of `grid`: L alone evolves û(k) by e^{λ(k) t}.

        Args:
            grid: a periodic grid.
            parameters: one value per trajectory, by name.

        Returns:
            Double precision, real or complex, broadcastable to (B, C, *K).
        """
        symbol = self.linear(Spectral(grid.shape, grid.lengths), self._broadcast(parameters))
        return symbol.reshape(*(1,) * (2 + self.ndim - symbol.ndim), *symbol.shape)

    def solve(
        self,
        initial: Float[Tensor, "B C *S"],
        parameters: Mapping[str, Float[Tensor, " B"]],
        grid: Grid,
        dt: float,
        *,
        warm_up: float = 0.0,
        solver_step: float | None = None,
    ) -> Iterator[Float[Tensor, "B C *S"]]:
        """Endless frames at times 0, dt, 2 dt, … after the warm-up, in `initial`'s dtype, device.

        Args:
            initial: states at the start of the warm-up. For a nonlinear equation the modes that
                the 2/3 rule removes are dropped from them.
            parameters: one value per trajectory, by name.
            grid: a periodic grid.
            dt: time between frames.
            warm_up: time before the first frame.
            solver_step: largest internal step; the equation's own by default.
        """
        spectral = Spectral(grid.shape, grid.lengths, initial.dtype, initial.device)
        term = None
        v = spectral.forward(initial)
        if self.nonlinear is not None:
            values = {k: p.to(initial) for k, p in self._broadcast(parameters).items()}
            term = self.nonlinear(spectral, values)
            v = v * spectral.resolved
        symbol = self.symbol(grid, parameters)
        largest = self.solver_step if solver_step is None else solver_step
        if term is None:
            largest = math.inf

        def advance(v: Tensor, interval: float) -> Iterator[Tensor]:
            count = substeps(interval, largest)
            stepper = ETDRK4(symbol, term, interval / count, spectral)
            while True:
                for _ in range(count):
                    v = stepper.step(v)
                yield v

        if warm_up > 0:
            v = next(advance(v, warm_up))
        yield spectral.inverse(v)
        yield from map(spectral.inverse, advance(v, dt))

    def _broadcast(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        shape = (-1, 1, *(1,) * self.ndim)
        return {name: value.double().cpu().reshape(shape) for name, value in parameters.items()}


@functools.cache
def _registry() -> dict[str, Equation]:
    # Imported here because the families are written in terms of `Equation`.
    from .semilinear import EQUATIONS

    return {equation.name: equation for equation in EQUATIONS}


def names() -> tuple[str, ...]:
    """Names of all equations."""
    return tuple(_registry())


def get(name: str) -> Equation:
    """The equation of that name.

    Raises:
        ValueError: there is none; names the nearest.
    """
    if name not in _registry():
        raise ValueError(f"unknown equation {name!r}{codec.nearest(name, names())}")
    return _registry()[name]


def markdown() -> str:
    """The table of all equations for the documentation."""
    header = ("name", "equation", "fields", "parameters (per trajectory)", "box", "points")
    header += ("frames × dt", "solver step", "warm-up", "conserved")
    rows = [header, ("---",) * len(header)]
    rows += [_row(get(name)) for name in names()]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(equation: Equation) -> tuple[str, ...]:
    return (
        f"`{equation.name}`",
        equation.formula,
        ", ".join(f"`{name}`" for name in equation.fields),
        "; ".join(f"`{name}` {_range(p)}" for name, p in equation.parameters.items()),
        " × ".join(f"{length:.5g}" for length in equation.lengths),
        " × ".join(str(n) for n in equation.resolution),
        f"{equation.frames} × {equation.dt:g}",
        "exact" if equation.nonlinear is None else f"{equation.solver_step:g}",
        f"{equation.warm_up:g}",
        ", ".join(equation.invariants),
    )


def _range(parameter: Parameter) -> str:
    if parameter.fixed:
        return f"{parameter.low:g}"
    return f"{parameter.low:g} … {parameter.high:g}{' (log)' if parameter.log else ''}"
