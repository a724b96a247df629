"""Diffusion of a substance that the ground adsorbs: R(u) u_t = D u_xx.

The retardation factor R is dθ/du of the total content θ(u) = u + κ ((u + δ)ⁿ − δⁿ), δ = 1e-6, of
Freundlich's isotherm: κ = (1 − φ) / φ · ρ k. The solver steps θ_t = D u_xx, by finite volumes and
an implicit, L-stable Runge–Kutta method of second order, so that content is balanced exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..fields.grid import Grid
from ..solvers.etdrk import substeps
from .equation import BlowUp, Equation, Parameter, Parameters

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

        Raises:
            BlowUp: Newton's iterations of a trajectory did not converge.
        """
        values = {k: p.to(initial) for k, p in self.broadcast(parameters).items()}
        largest = self.solver_step if solver_step is None else solver_step
        assert largest is not None, self.name
        matrix, inhomogeneous = self._diffusion(values["diffusivity"], initial, grid.spacing[0])

        def rate(u: Tensor) -> Tensor:
            return _multiply(matrix, u) + inhomogeneous

        def implicit(u: Tensor, content: Tensor, step: float) -> Tensor:
            """v with θ(v) = content + step · rate(v), by Newton's method from u."""
            lower, diagonal, upper = (-step * part for part in matrix)
            bad = torch.ones(len(u), dtype=torch.bool)
            for _ in range(_NEWTON):
                total, retardation = self.content(u, values)
                residual = content + step * rate(u) - total
                change = solve_tridiagonal(lower, retardation + diagonal, upper, residual)
                u = u + change
                bad = ~(change.abs().amax((1, 2)) <= _TOLERANCE[u.dtype])
                if not bool(bad.any()):
                    return u
            left = bad.nonzero().flatten().tolist()
            raise BlowUp(dict.fromkeys(left, "could not be stepped (Newton's method)"))

        def advance(u: Tensor, interval: float) -> Iterator[Tensor]:
            count = substeps(interval, largest)
            step = interval / count
            while True:
                for _ in range(count):
                    start, _ = self.content(u, values)
                    middle = implicit(u, start, _GAMMA * step)
                    partly = start + (1 - _GAMMA) * step * rate(middle)
                    u = implicit(middle, partly, _GAMMA * step)
                yield u

        u = initial
        if warm_up > 0:
            u = next(advance(u, warm_up))
        yield u
        yield from advance(u, dt)

    def _diffusion(
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


def _multiply(matrix: tuple[Tensor, Tensor, Tensor], u: Tensor) -> Tensor:
    lower, diagonal, upper = matrix
    return diagonal * u + lower * _shifted(u, 1, 0.0) + upper * _shifted(u, -1, 0.0)


def _shifted(values: Tensor, steps: int, fill: float) -> Tensor:
    """values[i − steps], and `fill` where there are none."""
    count = min(abs(steps), values.shape[-1])
    ends = torch.full_like(values[..., :count], fill)
    if steps > 0:
        return torch.cat((ends, values[..., : values.shape[-1] - count]), -1)
    return torch.cat((values[..., count:], ends), -1)


def solve_tridiagonal(
    lower: Float[Tensor, "*B n"],
    diagonal: Float[Tensor, "*B n"],
    upper: Float[Tensor, "*B n"],
    right: Float[Tensor, "*B n"],
) -> Float[Tensor, "*B n"]:
    """x with lower_i x_{i−1} + diagonal_i x_i + upper_i x_{i+1} = right_i.

    Parallel cyclic reduction: log₂ n steps of whole vectors; stable for diagonally dominant
    matrices. The first of `lower` and the last of `upper` must be 0.
    """
    stride = 1
    while stride < right.shape[-1]:
        before, after = (
            [_shifted(part, steps, fill) for part, fill in parts]
            for parts, steps in (
                (((lower, 0.0), (diagonal, 1.0), (upper, 0.0), (right, 0.0)), stride),
                (((lower, 0.0), (diagonal, 1.0), (upper, 0.0), (right, 0.0)), -stride),
            )
        )
        down, up = -lower / before[1], -upper / after[1]
        diagonal = diagonal + down * before[2] + up * after[0]
        right = right + down * before[3] + up * after[3]
        lower, upper = down * before[0], up * after[2]
        stride *= 2
    return right / diagonal


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
    initial_states="the same concentration everywhere, uniform in [0, 0.2]",
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
