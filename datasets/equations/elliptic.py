"""Steady elliptic problems on rectangles: Darcy flow, Poisson, Helmholtz.

u is given on the boundary; values stand at cell centres, half a spacing inside. Finite volumes of
second order: the flux through a face takes the harmonic mean of the coefficient on its two sides.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ..fields.grid import Grid
from ..solvers.elliptic import solve_diffusion, solve_helmholtz
from .equation import Equation, Parameter, Parameters, Problem, Steady

# ---------------------------------------------------------------------------------- classes


@dataclass(frozen=True, kw_only=True)
class EllipticEquation(Equation):
    """A steady problem on a rectangle, from constant fields to u; `solution` solves it."""

    cell_centred: bool = True
    steady: bool = True
    boundary: tuple[str, ...] = ("wall", "wall")
    step_control: str = "none"

    @abstractmethod
    def solution(
        self, constants: Float[Tensor, "B K *S"], parameters: Parameters, grid: Grid
    ) -> Float[Tensor, "B C *S"]:
        """The solution of these constant fields and parameters, each shaped (B, 1, *1)."""

    def march(self, problem: Problem) -> Steady:
        """As `Equation.march`: one frame."""
        constants, initial = problem.constants, problem.initial
        assert constants is not None, self.name
        values = {name: v.to(initial) for name, v in self.broadcast(problem.parameters).items()}
        return Steady(self.solution(constants.to(initial), values, problem.grid))

    def coarsened(self, values: Float[Tensor, "... C *S"], factor: int) -> Tensor:
        """Values in the central cell of each block, so that coefficients stay what they are.

        Raises:
            ValueError: the factor is even; there is no central cell.
        """
        if factor % 2 == 0:
            raise ValueError(f"{self.name} needs an odd subsample; got {factor}")
        return values[(..., *(slice(factor // 2, None, factor),) * self.ndim)]


@dataclass(frozen=True, kw_only=True)
class DarcyEquation(EllipticEquation):
    """−∇·(a ∇u) = β, with a the constant field and β the parameter `forcing`."""

    def solution(
        self, constants: Float[Tensor, "B K *S"], parameters: Parameters, grid: Grid
    ) -> Float[Tensor, "B C *S"]:
        """As in `EllipticEquation`."""
        forcing = parameters["forcing"] * torch.ones_like(constants)
        return solve_diffusion(constants, forcing, grid.spacing)


@dataclass(frozen=True, kw_only=True)
class PoissonEquation(EllipticEquation):
    """−Δu = f, with f the constant field."""

    def solution(
        self, constants: Float[Tensor, "B K *S"], parameters: Parameters, grid: Grid
    ) -> Float[Tensor, "B C *S"]:
        """As in `EllipticEquation`."""
        return solve_diffusion(torch.ones_like(constants), constants, grid.spacing)


@dataclass(frozen=True, kw_only=True)
class HelmholtzEquation(EllipticEquation):
    """−Δu − ω² a u = 0 with u = b on the boundary, a the constant field, ω and b parameters."""

    def solution(
        self, constants: Float[Tensor, "B K *S"], parameters: Parameters, grid: Grid
    ) -> Float[Tensor, "B C *S"]:
        """As in `EllipticEquation`."""
        q = parameters["frequency"] ** 2 * constants
        level = parameters["boundary_value"]
        return level + solve_helmholtz(q, q * level, grid.spacing)


# --------------------------------------------------------------------------------- samplers


@dataclass(frozen=True)
class ThresholdedField:
    """`high` where a Gaussian random field is positive, else `low`.

    The field has the covariance (−Δ + τ²)^−α with no flux through the boundary and mean zero: a
    cosine series up to `modes` half-periods per axis.
    """

    low: float
    high: float
    decay: float = 2.0
    inverse_length: float = 3.0
    modes: int = 64

    def __str__(self) -> str:
        covariance = f"(−Δ + {self.inverse_length**2:g})^−{self.decay:g}"
        return (
            f"{self.high:g} where a Gaussian random field of covariance {covariance} is positive, "
            f"else {self.low:g}"
        )

    def __call__(self, generator: torch.Generator, grid: Grid) -> Float[Tensor, "1 *S"]:
        """One coefficient in double precision."""
        shape = (self.modes,) * grid.ndim
        series = torch.randn(shape, generator=generator, dtype=torch.float64)
        j = torch.arange(self.modes, dtype=torch.float64)
        j2 = torch.stack(torch.meshgrid(*[j] * grid.ndim, indexing="ij")).square().sum(0)
        series *= (math.pi**2 * j2 + self.inverse_length**2) ** (-self.decay / 2)
        series[(0,) * grid.ndim] = 0
        for axis, (x, length) in enumerate(zip(grid.coordinates(), grid.lengths, strict=True)):
            cosines = torch.cos(math.pi * j * x[:, None] / length)
            series = torch.tensordot(cosines, series.movedim(axis, 0), 1).movedim(0, axis)
        return torch.where(series >= 0, self.high, self.low)[None].to(torch.float64)


@dataclass(frozen=True)
class Gaussians:
    """base + Σ A exp(−|x − c|² / 2 σ²), with centres uniform over the domain.

    Attributes:
        count: smallest and largest number of terms, uniform; or its geometric distribution's mean.
        width: range of σ, uniform.
        amplitude: range of A, uniform.
        unit_mass: divide A by the integral of the Gaussian, 2π σ².
        base: the constant.
    """

    count: tuple[int, int] | float
    width: tuple[float, float]
    amplitude: tuple[float, float]
    unit_mass: bool = False
    base: float = 0.0

    def __str__(self) -> str:
        number = (
            f"{self.count[0]} to {self.count[1]}"
            if isinstance(self.count, tuple)
            else f"a geometric number (mean {self.count:g}) of"
        )
        low, high = (f"{a:g}".replace("-", "−") for a in self.amplitude)
        return (
            f"{f'{self.base:g} plus ' if self.base else ''}{number} Gaussians of width "
            f"{self.width[0]:g} to {self.width[1]:g} and {'mass' if self.unit_mass else 'height'} "
            f"{low} to {high}"
        )

    def __call__(self, generator: torch.Generator, grid: Grid) -> Float[Tensor, "1 *S"]:
        """One field in double precision."""
        x = torch.stack(torch.meshgrid(*grid.coordinates(), indexing="ij"), -1)
        total = torch.full(grid.shape, self.base, dtype=torch.float64)
        for _ in range(self._number(generator)):
            draws = torch.rand(grid.ndim + 2, generator=generator, dtype=torch.float64)
            centre = draws[:-2] * torch.tensor(grid.lengths, dtype=torch.float64)
            width = self.width[0] + (self.width[1] - self.width[0]) * draws[-2]
            height = self.amplitude[0] + (self.amplitude[1] - self.amplitude[0]) * draws[-1]
            if self.unit_mass:
                height = height / (2 * math.pi * width**2)
            total += height * torch.exp(-(x - centre).square().sum(-1) / (2 * width**2))
        return total[None]

    def _number(self, generator: torch.Generator) -> int:
        if isinstance(self.count, tuple):
            low, high = self.count
            return int(torch.randint(low, high + 1, (), generator=generator))
        u = torch.rand((), generator=generator, dtype=torch.float64).item()
        return 1 + math.floor(math.log1p(-u) / math.log1p(-1 / self.count))


# -------------------------------------------------------------------------------- equations

_FINITE_VOLUMES = (
    "finite volumes, harmonic means on faces; conjugate gradients preconditioned by a fast Poisson "
    "solver, relative residual 1e-11"
)
_ORDER = "manufactured solution, second order; fluxes through layers, to 1e-10"

DARCY_2D = DarcyEquation(
    name="darcy_2d",
    title="Darcy flow through two materials",
    formula="−∇·(a ∇u) = β, u = 0 on the boundary",
    fields=("u",),
    constant_fields=("coefficient",),
    lengths=(1.0, 1.0),
    resolution=(49, 49),
    subsample=5,
    constants=ThresholdedField(low=3.0, high=12.0),
    parameters={"forcing": Parameter(1.0, 1.0, "right-hand side β")},
    solver=_FINITE_VOLUMES,
    validation=_ORDER,
    source="set of the Fourier neural operator (Li et al. 2021) and of DyMixOp (Lai et al. 2025), "
    "there on 49 of 241 nodes that include the boundary",
)

DARCY_FORCING_2D = replace(
    DARCY_2D,
    name="darcy_forcing_2d",
    title="Darcy flow through two materials, over a range of forcings",
    resolution=(128, 128),
    subsample=1,
    constants=ThresholdedField(low=0.1, high=1.0),
    parameters={"forcing": Parameter(0.01, 100.0, "right-hand side β", log=True)},
    source="after PDEBench's Darcy flow (Takamoto et al. 2022)",
)

POISSON_2D = PoissonEquation(
    name="poisson_2d",
    title="Poisson equation with Gaussian sources",
    formula="−Δu = f, u = 0 on the boundary",
    fields=("u",),
    constant_fields=("source",),
    lengths=(1.0, 1.0),
    resolution=(128, 128),
    subsample=3,
    constants=Gaussians(2.5, width=(0.025, 0.1), amplitude=(-1.0, 1.0), unit_mass=True),
    solver="finite volumes, fast Poisson solver",
    validation=_ORDER,
    source="after Poseidon's Poisson-Gauss (Herde et al. 2024)",
)

HELMHOLTZ_2D = HelmholtzEquation(
    name="helmholtz_2d",
    title="Helmholtz equation in a variable medium",
    formula="−Δu − ω² a u = 0, u = b on the boundary",
    fields=("u",),
    constant_fields=("coefficient",),
    lengths=(1.0, 1.0),
    resolution=(128, 128),
    constants=Gaussians((2, 7), width=(0.05, 0.1), amplitude=(0.5, 1.0), base=1.0),
    parameters={
        "frequency": Parameter(5 * math.pi / 2, 5 * math.pi / 2, "angular frequency ω"),
        "boundary_value": Parameter(0.25, 0.5, "value b on the boundary"),
    },
    solver="finite volumes, sparse LU factorisation",
    validation="manufactured solution, second order",
    source="after Poseidon's Helmholtz (Herde et al. 2024); counts and widths our own",
)

EQUATIONS = (DARCY_2D, DARCY_FORCING_2D, POISSON_2D, HELMHOLTZ_2D)
