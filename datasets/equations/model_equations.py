"""Model equations: heat, advection, Burgers, Kuramoto–Sivashinsky, Korteweg–de Vries.

Conventions: k = 2π j / length; symbols act on û(k); quadratic terms are in flux form, −(u²)_x / 2,
except in Burgers in 2D and 3D, which has none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ..solvers.etdrk import Multiplied, Spectral, Term
from .driven import DrivenHeat
from .equation import Parameter, Parameters
from .initial import FourierSeries, PeakedSeries
from .semilinear import SemilinearEquation, diffusion


def _flux(factor: float) -> Callable[[Spectral, Parameters], Term]:
    """N(u) = −factor · (u²)_x in one dimension."""

    def bind(s: Spectral, p: Parameters) -> Term:
        return Multiplied(lambda v: s.forward(s.inverse(v).square_()), -factor * s.ik[0])

    return bind


def _advection_by_itself(s: Spectral, p: Parameters) -> Term:
    """N(u) = −(u · ∇) u for a velocity in two dimensions, as −∇|u|²/2 + ω (u_y, −u_x).

    ω is the curl. On dealiased modes this equals the product term by term, with six transforms
    instead of eight.
    """
    curl = torch.stack(torch.broadcast_tensors(-s.ik[1], s.ik[0]))
    gradient = -0.5 * torch.stack(torch.broadcast_tensors(*s.ik))

    def term(v: Tensor) -> Tensor:
        velocity, vorticity = s.inverse(v), s.inverse((curl * v).sum(1, keepdim=True))[:, 0]
        x, y = velocity.unbind(1)
        products = velocity.new_empty(len(v), 3, *s.shape)
        products[:, 0].copy_(vorticity).mul_(y)  # in place, which derivatives can follow
        products[:, 1].copy_(vorticity).mul_(x).neg_()
        products[:, 2].copy_(x).mul_(x).addcmul_(y, y)
        spectra = s.forward(products)
        return spectra[:, :2].addcmul_(gradient, spectra[:, 2:])

    return term


def _advection_by_itself_3d(s: Spectral, p: Parameters) -> Term:
    """N(u) = −(u · ∇) u for a velocity in three dimensions, as u × ω − ∇|u|²/2, ω = ∇ × u.

    On dealiased modes this equals the product term by term, with ten transforms instead of fifteen.
    """
    gradient = -0.5 * torch.stack(torch.broadcast_tensors(*s.ik))
    axes = ((0, 1, 2), (1, 2, 0), (2, 0, 1))  # each, and the two after it

    def curl(v: Tensor) -> Tensor:
        return torch.stack([s.ik[b] * v[:, c] - s.ik[c] * v[:, b] for _, b, c in axes], 1)

    def term(v: Tensor) -> Tensor:
        velocity, vorticity = s.inverse(v), s.inverse(curl(v))
        products = velocity.new_empty(len(v), 4, *s.shape)
        for a, b, c in axes:  # in place, which derivatives can follow
            products[:, a].copy_(velocity[:, b]).mul_(vorticity[:, c])
            products[:, a].addcmul_(velocity[:, c], vorticity[:, b], value=-1)
        x, y, z = velocity.unbind(1)
        products[:, 3].copy_(x).mul_(x).addcmul_(y, y).addcmul_(z, z)
        spectra = s.forward(products)
        return spectra[:, :3].addcmul_(gradient, spectra[:, 3:])

    return term


_XYZ = tuple(enumerate("xyz"))
_DIFFUSIVITY = Parameter(2e-3, 2e-2, "diffusivity", log=True, minimum=0.0)

HEAT_1D = SemilinearEquation(
    name="heat_1d",
    title="Heat equation",
    formula="u_t = ν u_xx",
    fields=("u",),
    lengths=(1.0,),
    resolution=(128,),
    dt=0.01,
    frames=101,
    validation="decay of single modes, to 1e-12",
    initial=FourierSeries(modes=8, rms=(0.5, 1.0), mean=0.5),
    linear=diffusion("diffusivity"),
    parameters={"diffusivity": _DIFFUSIVITY},
    invariants=("mean of u",),
)

HEAT_2D = SemilinearEquation(
    name="heat_2d",
    title="Heat equation",
    formula="u_t = ν (u_xx + u_yy)",
    fields=("u",),
    lengths=(1.0, 1.0),
    resolution=(64, 64),
    dt=0.02,
    frames=51,
    validation="decay of single modes, to 1e-12",
    initial=FourierSeries(modes=8, rms=(0.5, 1.0), mean=0.5),
    linear=diffusion("diffusivity"),
    parameters={"diffusivity": _DIFFUSIVITY},
    invariants=("mean of u",),
)

ADVECTION_1D = SemilinearEquation(
    name="advection_1d",
    title="Linear advection",
    formula="u_t + c u_x = 0",
    fields=("u",),
    lengths=(1.0,),
    resolution=(128,),
    dt=0.01,
    frames=101,
    validation="translation of a profile, to 1e-12",
    source="PDEBench (Takamoto et al. 2022) has speeds 0.1 to 4",
    initial=FourierSeries(modes=12, rms=(0.5, 1.0), decay=1.0, corner=3.0, mean=0.5),
    linear=lambda s, p: -p["speed"] * s.ik[0],
    parameters={"speed": Parameter(-1.0, 1.0, "speed c, positive towards larger x")},
    invariants=("mean of u", "mean of u²"),
)

ADVECTION_DIFFUSION_2D = SemilinearEquation(
    name="advection_diffusion_2d",
    title="Linear advection and diffusion",
    formula="u_t + c_x u_x + c_y u_y = D (u_xx + u_yy)",
    fields=("u",),
    lengths=(1.0, 1.0),
    resolution=(64, 64),
    dt=0.02,
    frames=51,
    initial=FourierSeries(modes=8, rms=(0.5, 1.0), mean=0.5),
    linear=lambda s, p: -p["diffusivity"] * s.k2 - p["speed_x"] * s.ik[0] - p["speed_y"] * s.ik[1],
    parameters={
        "diffusivity": Parameter(1e-4, 1e-2, "diffusivity D", log=True, minimum=0.0),
        "speed_x": Parameter(-1.0, 1.0, "speed c_x, positive towards larger x"),
        "speed_y": Parameter(-1.0, 1.0, "speed c_y, positive towards larger y"),
    },
    invariants=("mean of u",),
    validation="translation and decay of modes, to 1e-12",
)

ADVECTION_DIFFUSION_3D = SemilinearEquation(
    name="advection_diffusion_3d",
    title="Linear advection and diffusion in three dimensions",
    formula="u_t + c_x u_x + c_y u_y + c_z u_z = D Δu",
    fields=("u",),
    lengths=(1.0, 1.0, 1.0),
    resolution=(32, 32, 32),
    dt=0.04,
    frames=21,
    initial=FourierSeries(modes=4, rms=(0.5, 1.0), mean=0.5),
    linear=lambda s, p: -p["diffusivity"] * s.k2 - sum(p[f"speed_{x}"] * s.ik[i] for i, x in _XYZ),
    parameters={
        "diffusivity": Parameter(1e-4, 1e-2, "diffusivity D", log=True, minimum=0.0),
        "speed_x": Parameter(-1.0, 1.0, "speed c_x, positive towards larger x"),
        "speed_y": Parameter(-1.0, 1.0, "speed c_y, positive towards larger y"),
        "speed_z": Parameter(-1.0, 1.0, "speed c_z, positive towards larger z"),
    },
    invariants=("mean of u",),
    validation="translation and decay of modes, to 1e-12",
)

BURGERS_1D = SemilinearEquation(
    name="burgers_1d",
    title="Viscous Burgers equation",
    formula="u_t + u u_x = ν u_xx",
    fields=("u",),
    lengths=(1.0,),
    resolution=(256,),
    dt=0.01,
    frames=101,
    solver_step=2e-3,
    validation="Cole–Hopf solution, to 1e-10; fourth order in time",
    source="Burgers (1948)",
    initial=FourierSeries(modes=4, rms=(0.4, 0.8), decay=1.0, corner=2.0, mean=0.5),
    linear=diffusion("viscosity"),
    nonlinear=_flux(0.5),
    parameters={"viscosity": Parameter(4e-3, 2e-2, "viscosity", log=True, minimum=0.0)},
    invariants=("mean of u",),
)

BURGERS_2D = SemilinearEquation(
    name="burgers_2d",
    title="Viscous Burgers equation in two dimensions",
    formula="u_t + (u · ∇) u = ν Δu",
    fields=("velocity_x", "velocity_y"),
    lengths=(1.0, 1.0),
    resolution=(64, 64),
    dt=0.02,
    frames=51,
    solver_step=5e-3,
    validation="Cole–Hopf solution of a potential flow, to 1e-8; fourth order in time",
    initial=FourierSeries(modes=4, rms=(0.2, 0.4), decay=1.0, corner=2.0, mean=0.25, components=2),
    linear=diffusion("viscosity"),
    nonlinear=_advection_by_itself,
    parameters={"viscosity": Parameter(8e-3, 4e-2, "viscosity", log=True, minimum=0.0)},
)

BURGERS_3D = replace(
    BURGERS_2D,
    name="burgers_3d",
    title="Viscous Burgers equation in three dimensions",
    fields=("velocity_x", "velocity_y", "velocity_z"),
    lengths=(1.0, 1.0, 1.0),
    resolution=(32, 32, 32),
    boundary=(),
    dt=0.04,
    frames=21,
    solver_step=8e-3,
    validation="Cole–Hopf solution of a potential flow, to 1e-7; planes evolve as in 2D and carry "
    "the velocity across them, to 1e-12; fourth order in time",
    initial=FourierSeries(modes=3, rms=(0.2, 0.4), decay=1.0, corner=2.0, mean=0.25, components=3),
    nonlinear=_advection_by_itself_3d,
    parameters={"viscosity": Parameter(1.5e-2, 5e-2, "viscosity", log=True, minimum=0.0)},
)

BURGERS_STEEP_2D = replace(
    BURGERS_2D,
    name="burgers_steep_2d",
    title="Viscous Burgers equation in two dimensions, with steep fronts",
    subsample=4,
    dt=0.025,
    frames=21,
    solver_step=2.5e-3,
    initial=PeakedSeries(modes=4, peak=1.5, mean=1.0, components=2),
    parameters={"viscosity": Parameter(5e-3, 5e-3, "viscosity", log=True, minimum=0.0)},
    source="DyMixOp's Burgers set (Lai et al. 2025), there solved on its 64 × 64 points",
)

KURAMOTO_SIVASHINSKY_1D = SemilinearEquation(
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
    validation="growth and decay of small waves, to 1e-7 of them; fourth order in time",
    lyapunov_time=12.3,  # rate 0.081 ± 0.004: twins over 8 trajectories of length 2900
    source="Kuramoto (1978), Sivashinsky (1977)",
    initial=FourierSeries(modes=8, rms=(0.5, 1.0)),
    linear=lambda s, p: s.k2 - s.k2**2,
    nonlinear=_flux(0.5),
    invariants=("mean of u",),
)

KORTEWEG_DE_VRIES_1D = SemilinearEquation(
    name="korteweg_de_vries_1d",
    title="Korteweg–de Vries equation",
    formula="u_t + 6 u u_x + u_xxx = 0",
    fields=("u",),
    lengths=(64.0,),
    resolution=(256,),
    dt=0.1,
    frames=101,
    solver_step=5e-3,
    validation="soliton, to 1e-7; momentum kept to 1e-7, energy to 1e-5",
    source="Korteweg & de Vries (1895)",
    initial=FourierSeries(modes=6, rms=(0.2, 0.4)),
    linear=lambda s, p: 1j * s.k[0] ** 3,
    nonlinear=_flux(3.0),
    invariants=("mean of u", "mean of u²", "mean of u³ − u_x² / 2"),
)

HEAT_DRIVEN_1D = DrivenHeat(
    name="heat_driven_1d",
    title="Driven heat equation",
    formula="u_t = ν u_xx + q(x, t), q = Σ_m a_m(x) cos(m ω t) + b_m(x) sin(m ω t)",
    fields=("u", "forcing"),
    prescribed=("forcing",),
    lengths=(1.0,),
    resolution=(64,),
    dt=0.05,
    frames=41,
    harmonics=3,
    validation="u_t against differences in time, to 1e-5; a single mode, to 1e-12",
    initial=FourierSeries(modes=4, rms=(0.2, 0.5)),
    driver=FourierSeries(modes=4, rms=(0.5, 1.0), mean=0.5, components=6),
    parameters={
        "diffusivity": _DIFFUSIVITY,
        "frequency": Parameter(1.5, 3.0, "frequency ω of the slowest part of the source"),
    },
)

EQUATIONS = (
    HEAT_1D,
    HEAT_2D,
    HEAT_DRIVEN_1D,
    ADVECTION_1D,
    ADVECTION_DIFFUSION_2D,
    ADVECTION_DIFFUSION_3D,
    BURGERS_1D,
    BURGERS_2D,
    BURGERS_3D,
    BURGERS_STEEP_2D,
    KURAMOTO_SIVASHINSKY_1D,
    KORTEWEG_DE_VRIES_1D,
)
