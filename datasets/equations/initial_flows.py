"""Random incompressible flows (velocity_x, velocity_y) on the periodic unit box, to start from.

Each sampler gives the divergence-free part, with mean zero, of what it describes. Names, numbers
and ranges follow the incompressible datasets of Poseidon (Herde et al. 2024), appendix B.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from ..fields.grid import Grid
from ..solvers.etdrk import Spectral
from .initial import FourierSeries, Sampler, describe, periodic_distance2


def solenoidal(
    spectral: Spectral, velocity: Complex[Tensor, "B 2 *K"]
) -> Complex[Tensor, "B 2 *K"]:
    """The divergence-free part of a velocity, with mean zero."""
    return velocity_of(spectral, vorticity_of(spectral, velocity))


def vorticity_of(spectral: Spectral, velocity: Complex[Tensor, "B 2 *K"]) -> Tensor:
    """ω = ∂v/∂x − ∂u/∂y, (B, 1, *K)."""
    return spectral.ik[0] * velocity[:, 1:2] - spectral.ik[1] * velocity[:, :1]


def velocity_of(spectral: Spectral, vorticity: Complex[Tensor, "B 1 *K"]) -> Tensor:
    """The incompressible velocity of a vorticity, with mean zero, (B, 2, *K)."""
    stream = spectral.inverse_k2 * vorticity
    return torch.cat((spectral.ik[1] * stream, -spectral.ik[0] * stream), 1)


@dataclass(frozen=True)
class FromVelocity:
    """A flow from a sampler of velocities (2, *S)."""

    sampler: Sampler

    def __str__(self) -> str:
        return describe(self.sampler)

    def __call__(self, generator: torch.Generator, grid: Grid) -> Float[Tensor, "2 n m"]:
        """One flow in double precision."""
        spectral = Spectral(grid.shape, grid.lengths)
        velocity = spectral.forward(self.sampler(generator, grid)[None])
        return spectral.inverse(solenoidal(spectral, velocity))[0]


@dataclass(frozen=True)
class FromVorticity:
    """A flow from a sampler of vorticities (1, *S)."""

    sampler: Sampler

    def __str__(self) -> str:
        return describe(self.sampler)

    def __call__(self, generator: torch.Generator, grid: Grid) -> Float[Tensor, "2 n m"]:
        """One flow in double precision."""
        spectral = Spectral(grid.shape, grid.lengths)
        vorticity = spectral.forward(self.sampler(generator, grid)[None])
        return spectral.inverse(velocity_of(spectral, vorticity))[0]


@dataclass(frozen=True)
class WithTracer:
    """A flow and a passive scalar."""

    flow: Sampler
    tracer: Sampler

    def __str__(self) -> str:
        return f"{describe(self.flow)}; tracer: {describe(self.tracer)}"

    def __call__(self, generator: torch.Generator, grid: Grid) -> Float[Tensor, "3 n m"]:
        """One state in double precision."""
        return torch.cat((self.flow(generator, grid), self.tracer(generator, grid)))


def _unit_axes(grid: Grid) -> tuple[Tensor, Tensor]:
    """Coordinates as fractions of the box, shaped (n, 1) and (1, m)."""
    x, y = (
        (x - start) / length
        for x, start, length in zip(grid.coordinates(), grid.origin, grid.lengths, strict=True)
    )
    return x[:, None], y[None, :]


def _uniform(
    generator: torch.Generator, low: float | int, high: float | int, *shape: int
) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


def sines(generator: torch.Generator, grid: Grid) -> Float[Tensor, "2 n m"]:
    """u = Σ a sin(2πi x + b) sin(2πj y + c) / √(2π (i + j)), v with cosines; i, j = 1 … 10."""
    x, y = _unit_axes(grid)
    modes = torch.arange(1, 11, dtype=torch.float64)
    total = torch.zeros(2, *grid.shape, dtype=torch.float64)
    for i in modes:
        amplitude = _uniform(generator, -1, 1, 10) / (2 * math.pi * (i + modes)).sqrt()
        shift_x, shift_y = _uniform(generator, 0, 2 * math.pi, 2, 10)
        phase_x = 2 * math.pi * i * x + shift_x  # (n, 10)
        phase_y = 2 * math.pi * modes[:, None] * y + shift_y[:, None]  # (10, m)
        total[0] += (amplitude * phase_x.sin()) @ phase_y.sin()
        total[1] += (amplitude * phase_x.cos()) @ phase_y.cos()
    return total


def gaussians(generator: torch.Generator, grid: Grid) -> Float[Tensor, "1 n m"]:
    """Vorticity of 100 Gaussian vortices: Σ a / σ exp(−r² / 2σ²), |a| ≤ 1, σ from 0.01 to 0.1."""
    total = torch.zeros(grid.shape, dtype=torch.float64)
    for _ in range(100):
        centre = _uniform(generator, 0, 1, 2)
        strength, width = _uniform(generator, -1, 1, 1), _uniform(generator, 0.01, 0.1, 1)
        r2 = periodic_distance2(grid, centre)
        total += strength / width * torch.exp(-r2 / (2 * (width * grid.lengths[0]) ** 2))
    return total[None]


def checkers(generator: torch.Generator, grid: Grid) -> Float[Tensor, "1 n m"]:
    """Vorticity constant in each of 10 × 10 squares, uniform in [−10, 10]."""
    values = _uniform(generator, -10, 10, 10, 10)
    x, y = _unit_axes(grid)
    return values[(10 * x + 1e-9).long(), (10 * y + 1e-9).long()][None]


def vortex_sheet(generator: torch.Generator, grid: Grid) -> Float[Tensor, "1 n m"]:
    """Vorticity on the line y = ½ + 0.2 sin(2πx) + Σ a sin(2π (x + b)), smoothed to width 5/128.

    Ten terms with a up to 0.003125. The profile across is the cubic B-spline of integral 1, less
    its mean over the box.
    """
    x, y = _unit_axes(grid)
    amplitude, shift = _uniform(generator, 0, 0.003125, 10), _uniform(generator, 0, 1, 10)
    line = 0.5 + 0.2 * torch.sin(2 * math.pi * x)
    line = line + (amplitude * torch.sin(2 * math.pi * (x + shift))).sum(1, keepdim=True)
    offset = y - line
    width = 5 / 128
    r = (offset - offset.round()).abs() / width
    inner = 2 / 3 - r**2 + r**3 / 2
    outer = (2 - r).clamp_min(0) ** 3 / 6
    profile = torch.where(r < 1, inner, outer) / width
    return (profile - profile.mean())[None]


def shear_layer(generator: torch.Generator, grid: Grid) -> Float[Tensor, "2 n m"]:
    """u = ± tanh(2π (y' − ¼) / ρ) up to the middle and mirrored above; y' = y + a wavy shift.

    The shift is ξ + δ Σ a sin(2πk x − b), k = 1 … 10, |ξ| ≤ 1/16, δ = 0.025; ρ is 0.08 to 0.12.
    """
    x, y = _unit_axes(grid)
    k = torch.arange(1, 11, dtype=torch.float64)
    amplitude, phase = _uniform(generator, 0, 1, 10), _uniform(generator, 0, 2 * math.pi, 10)
    width, shift = _uniform(generator, 0.08, 0.12, 1), _uniform(generator, -1 / 16, 1 / 16, 1)
    waves = (amplitude * torch.sin(2 * math.pi * k * x - phase)).sum(1, keepdim=True)
    moved = (y + shift + 0.025 * waves) % 1
    distance = torch.where(moved <= 0.5, moved - 0.25, 0.75 - moved)
    u = torch.tanh(2 * math.pi * distance / width)
    return torch.stack((u, torch.zeros_like(u)))


# Independent components of the spectrum of Brownian paths, amplitude ∝ |k|^−(½ + d / 2).
brownian = FourierSeries(modes=32, rms=(0.2, 0.6), decay=1.5, corner=1.0, components=2)


def patches(generator: torch.Generator, grid: Grid) -> Float[Tensor, "1 n m"]:
    """A scalar between 0 and 1: three discs of radius 0.1 to 0.25 with edges of width 0.02."""
    outside = torch.ones(grid.shape, dtype=torch.float64)
    for _ in range(3):
        centre, radius = _uniform(generator, 0, 1, 2), _uniform(generator, 0.1, 0.25, 1)
        distance = periodic_distance2(grid, centre).sqrt() / grid.lengths[0]
        outside *= torch.sigmoid((distance - radius) / 0.02)
    return (1 - outside)[None]
