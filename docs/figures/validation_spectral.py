"""The families solved in Fourier space against what is known of them."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from validation import (
    Curve,
    Panel,
    box,
    drawn,
    drift,
    evolved,
    halved,
    in_time,
    mesh,
    profiles,
    relative,
    time_panel,
)

from pelagos.datasets import equations
from pelagos.datasets.equations.klein_gordon import breather
from pelagos.datasets.solvers.etdrk import Spectral

_TAU = 2 * math.pi


def model_equations() -> tuple[Panel, ...]:
    """Linear waves after one step; order against closed forms and finer runs."""
    curves = (
        _linear_wave("heat_1d", diffusivity=0.01),
        _linear_wave("heat_2d", diffusivity=0.01),
        _linear_wave("advection_1d", speed=0.7),
        _linear_wave("advection_diffusion_2d", diffusivity=0.01, speed_x=0.7, speed_y=-0.2),
        _linear_wave(
            "advection_diffusion_3d", diffusivity=0.01, speed_x=0.7, speed_y=-0.2, speed_z=0.3
        ),
    )
    return (
        Panel("One step of a linear wave", "length of the step", "relative error", curves, "xy"),
        time_panel(
            (
                _burgers(),
                _soliton(),
                in_time("burgers_2d", 0.1, 8, 32),
                in_time("burgers_3d", 0.1, 8, 16),
                in_time("kuramoto_sivashinsky_1d", 2.0, 64, 64),
            )
        ),
    )


def _linear_wave(name: str, **parameters: float) -> Curve:
    """A wave that travels and decays, after steps of three lengths."""
    equation = equations.get(name)
    grid = box((32,) * equation.ndim, 1.0)
    phase = torch.stack(mesh(grid)).sum(0) * _TAU
    speed = sum(value for key, value in parameters.items() if key.startswith("speed"))
    rate = parameters.get("diffusivity", 0.0) * equation.ndim * _TAU**2

    def error(t: float) -> float:
        exact = math.exp(-rate * t) * torch.sin(phase - _TAU * speed * t)
        end = evolved(equation, torch.sin(phase)[None], grid, (t, 1), **parameters)[1]
        return max(relative(end[0], exact), 1e-17)  # seen on a logarithmic axis

    return Curve(name, (0.01, 0.1, 1.0), [error(t) for t in (0.01, 0.1, 1.0)])


def _burgers() -> Curve:
    """Against the Cole–Hopf solution of φ = 2 + e^{−νt} cos x + ½ e^{−4νt} sin 2x."""
    equation, grid, nu = equations.get("burgers_1d"), box((128,), _TAU), 0.1
    (x,) = grid.coordinates()

    def exact(t: float) -> Tensor:
        a, b = math.exp(-nu * t), math.exp(-4 * nu * t) / 2
        slope = -a * x.sin() + 2 * b * (2 * x).cos()
        return (-2 * nu * slope / (2 + a * x.cos() + b * (2 * x).sin()))[None]

    def error(step: float) -> float:
        return relative(
            evolved(equation, exact(0), grid, (1.0, 1), step, viscosity=nu)[1], exact(1)
        )

    return halved("burgers_1d, Cole–Hopf", 0.2, error)


def _soliton() -> Curve:
    """Against a soliton of speed 3, which the periodic box repeats."""
    equation, grid, c = equations.get("korteweg_de_vries_1d"), box((256,), 40.0), 3.0
    (x,) = grid.coordinates()

    def exact(t: float) -> Tensor:
        shifted = (x - 15 - c * t + 20) % 40 - 20
        return (c / 2 / torch.cosh(math.sqrt(c) / 2 * shifted).square())[None]

    def error(step: float) -> float:
        return relative(evolved(equation, exact(0), grid, (1.0, 1), step)[1], exact(1))

    return halved("korteweg_de_vries_1d, soliton", 0.02, error)


def navier_stokes() -> tuple[Panel, ...]:
    """Energy and enstrophy without viscosity; order."""
    equation = equations.get("navier_stokes_2d")
    grid, start, _ = drawn(equation, 48, 48)
    spectral = Spectral(grid.shape, grid.lengths)
    w = evolved(equation, start, grid, (0.1, 20), 0.005, viscosity=0.0)
    psi = spectral.inverse(spectral.inverse_k2 * spectral.forward(w))
    times = [0.1 * k for k in range(21)]
    curves = [
        drift("energy", times, (w * psi).flatten(1).mean(1)),
        drift("enstrophy", times, (w * w).flatten(1).mean(1)),
    ]
    names = ("navier_stokes_2d", "navier_stokes_forced_2d", "kolmogorov_2d")
    return (
        Panel("Inviscid flow: what it conserves", "time", "relative change", curves, "y"),
        time_panel(in_time(name, 0.5, 16, 32) for name in names),
    )


def incompressible() -> tuple[Panel, ...]:
    """Decay of a Taylor–Green vortex; order."""
    equation, grid, nu = equations.get("navier_stokes_sines_2d"), box((24, 24), 1.0), 0.01
    x, y = (_TAU * axis for axis in mesh(grid))
    start = torch.stack((torch.sin(x) * torch.cos(y), -torch.cos(x) * torch.sin(y)))
    v = evolved(equation, start, grid, (0.1, 12), viscosity=nu)
    energy = v.square().sum(1).flatten(1).mean(1) / 2
    times = 0.1 * torch.arange(13, dtype=torch.float64)
    exact = 0.25 * torch.exp(-4 * _TAU**2 * nu * times)
    names = ("sines", "shear_layer", "tracer", "kolmogorov")
    return (
        profiles("Taylor–Green vortex", [(times, exact)], [(times, energy)], ("time", "energy")),
        time_panel(in_time(f"navier_stokes_{name}_2d", 0.4, 16, 32) for name in names),
    )


def reaction_diffusion() -> tuple[Panel, ...]:
    """The front of Ablowitz and Zeppetella (1979) between walls; order."""
    fisher = replace(
        equations.get("fisher_1d"), boundary=("wall",), cell_centred=True, lengths=(60.0,)
    )
    grid, rate, nu = fisher.grid((256,)), 1.5, 1.2
    (x,) = grid.coordinates()
    sharpness, speed = math.sqrt(rate / (6 * nu)), 5 * math.sqrt(rate * nu / 6)
    front = [(1 + torch.exp(sharpness * (x - 15 - speed * t))) ** -2 for t in (0.0, 4.0, 8.0)]
    found = evolved(fisher, front[0][None], grid, (4.0, 2), 0.02, diffusivity=nu, rate=rate)
    exact, solution = [(x, u) for u in front], [(x, u[0]) for u in found]
    return (
        profiles("Fisher's front at t = 0, 4, 8", exact, solution, every=8),
        time_panel(
            (
                in_time("brusselator_2d", 0.5, 8, 32),
                in_time("gray_scott_2d", 40.0, 16, 32),
                in_time("fitzhugh_nagumo_2d", 0.2, 32, 16),
                in_time("allen_cahn_1d", 1.0, 8, 64),
                in_time("fisher_1d", 0.5, 16, 64),
            )
        ),
    )


def klein_gordon() -> tuple[Panel, ...]:
    """Energy over a long run; order, for sine–Gordon against a moving breather."""
    curves = [_energy("klein_gordon_1d"), _energy("sine_gordon_1d")]
    return (
        Panel("Energy over a long run", "time", "relative change", curves, "y"),
        time_panel(
            (
                _breather(),
                in_time("klein_gordon_1d", 1.2, 10, 96),
                in_time("klein_gordon_2d", 1.2, 10, 32),
                in_time("klein_gordon_3d", 1.2, 10, 16),
            )
        ),
    )


def _energy(name: str) -> Curve:
    equation = equations.get(name)
    grid, start, p = drawn(equation, 96)
    spectral = Spectral(grid.shape, grid.lengths)
    u, rate = evolved(equation, start, grid, (2.0, 60), 0.1, **p).unbind(1)
    slope = spectral.inverse(spectral.ik[0] * spectral.forward(u[:, None]))[:, 0]
    if name == "sine_gordon_1d":
        potential = p["mass_squared"] * (1 - torch.cos(u))
    else:
        potential = p["mass_squared"] * u**2 / 2 + p["coupling"] * u**4 / 4
    energy = ((rate.square() + p["speed"] ** 2 * slope.square()) / 2 + potential).mean(1)
    return drift(name, [2.0 * k for k in range(61)], energy)


def _breather() -> Curve:
    equation, grid = equations.get("sine_gordon_1d"), box((512,), 80.0)
    (x,) = grid.coordinates()
    omega, v, time = 0.6, 0.6, 4.0
    start = breather(x - 30, omega, v, 0.3)
    exact = breather(x - 30 - v * time, omega, v, 0.3 + omega * time * math.sqrt(1 - v * v))

    def error(step: float) -> float:
        end = evolved(equation, start, grid, (time, 1), step, speed=1.0, mass_squared=1.0)
        return relative(end[1], exact)

    return halved("sine_gordon_1d, breather", 0.4, error)
