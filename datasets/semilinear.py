"""Equations u_t = L u + N(u) on a periodic box: Fourier in space, ETDRK4 in time.

L is given by its symbol, N by a term in spectral space.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from jaxtyping import Float, Inexact
from torch import Tensor

from .equations import Equation, Parameters
from .fields import Grid
from .steppers import ETDRK4, Spectral, Term, substeps


@dataclass(frozen=True, kw_only=True)
class SemilinearEquation(Equation):
    """u_t = L u + N(u) on a periodic box, with L diagonal in Fourier space.

    Attributes:
        linear: (spectral, parameters) → symbol of L, broadcastable to (B, C, *K), real or complex.
        nonlinear: (spectral, parameters) → N as a term of the spectral state; None if linear.
    """

    linear: Callable[[Spectral, Parameters], Tensor]
    nonlinear: Callable[[Spectral, Parameters], Term] | None = None
    solver: str = "ETDRK4, Fourier pseudo-spectral, 2/3 dealiasing"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nonlinear is None:  # a step of any length is exact
            object.__setattr__(self, "solver_step", math.inf)
            object.__setattr__(self, "step_control", "exact")

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
        symbol = self.linear(Spectral(grid.shape, grid.lengths), self.broadcast(parameters))
        return symbol.reshape(*(1,) * (2 + self.ndim - symbol.ndim), *symbol.shape)

    def solve(
        self,
        initial: Float[Tensor, "B C *S"],
        parameters: Mapping[str, Float[Tensor, " B"]],
        grid: Grid,
        dt: float,
        *,
        constants: Float[Tensor, "B K *S"] | None = None,
        warm_up: float = 0.0,
        solver_step: float | None = None,
    ) -> Iterator[Float[Tensor, "B C *S"]]:
        """As `Equation.solve`; steps between frames are equal and no longer than `solver_step`.

        For a nonlinear equation the modes that the 2/3 rule removes are dropped from `initial`.
        """
        spectral = Spectral(grid.shape, grid.lengths, initial.dtype, initial.device)
        term = None
        v = spectral.forward(initial)
        if self.nonlinear is not None:
            values = {k: p.to(initial) for k, p in self.broadcast(parameters).items()}
            term = self.nonlinear(spectral, values)
            v = v * spectral.resolved
        symbol = self.symbol(grid, parameters)
        largest = self.solver_step if solver_step is None else solver_step
        assert largest is not None, self.name
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


def diffusion(name: str) -> Callable[[Spectral, Parameters], Tensor]:
    """Symbol −ν |k|² of ν Δ, ν being the parameter `name`."""
    return lambda s, p: -p[name] * s.k2
