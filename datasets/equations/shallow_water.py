"""The shallow water equations over a flat bed, at rest and on a rotating plane."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..fields.grid import Grid
from ..solvers.finite_volume import FiniteVolume
from ..solvers.riemann import ShallowWater
from .equation import Parameter, Parameters
from .hyperbolic import HyperbolicEquation
from .initial import FourierSeries

_SOLVER = "MUSCL–Hancock finite volumes, HLLC, monotonised central slopes, positivity repair"


@dataclass(frozen=True, kw_only=True)
class ShallowWaterEquation(HyperbolicEquation):
    """h_t + ∇·(hv) = 0, v_t + (v·∇)v + g∇h = f (v_y, −v_x), with the vorticity if it is a field.

    Rotation is that of a β-plane, f = f₀ + β (y − L_y/2), if there is a parameter `coriolis` (f₀);
    y is the second axis.
    """

    solver: str = _SOLVER

    def system(self, parameters: Parameters) -> ShallowWater:
        """The equations with the parameter g."""
        return ShallowWater(parameters["gravity"])

    def scheme(self, parameters: Parameters, constants: Tensor | None, grid: Grid) -> FiniteVolume:
        """The solver, with rotation if the equation has any."""
        system = self.system(parameters)
        rotation = None
        if "coriolis" in parameters:
            rotation = parameters["coriolis"] + parameters["beta"] * _northward(grid).to(
                parameters["beta"]
            )
        return FiniteVolume(system, grid.spacing, grid.boundary, rotation=rotation)

    def observe(
        self, w: Float[Tensor, "B V *S"], parameters: Parameters, grid: Grid
    ) -> Float[Tensor, "B C *S"]:
        """Depth and velocity, with the vorticity ∂v/∂x − ∂u/∂y if it is a field."""
        if "vorticity" not in self.fields:
            return w
        return torch.cat((w, vorticity(w[:, 1:], grid)), 1)


def _northward(grid: Grid) -> Float[Tensor, "n m"]:
    """Distance from the middle of the second axis."""
    _, y = torch.meshgrid(*grid.coordinates(), indexing="ij")
    return y - y.mean()


def vorticity(velocity: Float[Tensor, "B 2 n m"], grid: Grid) -> Float[Tensor, "B 1 n m"]:
    """∂v/∂x − ∂u/∂y by central differences; one-sided in cells at a boundary."""
    u, v = velocity[:, :1], velocity[:, 1:]
    return _derivative(v, grid, 0) - _derivative(u, grid, 1)


def _derivative(values: Tensor, grid: Grid, axis: int) -> Tensor:
    step, dim = grid.spacing[axis], 2 + axis
    if grid.boundary[axis] == "periodic":
        return (values.roll(-1, dim) - values.roll(1, dim)) / (2 * step)
    return torch.gradient(values, spacing=step, dim=dim)[0]


# --------------------------------------------------------------------------- initial states


def dam(generator: torch.Generator, grid: Grid) -> Float[Tensor, "V *S"]:
    """Water at rest, of depth 2 within a radius in [0.3, 0.7] of the centre and 1 outside."""
    radius = 0.3 + 0.4 * torch.rand((), generator=generator, dtype=torch.float64)
    axes = [x - x.mean() for x in grid.coordinates()]
    distance = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0).sqrt()
    rest = torch.zeros(grid.ndim, *grid.shape, dtype=torch.float64)
    return torch.cat((1 + (distance < radius).double()[None], rest))


_DISTURBANCE = FourierSeries(modes=6, rms=(0.005, 0.02))


@dataclass(frozen=True)
class Jets:
    """One to three zonal jets in balance with their depth, which is then disturbed by 0.5–2 %.

    u = Σ U / cosh²((y − y₀)/δ), |U| in [0.2, 0.4], δ in [0.15, 0.3], and the depth has f u = −g h_y
    with mean 1. The disturbance is a Fourier series of up to 6 periods with an RMS of 0.5–2 %.

    Attributes:
        gravity, coriolis, beta: those of the equation.
    """

    gravity: float = 1.0
    coriolis: float = 1.0
    beta: float = 0.1

    def __call__(self, generator: torch.Generator, grid: Grid) -> Float[Tensor, "V n m"]:
        """Initial states."""
        y = _northward(grid)
        count = int(torch.randint(1, 4, (), generator=generator))
        draw = torch.rand((3, 4, 1, 1), generator=generator, dtype=torch.float64)[:count]
        speed = (0.2 + 0.2 * draw[:, 0]) * torch.where(draw[:, 1] < 0.5, -1, 1)
        width = 0.15 + 0.15 * draw[:, 2]
        middle = (draw[:, 3] - 0.5) * 0.5 * grid.lengths[1]
        u = (speed / torch.cosh((y - middle) / width) ** 2).sum(0)
        slope = -(self.coriolis + self.beta * y) * u / self.gravity
        step = grid.spacing[1]
        h = slope.cumsum(1) * step - 0.5 * step * slope  # at centres, from slopes at centres
        h = 1 + h - h.mean() + _DISTURBANCE(generator, grid)[0]
        return torch.stack((h, u, torch.zeros_like(u)))


# --------------------------------------------------------------------------------- equations

_JETS = Jets()


def _fixed(value: float, description: str, minimum: float = -math.inf) -> Parameter:
    return Parameter(value, value, description, minimum=minimum)


SHALLOW_WATER_2D = ShallowWaterEquation(
    name="shallow_water_2d",
    title="Radial dam break",
    formula="h_t + ∇·(hv) = 0, (hv)_t + ∇·(h v⊗v) + ∇(g h²/2) = 0",
    fields=("height", "velocity_x", "velocity_y"),
    lengths=(5.0, 5.0),
    resolution=(64, 64),
    boundary=("open", "open"),
    subsample=2,
    dt=0.05,
    frames=21,
    initial=dam,
    parameters={"gravity": _fixed(1.0, "gravity g", 1e-6)},
    invariants=("volume, until waves reach the boundary",),
    validation="exact dam breaks (Ritter, Stoker), mean error below 1e-3; volume to rounding",
    source="after PDEBench (arXiv 2210.07182), 2D shallow water",
)

ROTATING_SHALLOW_WATER_2D = ShallowWaterEquation(
    name="rotating_shallow_water_2d",
    title="Unstable jets on a rotating plane",
    formula="h_t + ∇·(hv) = 0, v_t + (v·∇)v + g∇h = f (v_y, −v_x), f = f₀ + β (y − L_y/2)",
    fields=("height", "velocity_x", "velocity_y", "vorticity"),
    lengths=(8.0, 4.0),
    resolution=(64, 32),
    boundary=("periodic", "wall"),
    subsample=2,
    dt=2.0,
    frames=21,
    initial=_JETS,
    parameters={
        "gravity": _fixed(_JETS.gravity, "gravity g", 1e-6),
        "coriolis": _fixed(_JETS.coriolis, "Coriolis parameter f₀ in the middle"),
        "beta": _fixed(_JETS.beta, "gradient β of the Coriolis parameter"),
    },
    invariants=("volume", "energy of smooth flow"),
    validation="inertial oscillation, to 1e-3; steady geostrophic jet, to 2e-3, order above 1.5",
    source="a planar channel with the fields of DyMixOp's shallow water set, which is on a sphere",
)

EQUATIONS = (SHALLOW_WATER_2D, ROTATING_SHALLOW_WATER_2D)
