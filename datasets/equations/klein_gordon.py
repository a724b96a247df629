"""Nonlinear wave equations u_tt = c² Δu − V'(u): Klein–Gordon and sine–Gordon.

The fields are u and its rate u_t. Space is periodic, by Fourier collocation; time by a symplectic
splitting of fourth order: free waves exactly, the force V' as kicks (Suzuki's five-fold composition
of Strang's). Energy oscillates about its value and does not drift.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ..fields.grid import Grid
from ..solvers.etdrk import Spectral
from ..solvers.splitting import Splitting
from .equation import Equation, Parameter, Parameters, Problem
from .initial import FourierSeries


@dataclass(frozen=True, kw_only=True)
class NonlinearWaveEquation(Equation):
    """u_tt = c² Δu + F(u) on a periodic box; c is the parameter `speed`.

    Attributes:
        force: (u, parameters) → F at every point.
    """

    force: Callable[[Tensor, Parameters], Tensor]
    solver: str = "Fourier collocation, symplectic splitting of fourth order"

    def march(self, problem: Problem) -> Splitting:
        """As `Equation.march`; steps between frames are equal and no longer than `solver_step`."""
        grid, initial = problem.grid, problem.initial
        spectral = Spectral(grid.shape, grid.lengths, initial.dtype, initial.device)
        values = {k: p.to(initial) for k, p in self.broadcast(problem.parameters).items()}
        frequency = values["speed"] * spectral.k2.sqrt()
        largest = self.largest_step(problem)
        return Splitting(initial, frequency, lambda u: self.force(u, values), largest, spectral)


# ------------------------------------------------------------------------------ the problems


@dataclass(frozen=True)
class Breathers:
    """A sum of moving breathers of the sine–Gordon equation with c = m = 1, and their rates.

    4 arctan((ε / ω) sin(ωτ + φ) / cosh(εξ)), ε = √(1 − ω²), ξ = γ (x − x₀ − v t),
    τ = γ (t − v (x − x₀)), γ = 1 / √(1 − v²).

    Attributes:
        count: smallest and largest number.
        frequency: range of ω.
        speed: largest |v|.
    """

    count: tuple[int, int]
    frequency: tuple[float, float]
    speed: float

    def __str__(self) -> str:
        return f"{self.count[0]} to {self.count[1]} moving breathers"

    def __call__(self, generator: torch.Generator, grid: Grid) -> Float[Tensor, "2 n"]:
        """One state in double precision."""
        (x,), (length,) = grid.coordinates(), grid.lengths
        total = torch.zeros(2, len(x), dtype=torch.float64)
        low, high = self.count
        for _ in range(int(torch.randint(low, high + 1, (), generator=generator))):
            draws = torch.rand(4, generator=generator, dtype=torch.float64)
            low_w, high_w = self.frequency
            omega = low_w + (high_w - low_w) * draws[0]
            v = self.speed * (2 * draws[1] - 1)
            offset = x / length - draws[2]
            distance = (offset - offset.round()) * length
            total += breather(distance, omega, v, 2 * math.pi * draws[3])
        return total


def breather(
    x: Float[Tensor, " n"], omega: Tensor | float, v: Tensor | float, phase: Tensor | float
) -> Float[Tensor, "2 n"]:
    """A breather and its rate at time 0; see `Breathers`. At time t: phase + γ ω t at x − v t."""
    omega, v = torch.as_tensor(omega).double(), torch.as_tensor(v).double()
    width, boost = (1 - omega**2).sqrt(), 1 / (1 - v**2).sqrt()
    angle = phase - omega * boost * v * x
    envelope = 1 / torch.cosh(width * boost * x)
    g = width / omega * angle.sin() * envelope
    drift = width * v * torch.tanh(width * boost * x) * angle.sin()
    rate = width / omega * envelope * boost * (omega * angle.cos() + drift)
    return torch.stack((4 * g.arctan(), 4 * rate / (1 + g**2)))


_SPEED = Parameter(1.0, 1.0, "wave speed c", minimum=0.0)

KLEIN_GORDON_1D = NonlinearWaveEquation(
    name="klein_gordon_1d",
    title="Nonlinear Klein–Gordon equation",
    formula="u_tt = c² u_xx − m² u − λ u³",
    fields=("u", "u_t"),
    lengths=(16.0,),
    resolution=(256,),
    dt=0.1,
    frames=101,
    solver_step=0.05,
    initial=FourierSeries(modes=8, rms=(0.5, 1.5), decay=2.0, corner=2.0, components=2),
    force=lambda u, p: -p["mass_squared"] * u - p["coupling"] * u**3,
    parameters={
        "speed": _SPEED,
        "mass_squared": Parameter(0.5, 2.0, "squared mass m²"),
        "coupling": Parameter(0.5, 2.0, "coupling λ", minimum=0.0),
    },
    invariants=("energy ½ u_t² + ½ c² |∇u|² + ½ m² u² + ¼ λ u⁴", "momentum u_t ∇u"),
    validation="kinks (m² < 0) at rest and moving, to 1e-7; free waves exactly; fourth order in "
    "time; energy without drift",
    source="Strauss & Vázquez (1978)",
)

KLEIN_GORDON_2D = replace(
    KLEIN_GORDON_1D,
    name="klein_gordon_2d",
    title="Nonlinear Klein–Gordon equation in two dimensions",
    formula="u_tt = c² Δu − m² u − λ u³",
    lengths=(16.0, 16.0),
    resolution=(64, 64),
    boundary=(),
    dt=0.2,
    frames=51,
    validation="planes evolve as in 1D; energy without drift",
)

KLEIN_GORDON_3D = replace(
    KLEIN_GORDON_2D,
    name="klein_gordon_3d",
    title="Nonlinear Klein–Gordon equation in three dimensions",
    lengths=(16.0, 16.0, 16.0),
    resolution=(32, 32, 32),
    boundary=(),
    dt=0.4,
    frames=21,
    initial=FourierSeries(modes=4, rms=(0.5, 1.5), decay=2.0, corner=2.0, components=2),
    validation="planes evolve as in 2D; energy without drift",
)

SINE_GORDON_1D = replace(
    KLEIN_GORDON_1D,
    name="sine_gordon_1d",
    title="Sine–Gordon equation",
    formula="u_tt = c² u_xx − m² sin u",
    lengths=(40.0,),
    dt=0.2,
    initial=Breathers(count=(1, 4), frequency=(0.3, 0.9), speed=0.5),
    force=lambda u, p: -p["mass_squared"] * torch.sin(u),
    parameters={
        "speed": _SPEED,
        "mass_squared": Parameter(1.0, 1.0, "squared mass m²"),
    },
    invariants=("energy ½ u_t² + ½ c² u_x² + m² (1 − cos u)", "momentum u_t u_x"),
    validation="moving breather and kink pair, closed forms to 1e-6; energy without drift",
    source="Rubinstein (1970)",
)

EQUATIONS = (KLEIN_GORDON_1D, KLEIN_GORDON_2D, KLEIN_GORDON_3D, SINE_GORDON_1D)
