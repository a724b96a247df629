"""Incompressible Navier–Stokes equations in two dimensions, as velocity, with a passive tracer.

Solved as vorticity (ω = ∂v/∂x − ∂u/∂y, mean flow zero; the first axis is x) and stored as velocity.
The tracer diffuses like the vorticity.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ..fields.grid import Grid
from ..solvers.etdrk import Spectral, Term
from .equation import Parameter, Parameters
from .initial_flows import (
    FromVelocity,
    FromVorticity,
    WithTracer,
    brownian,
    checkers,
    gaussians,
    patches,
    shear_layer,
    sines,
    velocity_of,
    vortex_sheet,
    vorticity_of,
)
from .navier_stokes import vorticity_advection
from .semilinear import SemilinearEquation, diffusion

_POSEIDON = "after Poseidon's {} (Herde et al. 2024), with viscosity instead of spectral viscosity"


def _encode(spectral: Spectral, fields: Tensor) -> Tensor:
    """(velocity_x, velocity_y[, tracer]) → (vorticity[, tracer])."""
    return torch.cat((vorticity_of(spectral, fields[:, :2]), fields[:, 2:]), 1)


def _decode(spectral: Spectral, state: Tensor) -> Tensor:
    """Back."""
    return torch.cat((velocity_of(spectral, state[:, :1]), state[:, 1:]), 1)


def _advection(s: Spectral, p: Parameters) -> Term:
    """Vorticity advection, and −∇·(u c) of a tracer c."""
    advect = vorticity_advection(s, p)

    def term(state: Tensor) -> Tensor:
        vorticity, tracer = state[:, :1], state[:, 1:]
        velocity = s.inverse(velocity_of(s, vorticity))
        fluxes = s.forward(velocity * s.inverse(tracer))
        change = -(s.ik[0] * fluxes[:, :1] + s.ik[1] * fluxes[:, 1:])
        return torch.cat((advect(vorticity), change), 1)

    return term


def _body_force(s: Spectral, p: Parameters) -> Term:
    """Vorticity advection under the body force A sin(2π (x + y)) along x."""
    advect = vorticity_advection(s, p)
    x, y = (torch.arange(n, dtype=s.dtype, device=s.device) / n for n in s.shape)
    theta = 2 * math.pi * (x[:, None] + y)
    curl = s.forward(-2 * math.pi / s.lengths[1] * p["forcing"] * torch.cos(theta))
    return lambda w: advect(w).add_(curl)


def _force(generator: torch.Generator, grid: Grid) -> Tensor:
    """sin(2π (x + y)), the shape of the body force."""
    x, y = (x / length for x, length in zip(grid.coordinates(), grid.lengths, strict=True))
    return torch.sin(2 * math.pi * (x[:, None] + y))[None]


_SINES = SemilinearEquation(
    name="navier_stokes_sines_2d",
    title="Incompressible flow from sines",
    formula="v_t + (v · ∇) v + ∇p = ν Δv, ∇ · v = 0",
    fields=("velocity_x", "velocity_y"),
    lengths=(1.0, 1.0),
    resolution=(128, 128),
    dt=0.05,
    frames=21,
    solver_step=0.005,
    initial=FromVelocity(sines),
    linear=diffusion("viscosity"),
    nonlinear=vorticity_advection,
    encode=_encode,
    decode=_decode,
    parameters={"viscosity": Parameter(4e-4, 4e-4, "kinematic viscosity", log=True, minimum=0.0)},
    solver="ETDRK4 for the vorticity, Fourier pseudo-spectral, 2/3 dealiasing",
    invariants=("mean velocity", "energy and enstrophy where ν = 0"),
    validation="Taylor–Green vortex, to 1e-11; divergence, to 1e-12; fourth order in time",
    source=_POSEIDON.format("NS-Sines"),
)

_GAUSS = replace(
    _SINES,
    name="navier_stokes_gauss_2d",
    title="Incompressible flow of Gaussian vortices",
    initial=FromVorticity(gaussians),
    source=_POSEIDON.format("NS-Gauss"),
)

_CHECKERS = replace(
    _SINES,
    name="navier_stokes_checkers_2d",
    title="Incompressible flow of piecewise-constant vorticity",
    initial=FromVorticity(checkers),
    source=_POSEIDON.format("NS-PwC") + "; range of the vorticity our own",
)

_SHEET = replace(
    _SINES,
    name="navier_stokes_vortex_sheet_2d",
    title="Roll-up of a vortex sheet",
    initial=FromVorticity(vortex_sheet),
    source=_POSEIDON.format("NS-SVS"),
)

_BROWNIAN = replace(
    _SINES,
    name="navier_stokes_brownian_2d",
    title="Incompressible flow from Brownian velocities",
    initial=FromVelocity(brownian),
    initial_states="random Fourier series of up to 32 periods per box with the spectrum of "
    "Brownian paths",
    source=_POSEIDON.format("NS-BB"),
)

_SHEAR = replace(
    _SINES,
    name="navier_stokes_shear_layer_2d",
    title="Double shear layer",
    initial=FromVelocity(shear_layer),
    source=_POSEIDON.format("NS-SL"),
)

_TRACER = replace(
    _SINES,
    name="navier_stokes_tracer_2d",
    title="Passive tracer in a flow of piecewise-constant vorticity",
    formula="v_t + (v · ∇) v + ∇p = ν Δv, ∇ · v = 0, c_t + v · ∇c = ν Δc",
    fields=("velocity_x", "velocity_y", "tracer"),
    nonlinear=_advection,
    initial=WithTracer(FromVorticity(checkers), patches),
    invariants=("mean velocity", "mean tracer"),
    validation="tracer carried by a steady shear, closed form to 1e-6; fourth order in time",
    source=_POSEIDON.format("NS-Tracer-PwC"),
)

_KOLMOGOROV = replace(
    _SINES,
    name="navier_stokes_kolmogorov_2d",
    title="Incompressible flow under a Kolmogorov force",
    formula="v_t + (v · ∇) v + ∇p = ν Δv + A sin(2π (x + y)) e_x, ∇ · v = 0",
    constant_fields=("source",),
    nonlinear=_body_force,
    initial=FromVorticity(checkers),
    constants=_force,
    parameters={
        "viscosity": Parameter(4e-4, 4e-4, "kinematic viscosity", log=True, minimum=0.0),
        "forcing": Parameter(0.1, 0.1, "amplitude A of the force"),
    },
    invariants=("mean velocity",),
    validation="growth of the laminar flow, to 1e-10; fourth order in time",
    source=_POSEIDON.format("FNS-KF"),
)

EQUATIONS = (
    _SINES,
    _GAUSS,
    _CHECKERS,
    _SHEET,
    _BROWNIAN,
    _SHEAR,
    _TRACER,
    _KOLMOGOROV,
)
