"""The compressible Euler equations of an ideal gas, and the datasets made from them.

The families follow the names and kinds of initial states of Poseidon (Herde et al. 2024, arXiv
2405.19101); what is known to be our own choice is said with each. Positions are in units of the
box.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ..fields.grid import Grid
from ..solvers.finite_volume import FiniteVolume, with_ghosts
from ..solvers.riemann import Euler
from .equation import Parameter, Parameters
from .hyperbolic import HyperbolicEquation
from .initial import FourierSeries

_SOLVER = "MUSCL–Hancock finite volumes, HLLC, monotonised central slopes, positivity repair"
_FORMULA = "ρ_t + ∇·(ρv) = 0, (ρv)_t + ∇·(ρ v⊗v) + ∇p = 0, E_t + ∇·((E + p) v) = 0"
_VALIDATION = (
    "five exact Riemann solutions, mean error of ρ 0.1 to 0.6 % of its range on 400 cells; "
    "isentropic vortex, second order, 5e-4 on 64 × 64; mass, momentum and energy to 1e-13"
)


@dataclass(frozen=True, kw_only=True)
class GasEquation(HyperbolicEquation):
    """Flow of an ideal gas, E = p/(γ−1) + ρ|v|²/2, with gravity where a potential is given.

    Fields are density, velocity and pressure, and the total energy per volume if `energy` is among
    them. A constant field `potential` exerts the force −ρ∇φ.
    """

    formula: str = _FORMULA
    solver: str = _SOLVER
    validation: str = _VALIDATION

    def system(self, parameters: Parameters) -> Euler:
        """The Euler equations with the parameter γ."""
        return Euler(parameters["gamma"])

    def scheme(self, parameters: Parameters, constants: Tensor | None, grid: Grid) -> FiniteVolume:
        """The solver, with gravity if the equation has a potential."""
        potential = None
        if self.constant_fields:
            assert constants is not None
            potential = with_ghosts(constants[:, :1])
        system = self.system(parameters)
        return FiniteVolume(system, grid.spacing, grid.boundary, potential)

    def observe(
        self, w: Float[Tensor, "B V *S"], parameters: Parameters, grid: Grid
    ) -> Float[Tensor, "B C *S"]:
        """Primitive states, with the energy if it is a field."""
        if "energy" not in self.fields:
            return w
        return torch.cat((w, self.system(parameters).conserved(w)[:, -1:]), 1)


# --------------------------------------------------------------------------- initial states


def _positions(grid: Grid) -> list[Tensor]:
    """Cell centres per axis in units of the box, 0 to 1, broadcastable over *S."""
    centres = [
        (x - x[0] + step / 2) / length
        for x, step, length in zip(grid.coordinates(), grid.spacing, grid.lengths, strict=True)
    ]
    return list(torch.meshgrid(*centres, indexing="ij"))


def _uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    draw = torch.rand(shape, generator=generator, dtype=torch.float64)
    return low + (high - low) * draw


def _random_states(generator: torch.Generator, ndim: int, count: int) -> Tensor:
    """(ρ, v, p) of `count` constant states: ρ and p in [0.1, 1], velocities in [−1, 1]."""
    draw = _uniform(generator, -1.0, 1.0, ndim + 2, count)
    draw[[0, -1]] = 0.55 + 0.45 * draw[[0, -1]]
    return draw


def shock_tubes(generator: torch.Generator, grid: Grid) -> Float[Tensor, "V n"]:
    """Two to four constant states, with interfaces at random places in the middle 80 %."""
    interfaces = _uniform(generator, 0.1, 0.9, 3)
    interfaces[int(torch.randint(1, 4, (), generator=generator)) :] = math.inf
    states = _random_states(generator, 1, 4)
    (x,) = _positions(grid)
    return states[:, (x[:, None] > interfaces).sum(1)]


def quadrants(generator: torch.Generator, grid: Grid) -> Float[Tensor, "V *S"]:
    """One constant state in each quadrant."""
    x, y = _positions(grid)
    return _random_states(generator, 2, 4)[:, 2 * (x >= 0.5).long() + (y >= 0.5).long()]


_DISPLACEMENT = FourierSeries(modes=3, rms=(0.05, 0.15), decay=2.0, components=2)


def curved_quadrants(generator: torch.Generator, grid: Grid) -> Float[Tensor, "V *S"]:
    """One constant state in each of four regions with wavy borders.

    They are the quadrants of (x, y) + σ(x, y) on the torus, σ two Fourier series of up to 3 periods
    with an RMS in [0.05, 0.15].
    """
    bent = torch.stack(_positions(grid)) + _DISPLACEMENT(generator, grid)
    i, j = ((bent % 1) >= 0.5).long()
    return _random_states(generator, 2, 4)[:, 2 * i + j]


def shear_layers(generator: torch.Generator, grid: Grid) -> Float[Tensor, "V *S"]:
    """A dense stripe against a light stream, p = 2.5, its borders perturbed in 10 modes.

    (ρ, v_x) is (2, −0.5) between y = 0.25 + σ₀(x) and 0.75 + σ₁(x), else (1, 0.5); σ_i =
    ε Σ_j a_j cos(2π j (x + b_j)), ε = 0.05, a_j ≥ 0 of sum 1.
    """
    x, y = _positions(grid)
    low, high = (_wavy(generator, x, 10) * 0.05 for _ in range(2))
    inside = (y > 0.25 + low) & (y < 0.75 + high)
    states = torch.tensor([[1.0, 0.5, 0.0, 2.5], [2.0, -0.5, 0.0, 2.5]], dtype=torch.float64)
    return states.T[:, inside.long()]


def _wavy(generator: torch.Generator, x: Tensor, modes: int) -> Tensor:
    """Σ_j a_j cos(2π j (x + b_j)) with random a_j ≥ 0 of sum 1 and b_j in [0, 1]."""
    weight, shift = _uniform(generator, 0.0, 1.0, 2, modes, *(1,) * x.ndim)
    j = torch.arange(1, modes + 1, dtype=torch.float64).reshape(weight.shape)
    return (weight / weight.sum() * torch.cos(2 * math.pi * j * (x + shift))).sum(0)


def gaussian_vortices(generator: torch.Generator, grid: Grid) -> Float[Tensor, "V *S"]:
    """The velocity of 100 Gaussian vortices in gas at rest, ρ = 0.1, p = 2.5.

    ω = Σ α/s exp(−r²/2s²), α in [−1, 1], s in [0.01, 0.1], on the torus; v is divergence-free.
    """
    alpha, width, x0, y0 = _uniform(generator, 0.0, 1.0, 4, 100)
    alpha, width = 2 * alpha - 1, 0.01 + 0.09 * width
    # Each vortex is added mode by mode: exact on the torus, whatever the grid.
    kx, ky = (torch.fft.fftfreq(n, 1 / n, dtype=torch.float64) * 2 * math.pi for n in grid.shape)
    gauss_x = torch.exp(-0.5 * (kx * width[:, None]) ** 2) * torch.exp(-1j * kx * x0[:, None])
    gauss_y = torch.exp(-0.5 * (ky * width[:, None]) ** 2) * torch.exp(-1j * ky * y0[:, None])
    strength = (2 * math.pi * alpha * width).to(gauss_x.dtype)
    vorticity = torch.einsum("v,vi,vj->ij", strength, gauss_x, gauss_y)
    k2 = (kx[:, None] ** 2 + ky**2).clamp(min=1e-12)
    stream = vorticity / k2
    stream[0, 0] = 0
    velocity = torch.stack((1j * ky * stream, -1j * kx[:, None] * stream))
    # Modes are about x = 0; the first cell centre is half a cell further.
    half = torch.exp(0.5j * (kx[:, None] / grid.shape[0] + ky / grid.shape[1]))
    v = torch.fft.ifft2(velocity * half, norm="forward").real
    rest = torch.ones(1, *grid.shape, dtype=torch.float64)
    return torch.cat((0.1 * rest, v, 2.5 * rest))


def imploding_disc(generator: torch.Generator, grid: Grid) -> Float[Tensor, "V *S"]:
    """A blast inside a dense, wavy disc: p = 20 for r < 0.1, else 1; ρ = 2 for r < I(θ), else 1.

    I = 0.25 + 0.02 Σ_j a_j cos(j θ + b_j), 10 modes; gas at rest.
    """
    x, y = (position - 0.5 for position in _positions(grid))
    r, angle = torch.hypot(x, y), torch.atan2(y, x) / (2 * math.pi)
    border = 0.25 + 0.02 * _wavy(generator, angle, 10)
    density = 1 + (r < border).double()
    pressure = 1 + 19 * (r < 0.1).double()
    return torch.stack((density, 0 * x, 0 * x, pressure))


@dataclass(frozen=True)
class Star:
    """A polytropic star with a heavy shell on a light core, at rest in its own gravity.

    The core is p = K ρ², ρ = sin(r)/r with K = 1 in the potential φ = −2 sin(r)/r (4πG = 2), after
    Käppeli & Mishra (2014). Outside the radius r₀ = 0.25 the gas is denser by a factor (1 + A)/(1 −
    A) at equal pressure, hydrostatic in the same potential. The border between the two is r₀ (1 +
    0.1 Σ_j a_j cos(jθ + b_j)), 10 modes, A in `contrast`.
    """

    radius: float = 0.25
    contrast: tuple[float, float] = (0.1, 0.3)

    def __call__(self, generator: torch.Generator, grid: Grid) -> Float[Tensor, "V *S"]:
        """Initial states, about the centre of the box."""
        contrast = _uniform(generator, *self.contrast, 1)
        r, angle = self._polar(grid)
        border = self.radius * (1 + 0.1 * _wavy(generator, angle, 10))
        factor = (1 + contrast) / (1 - contrast)
        core = torch.sinc(r / math.pi)
        edge = math.sin(self.radius) / self.radius
        shell = factor * edge + factor**2 * (core - edge)
        density = torch.where(r < border, core, shell)
        pressure = torch.where(r < self.radius, core**2, shell**2 / factor**2)
        return torch.stack((density, 0 * r, 0 * r, pressure))

    def potential(self, generator: torch.Generator, grid: Grid) -> Float[Tensor, "1 *S"]:
        """The gravitational potential, of which nothing is random."""
        r, _ = self._polar(grid)
        return -2 * torch.sinc(r / math.pi)[None]

    @staticmethod
    def _polar(grid: Grid) -> tuple[Tensor, Tensor]:
        x, y = (
            (position - 0.5) * length
            for position, length in zip(_positions(grid), grid.lengths, strict=True)
        )
        return torch.hypot(x, y), torch.atan2(y, x) / (2 * math.pi)


# --------------------------------------------------------------------------------- equations

_GAMMA = {"gamma": Parameter(1.4, 1.4, "ratio of specific heats γ", minimum=1.01, maximum=10.0)}
_FLOW = ("density", "velocity_x", "velocity_y", "pressure")
_POSEIDON = "after Poseidon (arXiv 2405.19101), "
_KEPT = ("mass", "momentum", "energy")


EULER_1D = GasEquation(
    name="euler_1d",
    title="Shock tubes",
    fields=("density", "velocity_x", "pressure"),
    lengths=(1.0,),
    resolution=(256,),
    boundary=("open",),
    subsample=2,
    dt=0.01,
    frames=41,
    initial=shock_tubes,
    parameters=_GAMMA,
    source="after the shock tubes of PDEBench (arXiv 2210.07182), without viscosity",
)

EULER_RIEMANN_2D = GasEquation(
    name="euler_riemann_2d",
    title="Four-quadrant Riemann problems",
    fields=_FLOW,
    lengths=(1.0, 1.0),
    resolution=(64, 64),
    subsample=2,
    dt=0.05,
    frames=21,
    initial=quadrants,
    parameters=_GAMMA,
    invariants=_KEPT,
    source=_POSEIDON + "CE-RP",
)

EULER_CURVED_RIEMANN_2D = replace(
    EULER_RIEMANN_2D,
    name="euler_curved_riemann_2d",
    title="Riemann problems with curved borders",
    fields=(*_FLOW, "energy"),
    initial=curved_quadrants,
    source=_POSEIDON + "CE-CRP; spectrum of the borders our own",
)

KELVIN_HELMHOLTZ_2D = replace(
    EULER_RIEMANN_2D,
    name="kelvin_helmholtz_2d",
    title="Kelvin–Helmholtz instability",
    initial=shear_layers,
    source=_POSEIDON + "CE-KH",
)

EULER_GAUSSIANS_2D = replace(
    EULER_RIEMANN_2D,
    name="euler_gaussians_2d",
    title="Gaussian vortices in a gas",
    initial=gaussian_vortices,
    source=_POSEIDON + "CE-Gauss",
)

RICHTMYER_MESHKOV_2D = replace(
    EULER_RIEMANN_2D,
    name="richtmyer_meshkov_2d",
    title="Richtmyer–Meshkov instability",
    dt=0.1,
    initial=imploding_disc,
    source=_POSEIDON + "CE-RM; amplitude of the border our own",
)

_STAR = Star()
RAYLEIGH_TAYLOR_2D = replace(
    EULER_RIEMANN_2D,
    name="rayleigh_taylor_2d",
    title="Rayleigh–Taylor instability in a star",
    formula=_FORMULA.replace("∇p = 0", "∇p = −ρ∇φ").replace(
        "(E + p) v) = 0", "(E + p) v) = −ρv·∇φ"
    ),
    constant_fields=("potential",),
    boundary=("open", "open"),
    dt=0.5,
    frames=11,
    initial=_STAR,
    constants=_STAR.potential,
    parameters={"gamma": Parameter(2.0, 2.0, "ratio of specific heats γ", minimum=1.01)},
    invariants=(),
    solver=_SOLVER + ", well-balanced gravity",
    validation=_VALIDATION + "; a star at rest, to 1e-10",
    source=_POSEIDON + "GCE-RT; amplitudes and contrast our own",
)

EQUATIONS = (
    EULER_1D,
    EULER_RIEMANN_2D,
    EULER_CURVED_RIEMANN_2D,
    KELVIN_HELMHOLTZ_2D,
    EULER_GAUSSIANS_2D,
    RICHTMYER_MESHKOV_2D,
    RAYLEIGH_TAYLOR_2D,
)
