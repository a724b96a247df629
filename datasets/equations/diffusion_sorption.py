"""Diffusion of a substance that the ground adsorbs: R(u) u_t = D u_xx.

The retardation factor R is dθ/du of the total content θ(u) = u + κ ((u + δ)ⁿ − δⁿ), δ = 1e-6, of
Freundlich's isotherm: κ = (1 − φ) / φ · ρ k. The solver steps θ_t = D u_xx, by finite volumes and
an implicit, L-stable Runge–Kutta method of second order, so that content is balanced exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..fields.grid import Grid
from ..solvers.blow_up import refuse
from ..solvers.etdrk import substeps
from ..solvers.tridiagonal import multiply_tridiagonal, solve_tridiagonal
from .equation import Equation, Parameter, Parameters, Problem

_SHIFT = 1e-6
_GAMMA = 1 - 1 / math.sqrt(2)
_NEWTON = 50
_TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-6}


@dataclass(frozen=True, kw_only=True)
class SorptionEquation(Equation):
    """θ(u)_t = D u_xx with u = `inflow` at the left end and u + D u_x = 0 at the right end."""

    inflow: float = 1.0

    def content(
        self, u: Float[Tensor, "B 1 n"], parameters: Parameters
    ) -> tuple[Float[Tensor, "B 1 n"], Float[Tensor, "B 1 n"]]:
        """θ(u), dissolved and adsorbed, and R = dθ/du."""
        porosity, n = parameters["porosity"], parameters["exponent"]
        kappa = (1 - porosity) / porosity * parameters["density"] * parameters["freundlich"]
        shifted = u.clamp_min(0) + _SHIFT
        content = u + kappa * (shifted**n - _SHIFT**n)
        return content, 1 + kappa * n * shifted ** (n - 1)

    def march(self, problem: Problem) -> _Sorption:
        """As `Equation.march`; steps between frames are equal and no longer than `solver_step`."""
        return _Sorption(self, problem)

    def diffusion(
        self, diffusivity: Tensor, like: Tensor, h: float
    ) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        """D u_xx as a tridiagonal matrix (below, on and above the diagonal) plus a vector."""
        lower = diffusivity / h**2 * torch.ones_like(like)
        upper = lower.clone()
        diagonal = -2 * lower
        lower[..., 0] = upper[..., -1] = 0
        left, right = 2 * diffusivity / h**2, diffusivity / h**2
        diagonal[..., :1] = -left - right
        # At the right face u_f = −D u_x, which leaves the flux u_f = 2 D u / (h + 2 D).
        diagonal[..., -1:] = -right - 2 * diffusivity / (h + 2 * diffusivity) / h
        vector = torch.zeros_like(like)
        vector[..., :1] = left * self.inflow
        return (lower, diagonal, upper), vector


class _Sorption:
    """A solution under way: an implicit, L-stable Runge–Kutta method of second order."""

    def __init__(self, equation: SorptionEquation, problem: Problem) -> None:
        self._u, self._equation = problem.initial, equation
        values = equation.broadcast(problem.parameters)
        self._values = {k: p.to(problem.initial) for k, p in values.items()}
        self._largest = equation.largest_step(problem)
        self._matrix, self._inhomogeneous = equation.diffusion(
            self._values["diffusivity"], problem.initial, problem.grid.spacing[0]
        )

    def advance(self, interval: float) -> Float[Tensor, "B 1 n"]:
        """As `March.advance`.

        Raises:
            BlowUp: Newton's iterations of a trajectory did not converge.
        """
        count = substeps(interval, self._largest) if interval > 0 else 0
        for _ in range(count):
            step = interval / count
            start, _ = self._equation.content(self._u, self._values)
            middle = self._implicit(self._u, start, _GAMMA * step)
            partly = start + (1 - _GAMMA) * step * self._rate(middle)
            self._u = self._implicit(middle, partly, _GAMMA * step)
        return self._u

    def _rate(self, u: Tensor) -> Tensor:
        return multiply_tridiagonal(self._matrix, u) + self._inhomogeneous

    def _implicit(self, u: Tensor, content: Tensor, step: float) -> Tensor:
        """v with θ(v) = content + step · rate(v), by Newton's method from u."""
        lower, diagonal, upper = (-step * part for part in self._matrix)
        bad = torch.ones(len(u), dtype=torch.bool)
        for _ in range(_NEWTON):
            total, retardation = self._equation.content(u, self._values)
            residual = content + step * self._rate(u) - total
            change = solve_tridiagonal(lower, retardation + diagonal, upper, residual)
            u = u + change
            bad = ~(change.abs().amax((1, 2)) <= _TOLERANCE[u.dtype])
            if not bool(bad.any()):
                return u
        refuse(bad, "could not be stepped (Newton's method)")
        return u


def _level(generator: torch.Generator, grid: Grid) -> Float[Tensor, "1 n"]:
    """The same concentration everywhere, uniform in [0, 0.2]."""
    value = 0.2 * torch.rand((), generator=generator, dtype=torch.float64)
    return value.expand(1, *grid.shape).clone()


DIFFUSION_SORPTION_1D = SorptionEquation(
    name="diffusion_sorption_1d",
    title="Diffusion with sorption",
    formula="R(u) u_t = D u_xx, R = 1 + (1 − φ) / φ · ρ k n (u + 1e-6)ⁿ⁻¹, u = 1 at 0, "
    "u + D u_x = 0 at 1",
    fields=("u",),
    lengths=(1.0,),
    resolution=(1024,),
    boundary=("open",),
    cell_centred=True,
    dt=5.0,
    frames=101,
    solver_step=2.5,
    initial=_level,
    parameters={
        "diffusivity": Parameter(5e-4, 5e-4, "effective diffusivity D", "m²/s", minimum=0.0),
        "porosity": Parameter(0.29, 0.29, "porosity φ", minimum=1e-3, maximum=1.0),
        "density": Parameter(2880.0, 2880.0, "bulk density ρ", "kg/m³", minimum=0.0),
        "freundlich": Parameter(3.5e-4, 3.5e-4, "Freundlich's parameter k", "m³/kg", minimum=0.0),
        "exponent": Parameter(0.874, 0.874, "Freundlich's exponent n", minimum=1e-2, maximum=1.0),
    },
    solver="finite volumes, L-stable Runge–Kutta of second order, Newton's method",
    units={"time": "s", "length": "m"},
    validation="complementary error function with linear sorption, to 4e-4; content balanced to "
    "1e-5; second order in time",
    source="PDEBench's 1D diffusion–sorption (Takamoto et al. 2022), with u at the inflow's face "
    "and not half a cell before it",
)

EQUATIONS = (DIFFUSION_SORPTION_1D,)
