"""Steady elliptic problems on rectangles: Darcy flow, Poisson, Helmholtz.

u is given on the boundary; values stand at cell centres, half a spacing inside. Finite volumes of
second order: the flux through a face takes the harmonic mean of the coefficient on its two sides.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Bool, Float
from scipy.sparse.linalg import splu
from torch import Tensor
from torch.nn import functional

from ..fields.grid import Grid
from .equation import BlowUp, Equation, Parameter, Parameters

# Conjugate gradients stop at this residual, relative to the right-hand side.
_TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-6}
_ITERATIONS = 500


# ---------------------------------------------------------------------------------- solvers


def solve_diffusion(
    a: Float[Tensor, "B 1 *S"], f: Float[Tensor, "B 1 *S"], spacing: tuple[float, ...]
) -> Float[Tensor, "B 1 *S"]:
    """u with −∇·(a ∇u) = f and u = 0 on the boundary.

    Conjugate gradients, preconditioned by the same problem with a = 1: the number of iterations
    grows with the root of max a / min a, not with the number of cells.

    Raises:
        BlowUp: a is not positive, or the iterations did not converge.
    """
    _refuse(~(a > 0).flatten(1).all(1), "has a coefficient that is not positive")
    faces = _face_coefficients(a, spacing)
    laplacian = _mirrored_symbol(f, spacing)
    u, r = torch.zeros_like(f), f.clone()
    target = _TOLERANCE[f.dtype] * _norm(f)
    z = _solve_mirrored(r, laplacian)
    p, rz = z, _dot(r, z)
    for _ in range(_ITERATIONS):
        # Trajectories that are done stand still, so that none depends on its batch.
        active = _norm(r) > target
        if not bool(active.any()):
            return u
        ap = _apply(faces, p)
        alpha = torch.where(active, rz / _dot(p, ap), 0)
        u, r = u + alpha * p, r - alpha * ap
        z = _solve_mirrored(r, laplacian)
        rz, before = _dot(r, z), rz
        p = torch.where(active, z + rz / before * p, p)
    _refuse((_norm(r) > target).flatten(), f"did not converge in {_ITERATIONS} iterations")
    return u


def _refuse(bad: Bool[Tensor, " B"], what: str) -> None:
    """Raise a BlowUp that names the trajectories that are bad, if there are any."""
    if bool(bad.any()):
        raise BlowUp(dict.fromkeys(bad.nonzero().flatten().tolist(), what))


def solve_helmholtz(
    q: Float[Tensor, "B 1 *S"], f: Float[Tensor, "B 1 *S"], spacing: tuple[float, ...]
) -> Float[Tensor, "B 1 *S"]:
    """u with −Δu − q u = f and u = 0 on the boundary, which may be indefinite.

    Sparse LU factorisation on the host, one trajectory after another.
    """
    laplacian = _sparse_laplacian(tuple(f.shape[2:]), spacing)
    out = []
    for one_q, one_f in zip(q, f, strict=True):
        diagonal = scipy.sparse.diags(one_q.flatten().double().cpu().numpy())
        matrix = scipy.sparse.csc_matrix(laplacian - diagonal)
        factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
        solution = factors.solve(one_f.flatten().double().cpu().numpy())
        out.append(torch.from_numpy(solution).to(f).reshape(one_f.shape))
    return torch.stack(out)


def _face_coefficients(a: Tensor, spacing: tuple[float, ...]) -> list[Tensor]:
    """Harmonic means over h² on the n + 1 faces along each axis; 2 a / h² on the boundary."""
    faces = []
    for axis, h in enumerate(spacing):
        dim = 2 + axis
        n = a.shape[dim]
        left, right = a.narrow(dim, 0, n - 1), a.narrow(dim, 1, n - 1)
        inner = 2 * left * right / (left + right)
        ends = 2 * a.narrow(dim, 0, 1), 2 * a.narrow(dim, n - 1, 1)
        faces.append(torch.cat((ends[0], inner, ends[1]), dim) / h**2)
    return faces


def _apply(faces: list[Tensor], u: Tensor) -> Tensor:
    """−∇·(a ∇u) in every cell."""
    out = torch.zeros_like(u)
    for axis, coefficient in enumerate(faces):
        dim = 2 + axis
        pad = [0] * (2 * (u.ndim - dim))
        pad[-2:] = 1, 1
        flux = coefficient * functional.pad(u, pad).diff(dim=dim)
        out -= flux.diff(dim=dim)
    return out


def _mirrored_symbol(like: Tensor, spacing: tuple[float, ...]) -> Tensor:
    """Eigenvalues of the discrete −Δ on the periodic grid of twice the cells along every axis."""
    total = torch.zeros((), dtype=torch.float64)
    for axis, h in enumerate(spacing):
        n = like.shape[2 + axis]
        count = n + 1 if axis == len(spacing) - 1 else 2 * n
        j = torch.arange(count, dtype=torch.float64)
        values = 4 / h**2 * torch.sin(torch.pi * j / (2 * n)).square()
        total = total + values.reshape(-1, *(1,) * (len(spacing) - 1 - axis))
    return total.masked_fill(total == 0, math.inf).to(like)


def _solve_mirrored(f: Tensor, symbol: Tensor) -> Tensor:
    """u with −Δu = f and u = 0 on the boundary: continued oddly, f is periodic."""
    shape = f.shape[2:]
    for dim in range(2, f.ndim):
        f = torch.cat((f, -f.flip(dim)), dim)
    axes = tuple(range(2, f.ndim))
    u = torch.fft.irfftn(torch.fft.rfftn(f, dim=axes) / symbol, s=f.shape[2:], dim=axes)
    return u[(..., *map(slice, shape))]


def _sparse_laplacian(
    shape: tuple[int, ...], spacing: tuple[float, ...]
) -> scipy.sparse.csc_matrix:
    """−Δ with u = 0 on the boundary."""
    total = scipy.sparse.csc_matrix((math.prod(shape),) * 2)
    for axis, (n, h) in enumerate(zip(shape, spacing, strict=True)):
        diagonal = np.full(n, 2.0)
        diagonal[0] += 1.0
        diagonal[-1] += 1.0
        neighbours = scipy.sparse.eye(n, k=1) + scipy.sparse.eye(n, k=-1)
        line = (scipy.sparse.diags(diagonal) - neighbours) / h**2
        before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        total = total + scipy.sparse.kron(
            scipy.sparse.kron(scipy.sparse.identity(before), line), scipy.sparse.identity(after)
        )
    return scipy.sparse.csc_matrix(total)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Scalar product per trajectory, (B, 1, *1)."""
    return (a * b).sum(tuple(range(1, a.ndim)), keepdim=True)


def _norm(a: Tensor) -> Tensor:
    return _dot(a, a).sqrt()


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
        """As `Equation.solve`: one frame."""
        assert constants is not None, self.name
        values = {name: value.to(initial) for name, value in self.broadcast(parameters).items()}
        yield self.solution(constants.to(initial), values, grid)

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
    initial_states="coefficient: 12 where a Gaussian random field of covariance (−Δ + 9)⁻² is "
    "positive, else 3",
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
    initial_states="coefficient: 1 where a Gaussian random field of covariance (−Δ + 9)⁻² is "
    "positive, else 0.1",
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
    initial_states="source: a geometric number (mean 2.5) of Gaussians of width 0.025 to 0.1 and "
    "mass −1 to 1",
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
    initial_states="coefficient: 1 plus 2 to 7 Gaussians of width 0.05 to 0.1 and height 0.5 to 1",
    parameters={
        "frequency": Parameter(5 * math.pi / 2, 5 * math.pi / 2, "angular frequency ω"),
        "boundary_value": Parameter(0.25, 0.5, "value b on the boundary"),
    },
    solver="finite volumes, sparse LU factorisation",
    validation="manufactured solution, second order",
    source="after Poseidon's Helmholtz (Herde et al. 2024); counts and widths our own",
)

EQUATIONS = (DARCY_2D, DARCY_FORCING_2D, POISSON_2D, HELMHOLTZ_2D)
