"""Incompressible Navier–Stokes equations in two dimensions, as vorticity.

Conventions: the first axis is x, the second y; vorticity is ω = ∂v/∂x − ∂u/∂y, with the mean flow
zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..solvers.etdrk import Spectral, Term
from .equation import Parameter, Parameters
from .initial import FourierSeries
from .semilinear import SemilinearEquation, diffusion


def vorticity_advection(s: Spectral, p: Parameters) -> Term:
    """N(ω) = −∇·(u ω), u the incompressible velocity of ω, from two products instead of three.

    −∇·(u ω) is minus the curl of ∇·(u ⊗ u): (∂yy − ∂xx)(u v) + ∂xy (u² − v²).
    """
    kx, ky = s.k
    velocity = torch.stack(torch.broadcast_tensors(s.ik[1], -s.ik[0])) * s.inverse_k2
    shear, stretch = ((kx**2 - ky**2).to(velocity.dtype), (-kx * ky).to(velocity.dtype))

    def term(w: Tensor) -> Tensor:
        fields = s.inverse(velocity * w)
        u, v = fields.unbind(1)
        products = torch.empty_like(fields)  # filled in place, which derivatives can follow
        products[:, 0].copy_(u).mul_(v)
        products[:, 1].copy_(u - v).mul_(u + v)
        spectra = s.forward(products)
        return spectra[:, :1].mul_(shear).addcmul_(stretch, spectra[:, 1:])

    return term


def _forced(
    forcing: Callable[[Spectral, Parameters], Tensor],
) -> Callable[[Spectral, Parameters], Term]:
    """Vorticity advection plus a steady forcing given in spectral space."""

    def bind(s: Spectral, p: Parameters) -> Term:
        advection, source = vorticity_advection(s, p), forcing(s, p)
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


NAVIER_STOKES_2D = SemilinearEquation(
    name="navier_stokes_2d",
    title="Decaying two-dimensional turbulence (incompressible Navier–Stokes, vorticity)",
    formula="ω_t + u · ∇ω = ν Δω, ∇ × u = ω, ∇ · u = 0",
    fields=("vorticity",),
    lengths=(1.0, 1.0),
    resolution=(64, 64),
    dt=0.2,
    frames=51,
    solver_step=0.025,
    validation="Taylor–Green vortex, to 1e-11; energy and enstrophy of inviscid flow, to 1e-8",
    initial=FourierSeries(modes=10, rms=(1.0, 2.0), decay=2.5, corner=2.0),
    linear=diffusion("viscosity"),
    nonlinear=vorticity_advection,
    parameters={"viscosity": Parameter(4e-4, 2e-3, "kinematic viscosity", log=True, minimum=0.0)},
    invariants=("mean of ω", "energy and enstrophy where ν = 0"),
)

NAVIER_STOKES_FORCED_2D = SemilinearEquation(
    name="navier_stokes_forced_2d",
    title="Forced incompressible Navier–Stokes equations (vorticity)",
    formula="ω_t + u · ∇ω = ν Δω + A (sin θ + cos θ), θ = 2π (x + y), on the unit box",
    fields=("vorticity",),
    lengths=(1.0, 1.0),
    resolution=(64, 64),
    dt=0.2,
    frames=51,
    solver_step=0.025,
    validation="growth of the laminar flow, to 1e-12; fourth order in time",
    source="forcing of the Fourier neural operator (Li et al. 2021)",
    initial=FourierSeries(modes=10, rms=(0.5, 1.5), decay=2.5, corner=2.0),
    linear=diffusion("viscosity"),
    nonlinear=_forced(_diagonal_forcing),
    parameters={
        "viscosity": Parameter(3e-4, 2e-3, "kinematic viscosity", log=True, minimum=0.0),
        "forcing": Parameter(0.1, 0.1, "amplitude A of the vorticity forcing"),
    },
    invariants=("mean of ω",),
)

KOLMOGOROV_2D = SemilinearEquation(
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
    validation="steady laminar flow, to 1e-11; fourth order in time",
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

EQUATIONS = (NAVIER_STOKES_2D, NAVIER_STOKES_FORCED_2D, KOLMOGOROV_2D)
