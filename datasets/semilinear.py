"""The semilinear family: u_t = L u + N(u) with a linear part that is diagonal in Fourier space.

Conventions: k = 2π j / length; symbols act on û(k); quadratic terms are in flux form, −(u²)_x / 2,
except in 2D Burgers, which has none. In 2D the first axis is x, the second y; vorticity is
ω = ∂v/∂x − ∂u/∂y, with the mean flow zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .equations import Equation, Parameter, Parameters
from .initial import FourierSeries
from .steppers import Spectral, Term


def _diffusion(name: str) -> Callable[[Spectral, Parameters], Tensor]:
    """Symbol −ν |k|² of ν Δ, ν being the parameter `name`."""
    return lambda s, p: -p[name] * s.k2


def _flux(factor: float) -> Callable[[Spectral, Parameters], Term]:
    """N(u) = −factor · (u²)_x in one dimension."""

    def bind(s: Spectral, p: Parameters) -> Term:
        derivative = -factor * s.ik[0]
        return lambda v: s.forward(s.inverse(v).square_()).mul_(derivative)

    return bind


def _advection_by_itself(s: Spectral, p: Parameters) -> Term:
    """N(u) = −(u · ∇) u for a velocity with one component per axis."""

    def term(v: Tensor) -> Tensor:
        velocity = s.inverse(v)
        total = velocity[:, :1] * s.inverse(s.ik[0] * v)
        for axis in range(1, len(s.ik)):
            total.addcmul_(velocity[:, axis : axis + 1], s.inverse(s.ik[axis] * v))
        return s.forward(total.neg_())

    return term


def _vorticity_advection(s: Spectral, p: Parameters) -> Term:
    """N(ω) = −∇·(u ω), u the incompressible velocity of ω, from two products instead of three.

    −∇·(u ω) is minus the curl of ∇·(u ⊗ u): (∂yy − ∂xx)(u v) + ∂xy (u² − v²).
    """
    kx, ky = s.k
    velocity = torch.stack(torch.broadcast_tensors(s.ik[1], -s.ik[0])) * s.inverse_k2
    fluxes = torch.stack(torch.broadcast_tensors(kx**2 - ky**2, -kx * ky)).to(velocity.dtype)

    def term(w: Tensor) -> Tensor:
        u, v = s.inverse(velocity * w).unbind(1)
        products = torch.stack((u * v, (u - v).mul_(u + v)), 1)
        return s.forward(products).mul_(fluxes).sum(1, keepdim=True)

    return term


def _forced(
    forcing: Callable[[Spectral, Parameters], Tensor],
) -> Callable[[Spectral, Parameters], Term]:
    """Vorticity advection plus a steady forcing given in spectral space."""

    def bind(s: Spectral, p: Parameters) -> Term:
        advection, source = _vorticity_advection(s, p), forcing(s, p)
        return lambda w: advection(w).add_(source)

    return bind


def _coordinates(s: Spectral) -> tuple[Tensor, Tensor]:
    """2π x / length and 2π y / length, shaped to broadcast over (B, C, *S)."""
    x, y = (2 * math.pi * torch.arange(n, dtype=s.dtype, device=s.device) / n for n in s.shape)
    return x[:, None], y


def _diagonal_forcing(s: Spectral, p: Parameters) -> Tensor:
    """Spectrum of f = A (sin θ + cos θ), θ = 2π (x / length_x + y / length_y)."""
    x, y = _coordinates(s)
    return s.forward(p["forcing"] * (torch.sin(x + y) + torch.cos(x + y)))


def _kolmogorov_forcing(s: Spectral, p: Parameters) -> Tensor:
    """Spectrum of the curl −A κ cos(κ y) of the body force A sin(κ y) along x; 4 periods in y."""
    x, y = _coordinates(s)
    wavenumber = 4 * 2 * math.pi / s.lengths[1]
    return s.forward(-wavenumber * p["forcing"] * torch.cos(4 * y) * torch.ones_like(x))


_DIFFUSIVITY = Parameter(2e-3, 2e-2, "diffusivity", log=True, minimum=0.0)

HEAT_1D = Equation(
    name="heat_1d",
    title="Heat equation",
    formula="u_t = ν u_xx",
    fields=("u",),
    lengths=(1.0,),
    resolution=(128,),
    dt=0.01,
    frames=101,
    solver_step=math.inf,
    initial=FourierSeries(modes=8, rms=(0.5, 1.0), mean=0.5),
    linear=_diffusion("diffusivity"),
    parameters={"diffusivity": _DIFFUSIVITY},
    invariants=("mean of u",),
)

HEAT_2D = Equation(
    name="heat_2d",
    title="Heat equation",
    formula="u_t = ν (u_xx + u_yy)",
    fields=("u",),
    lengths=(1.0, 1.0),
    resolution=(64, 64),
    dt=0.02,
    frames=51,
    solver_step=math.inf,
    initial=FourierSeries(modes=8, rms=(0.5, 1.0), mean=0.5),
    linear=_diffusion("diffusivity"),
    parameters={"diffusivity": _DIFFUSIVITY},
    invariants=("mean of u",),
)

ADVECTION_1D = Equation(
    name="advection_1d",
    title="Linear advection",
    formula="u_t + c u_x = 0",
    fields=("u",),
    lengths=(1.0,),
    resolution=(128,),
    dt=0.01,
    frames=101,
    solver_step=math.inf,
    initial=FourierSeries(modes=12, rms=(0.5, 1.0), decay=1.0, corner=3.0, mean=0.5),
    linear=lambda s, p: -p["speed"] * s.ik[0],
    parameters={"speed": Parameter(-1.0, 1.0, "speed c, positive towards larger x")},
    invariants=("mean of u", "mean of u²"),
)

BURGERS_1D = Equation(
    name="burgers_1d",
    title="Viscous Burgers equation",
    formula="u_t + u u_x = ν u_xx",
    fields=("u",),
    lengths=(1.0,),
    resolution=(256,),
    dt=0.01,
    frames=101,
    solver_step=2e-3,
    initial=FourierSeries(modes=4, rms=(0.4, 0.8), decay=1.0, corner=2.0, mean=0.5),
    linear=_diffusion("viscosity"),
    nonlinear=_flux(0.5),
    parameters={"viscosity": Parameter(4e-3, 2e-2, "viscosity", log=True, minimum=0.0)},
    invariants=("mean of u",),
)

BURGERS_2D = Equation(
    name="burgers_2d",
    title="Viscous Burgers equation in two dimensions",
    formula="u_t + (u · ∇) u = ν Δu",
    fields=("velocity_x", "velocity_y"),
    lengths=(1.0, 1.0),
    resolution=(64, 64),
    dt=0.02,
    frames=51,
    solver_step=5e-3,
    initial=FourierSeries(modes=4, rms=(0.2, 0.4), decay=1.0, corner=2.0, mean=0.25, components=2),
    linear=_diffusion("viscosity"),
    nonlinear=_advection_by_itself,
    parameters={"viscosity": Parameter(8e-3, 4e-2, "viscosity", log=True, minimum=0.0)},
)

KURAMOTO_SIVASHINSKY_1D = Equation(
    name="kuramoto_sivashinsky_1d",
    title="Kuramoto–Sivashinsky equation",
    formula="u_t + u u_x + u_xx + u_xxxx = 0",
    fields=("u",),
    lengths=(64.0,),
    resolution=(128,),
    dt=0.5,
    frames=101,
    solver_step=0.1,
    warm_up=100.0,
    initial=FourierSeries(modes=8, rms=(0.5, 1.0)),
    linear=lambda s, p: s.k2 - s.k2**2,
    nonlinear=_flux(0.5),
    invariants=("mean of u",),
)

KORTEWEG_DE_VRIES_1D = Equation(
    name="korteweg_de_vries_1d",
    title="Korteweg–de Vries equation",
    formula="u_t + 6 u u_x + u_xxx = 0",
    fields=("u",),
    lengths=(64.0,),
    resolution=(256,),
    dt=0.1,
    frames=101,
    solver_step=5e-3,
    initial=FourierSeries(modes=6, rms=(0.2, 0.4)),
    linear=lambda s, p: 1j * s.k[0] ** 3,
    nonlinear=_flux(3.0),
    invariants=("mean of u", "mean of u²", "mean of u³ − u_x² / 2"),
)

NAVIER_STOKES_2D = Equation(
    name="navier_stokes_2d",
    title="Decaying two-dimensional turbulence (incompressible Navier–Stokes, vorticity)",
    formula="ω_t + u · ∇ω = ν Δω, ∇ × u = ω, ∇ · u = 0",
    fields=("vorticity",),
    lengths=(1.0, 1.0),
    resolution=(64, 64),
    dt=0.2,
    frames=51,
    solver_step=0.025,
    initial=FourierSeries(modes=10, rms=(1.0, 2.0), decay=2.5, corner=2.0),
    linear=_diffusion("viscosity"),
    nonlinear=_vorticity_advection,
    parameters={"viscosity": Parameter(4e-4, 2e-3, "kinematic viscosity", log=True, minimum=0.0)},
    invariants=("mean of ω", "energy and enstrophy where ν = 0"),
)

NAVIER_STOKES_FORCED_2D = Equation(
    name="navier_stokes_forced_2d",
    title="Forced incompressible Navier–Stokes equations (vorticity)",
    formula="ω_t + u · ∇ω = ν Δω + A (sin θ + cos θ), θ = 2π (x + y), on the unit box",
    fields=("vorticity",),
    lengths=(1.0, 1.0),
    resolution=(64, 64),
    dt=0.2,
    frames=51,
    solver_step=0.025,
    initial=FourierSeries(modes=10, rms=(0.5, 1.5), decay=2.5, corner=2.0),
    linear=_diffusion("viscosity"),
    nonlinear=_forced(_diagonal_forcing),
    parameters={
        "viscosity": Parameter(3e-4, 2e-3, "kinematic viscosity", log=True, minimum=0.0),
        "forcing": Parameter(0.1, 0.1, "amplitude A of the vorticity forcing"),
    },
    invariants=("mean of ω",),
)

KOLMOGOROV_2D = Equation(
    name="kolmogorov_2d",
    title="Kolmogorov flow with linear drag (vorticity)",
    formula="ω_t + u · ∇ω = ν Δω − μ ω − 4 A cos(4 y), on the box of length 2π",
    fields=("vorticity",),
    lengths=(2 * math.pi, 2 * math.pi),
    resolution=(64, 64),
    dt=0.2,
    frames=51,
    solver_step=0.02,
    warm_up=10.0,
    initial=FourierSeries(modes=8, rms=(1.0, 2.0), decay=2.5, corner=3.0),
    linear=lambda s, p: -p["viscosity"] * s.k2 - p["drag"],
    nonlinear=_forced(_kolmogorov_forcing),
    parameters={
        "viscosity": Parameter(2e-2, 4e-2, "kinematic viscosity", log=True, minimum=0.0),
        "drag": Parameter(0.1, 0.1, "linear drag μ", minimum=0.0),
        "forcing": Parameter(1.0, 1.0, "amplitude A of the body force A sin(4 y) along x"),
    },
    invariants=("mean of ω",),
)

EQUATIONS = (
    HEAT_1D,
    HEAT_2D,
    ADVECTION_1D,
    BURGERS_1D,
    BURGERS_2D,
    KURAMOTO_SIVASHINSKY_1D,
    KORTEWEG_DE_VRIES_1D,
    NAVIER_STOKES_2D,
    NAVIER_STOKES_FORCED_2D,
    KOLMOGOROV_2D,
)
