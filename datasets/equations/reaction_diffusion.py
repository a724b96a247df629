"""Reaction–diffusion equations: u_t = D Δu + R(u), one diffusivity per substance.

R acts at every point, so it couples modes without derivatives: the states, which diffusion keeps
smooth, are not dealiased (Fourier collocation).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..fields.grid import Grid
from ..solvers.etdrk import Multiplied, Spectral, Term, parts
from .equation import Draw, Parameter, Parameters
from .initial import Around, FourierSeries, Rescaled, Spots, WhiteNoise
from .response import RandomForcing, ResponseEquation
from .semilinear import SemilinearEquation, constant

_SOLVER = "ETDRK4, Fourier collocation"


# Only products are formed at points; what is linear needs no transform.

_Bind = Callable[[Spectral, Parameters], Term]


def _linear(
    *rates: Callable[[Parameters], Tensor | float],
) -> Callable[[Spectral, Parameters], Tensor]:
    """Symbols r_c − D_c |k|² of the substances c = u, v, D_c being `diffusivity_c`."""

    def symbol(s: Spectral, p: Parameters) -> Tensor:
        substances = zip("uv", rates, strict=True)
        return torch.cat([rate(p) - p[f"diffusivity_{c}"] * s.k2 for c, rate in substances], 1)

    return symbol


# ------------------------------------------------------------------------------ the reactions


def _power(power_: Callable[[Tensor], Tensor], factor: Callable[[Parameters], Tensor]) -> _Bind:
    """N(u) = factor · power_(u), which may change u in place."""
    return lambda s, p: Multiplied(lambda v: s.forward(power_(s.inverse(v))), factor(p))


def _brusselator(s: Spectral, p: Parameters) -> Term:
    """(a + u² v, b u − u² v); L has −(1 + b) u."""

    def term(w: Tensor) -> Tensor:
        u, v = s.inverse(w).split(1, 1)
        product = s.forward((u * u).mul_(v))
        spectra = torch.cat((product, -product), 1)
        spectra[:, 1:].addcmul_(p["b"].to(w.dtype), w[:, :1])
        return constant(s, spectra, p["a"])

    return term


# Of a pair of terms that are p and −p plus what is linear, the sign is a factor: then both come
# from p in one operation.
_PLUS_MINUS = torch.tensor([1.0, -1.0], dtype=torch.float64).reshape(1, 2, 1, 1)


def _gray_scott(s: Spectral, p: Parameters) -> Term:
    """(−u v² + F (1 − u), u v² − (F + k) v)."""
    rates = torch.cat((p["feed"], -p["feed"] - p["kill"]), 1)

    def term(w: Tensor) -> Tensor:
        u, v = map(s.inverse, w.split(1, 1))  # one by one they stay in the cache
        product = s.forward((v * v).mul_(u))
        spectra = torch.addcmul(parts(product), rates, parts(w)).view(w.dtype)
        return constant(s, spectra, -p["feed"])

    return Multiplied(term, -_PLUS_MINUS)


def _fitzhugh_nagumo(s: Spectral, p: Parameters) -> Term:
    """(−u³ − k − v, u); L has u and −v."""

    def term(w: Tensor) -> Tensor:
        spectra = w.flip(1)
        spectra[:, :1].add_(s.forward(s.inverse(w[:, :1]).pow_(3)))
        return constant(s, spectra, p["k"])

    return Multiplied(term, -_PLUS_MINUS)


# ------------------------------------------------------------------------------ classes


@dataclass(frozen=True, kw_only=True)
class RegimeEquation(SemilinearEquation):
    """An equation whose parameters are drawn together, from a list of regimes.

    Attributes:
        regimes: parameters by name, by name of the regime. One within the parameters' ranges is
            drawn for each trajectory; if there is none, parameters are drawn independently.
    """

    regimes: Mapping[str, Mapping[str, float]]

    def draw(self, generator: torch.Generator, grid: Grid) -> Draw:
        """As `Equation.draw`, with the parameters of one regime."""
        draw = super().draw(generator, grid)
        inside = [
            regime
            for regime in self.regimes.values()
            if all(
                p.low <= regime.get(name, p.low) <= p.high for name, p in self.parameters.items()
            )
        ]
        if not inside:
            return draw
        chosen = inside[int(torch.randint(len(inside), (), generator=generator))]
        return draw._replace(parameters={**draw.parameters, **chosen})


# -------------------------------------------------------------------------------- equations

_BRUSSELATOR = {
    "diffusivity_u": Parameter(1.0, 1.0, "diffusivity of u", minimum=0.0),
    "diffusivity_v": Parameter(0.5, 0.5, "diffusivity of v", minimum=0.0),
    "a": Parameter(1.0, 1.0, "supply a of u", minimum=0.0),
    "b": Parameter(1.5, 3.0, "conversion b of u into v; oscillates above 1 + a²", minimum=0.0),
}

BRUSSELATOR_2D = SemilinearEquation(
    name="brusselator_2d",
    title="Brusselator",
    formula="u_t = D_u Δu + a − (1 + b) u + u² v, v_t = D_v Δv + b u − u² v",
    fields=("u", "v"),
    lengths=(32.0, 32.0),
    resolution=(64, 64),
    dt=0.5,
    frames=39,
    solver_step=0.05,
    initial=Around((1.0, 2.0), FourierSeries(modes=8, rms=(0.1, 0.3), components=2)),
    linear=_linear(lambda p: -1 - p["b"], lambda p: 0.0),
    nonlinear=_brusselator,
    parameters=_BRUSSELATOR,
    dealias=False,
    solver=_SOLVER,
    source="Prigogine & Lefever (1968)",
    validation="waves about the equilibrium, to 1e-5 of them; fourth order in time",
)

BRUSSELATOR_3D = replace(
    BRUSSELATOR_2D,
    name="brusselator_3d",
    title="Brusselator in three dimensions",
    lengths=(16.0, 16.0, 16.0),
    resolution=(32, 32, 32),
    boundary=(),
    frames=21,
    initial=Around((1.0, 2.0), FourierSeries(modes=4, rms=(0.1, 0.3), components=2)),
    validation="planes evolve as in 2D, to 1e-12; fourth order in time",
)

BRUSSELATOR_RESPONSE_3D = ResponseEquation(
    name="brusselator_response_3d",
    title="Response of the Brusselator to a forcing, in space–time (t, x, y)",
    formula="u_t = D_u Δu + a + f(t) − (1 + b) u + u² v, v_t = D_v Δv + b u − u² v: from f to u",
    fields=("u",),
    constant_fields=("source",),
    lengths=(19.5, 28.0, 28.0),
    resolution=(39, 28, 28),
    boundary=("open", "periodic", "periodic"),
    steady=True,
    constants=RandomForcing(modes=8, rms=(0.05, 0.5)),
    flow=replace(BRUSSELATOR_2D, name="brusselator_flow_2d"),
    start=Around((1.0, 2.0), FourierSeries(modes=4, rms=(0.3, 0.3), components=2)),
    parameters={**_BRUSSELATOR, "b": replace(_BRUSSELATOR["b"], low=3.0, high=3.0)},
    solver=_SOLVER,
    step_control="0.05 in time",
    source="size and times of the DyMixOp benchmark (Lai et al. 2025), after the Laplace neural "
    "operator (Cao et al. 2023); their forcing is not published",
    validation="closed response of the linear case, to 1e-7",
)

GRAY_SCOTT_2D = RegimeEquation(
    name="gray_scott_2d",
    title="Gray–Scott equations",
    formula="u_t = D_u Δu − u v² + F (1 − u), v_t = D_v Δv + u v² − (F + k) v",
    fields=("u", "v"),
    lengths=(2.0, 2.0),
    resolution=(128, 128),
    subsample=2,
    dt=20.0,
    frames=101,
    solver_step=4.0,
    initial=Spots(count=(10, 30), radius=(0.02, 0.05)),
    linear=_linear(lambda p: 0.0, lambda p: 0.0),
    nonlinear=_gray_scott,
    parameters={
        "diffusivity_u": Parameter(2e-5, 2e-5, "diffusivity of u", minimum=0.0),
        "diffusivity_v": Parameter(1e-5, 1e-5, "diffusivity of v", minimum=0.0),
        "feed": Parameter(0.014, 0.098, "feed rate F", minimum=0.0),
        "kill": Parameter(0.051, 0.065, "kill rate k", minimum=0.0),
    },
    regimes={
        "gliders": {"feed": 0.014, "kill": 0.054},
        "bubbles": {"feed": 0.098, "kill": 0.057},
        "maze": {"feed": 0.029, "kill": 0.057},
        "worms": {"feed": 0.058, "kill": 0.065},
        "spirals": {"feed": 0.018, "kill": 0.051},
        "spots": {"feed": 0.03, "kill": 0.062},
    },
    dealias=False,
    solver=_SOLVER,
    source="Pearson (1993); regimes, diffusivities and box of The Well (Ohana et al. 2024)",
    validation="relaxation without catalyst, to 1e-6; fourth order in time",
)

FITZHUGH_NAGUMO_2D = SemilinearEquation(
    name="fitzhugh_nagumo_2d",
    title="FitzHugh–Nagumo equations between walls",
    formula="u_t = D_u Δu + u − u³ − k − v, v_t = D_v Δv + u − v",
    fields=("u", "v"),
    lengths=(2.0, 2.0),
    resolution=(128, 128),
    boundary=("wall", "wall"),
    cell_centred=True,
    dt=0.05,
    frames=101,
    solver_step=0.0125,
    initial=WhiteNoise(1.0, components=2),
    linear=_linear(lambda p: 1.0, lambda p: -1.0),
    nonlinear=_fitzhugh_nagumo,
    parameters={
        "diffusivity_u": Parameter(1e-3, 1e-3, "diffusivity of u", minimum=0.0),
        "diffusivity_v": Parameter(5e-3, 5e-3, "diffusivity of v", minimum=0.0),
        "k": Parameter(5e-3, 5e-3, "threshold k"),
    },
    dealias=False,
    solver="ETDRK4, cosine collocation (even continuation at the walls)",
    source="PDEBench's 2D diffusion–reaction (Takamoto et al. 2022)",
    validation="cosine waves between walls, to 1e-7 of them; fourth order in time",
)

ALLEN_CAHN_1D = SemilinearEquation(
    name="allen_cahn_1d",
    title="Allen–Cahn equation",
    formula="u_t = ε² u_xx + u − u³, ε² the diffusivity",
    fields=("u",),
    lengths=(1.0,),
    resolution=(256,),
    dt=0.25,
    frames=41,
    solver_step=0.05,
    initial=FourierSeries(modes=16, rms=(0.1, 0.5), decay=1.0, corner=4.0),
    linear=lambda s, p: 1 - p["diffusivity"] * s.k2,
    nonlinear=_power(lambda u: u.pow_(3), lambda p: -torch.ones_like(p["diffusivity"])),
    parameters={
        "diffusivity": Parameter(5e-5, 5e-4, "squared interface width ε²", log=True, minimum=0.0)
    },
    dealias=False,
    solver=_SOLVER,
    source="Allen & Cahn (1979)",
    validation="homogeneous states, to 1e-6; kinks at rest, to 1e-4; falling free energy",
)

ALLEN_CAHN_2D = replace(
    ALLEN_CAHN_1D,
    name="allen_cahn_2d",
    title="Allen–Cahn equation in two dimensions",
    formula="u_t = ε² Δu + u − u³, ε² the diffusivity",
    lengths=(1.0, 1.0),
    resolution=(128, 128),
    boundary=(),
    subsample=2,
    dt=0.5,
    frames=20,
    initial=FourierSeries(modes=24, rms=(0.05, 0.3), decay=1.5, corner=2.0),
    parameters={
        "diffusivity": Parameter(
            1 / 220**2, 1 / 220**2, "squared interface width ε²", log=True, minimum=0.0
        )
    },
    source="Poseidon's ACE (Herde et al. 2024), with time in units of its 1/ε²",
    validation="homogeneous states, to 1e-6; kinks at rest, to 1e-4",
)

ALLEN_CAHN_3D = replace(
    ALLEN_CAHN_1D,
    name="allen_cahn_3d",
    title="Allen–Cahn equation in three dimensions",
    formula="u_t = ε² Δu + u − u³, ε² the diffusivity",
    lengths=(1.0, 1.0, 1.0),
    resolution=(32, 32, 32),
    boundary=(),
    frames=21,
    initial=FourierSeries(modes=6, rms=(0.1, 0.5), decay=1.0, corner=2.0),
    parameters={
        "diffusivity": Parameter(5e-4, 2e-3, "squared interface width ε²", log=True, minimum=0.0)
    },
    validation="homogeneous states, to 1e-6; planes evolve as in 1D",
)

FISHER_1D = SemilinearEquation(
    name="fisher_1d",
    title="Fisher's equation (KPP)",
    formula="u_t = ν u_xx + ρ u (1 − u)",
    fields=("u",),
    lengths=(1.0,),
    resolution=(256,),
    dt=0.01,
    frames=101,
    solver_step=0.01,
    initial=Rescaled(FourierSeries(modes=8, rms=(1.0, 1.0)), 0.0, 1.0),
    linear=lambda s, p: p["rate"] - p["diffusivity"] * s.k2,
    nonlinear=_power(torch.square_, lambda p: -p["rate"]),
    parameters={
        "diffusivity": Parameter(5e-4, 5e-3, "diffusivity ν", log=True, minimum=0.0),
        "rate": Parameter(1.0, 10.0, "growth rate ρ", log=True, minimum=0.0),
    },
    dealias=False,
    solver=_SOLVER,
    source="PDEBench's 1D reaction–diffusion (Takamoto et al. 2022); its diffusivities 0.5 to 5 "
    "leave little but the mean",
    validation="travelling front of Ablowitz & Zeppetella (1979), to 2e-6; fourth order in time",
)

FISHER_2D = replace(
    FISHER_1D,
    name="fisher_2d",
    title="Fisher's equation (KPP) in two dimensions",
    formula="u_t = ν Δu + ρ u (1 − u)",
    lengths=(1.0, 1.0),
    resolution=(64, 64),
    boundary=(),
    dt=0.02,
    frames=51,
    validation="planes evolve as in 1D, to 1e-12; fourth order in time",
)

FISHER_3D = replace(
    FISHER_2D,
    name="fisher_3d",
    title="Fisher's equation (KPP) in three dimensions",
    lengths=(1.0, 1.0, 1.0),
    resolution=(32, 32, 32),
    boundary=(),
    dt=0.04,
    frames=21,
    initial=Rescaled(FourierSeries(modes=4, rms=(1.0, 1.0)), 0.0, 1.0),
    parameters={
        "diffusivity": Parameter(1e-3, 5e-3, "diffusivity ν", log=True, minimum=0.0),
        "rate": Parameter(1.0, 10.0, "growth rate ρ", log=True, minimum=0.0),
    },
    validation="planes evolve as in 2D, to 1e-12",
)

EQUATIONS = (
    BRUSSELATOR_2D,
    BRUSSELATOR_3D,
    BRUSSELATOR_RESPONSE_3D,
    GRAY_SCOTT_2D,
    FITZHUGH_NAGUMO_2D,
    ALLEN_CAHN_1D,
    ALLEN_CAHN_2D,
    ALLEN_CAHN_3D,
    FISHER_1D,
    FISHER_2D,
    FISHER_3D,
)
