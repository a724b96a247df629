"""The families solved by finite differences and volumes against what is known of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from validation import (
    Curve,
    Panel,
    box,
    evolved,
    halved,
    mesh,
    profiles,
    refined,
    relative,
    time_panel,
)

from pelagos.datasets import equations
from pelagos.datasets.equations.equation import Problem, frames
from pelagos.datasets.fields.grid import Grid
from pelagos.datasets.solvers.elliptic import solve_diffusion, solve_helmholtz
from pelagos.datasets.solvers.finite_volume import FiniteVolume
from pelagos.datasets.solvers.riemann import Euler, ShallowWater
from pelagos.datasets.solvers.riemann_exact import cell_means, dam_break, gas

_TAU = 2 * math.pi
_SPACING = "spacing, of the box"


def diffusion_sorption() -> tuple[Panel, ...]:
    """Linear sorption into a half-space; order."""
    equation = equations.get("diffusion_sorption_1d")
    grid = equation.grid((128,))
    (x,) = grid.coordinates()
    exact, found = [], []
    for retardation in (1.0, 4.0):
        # With exponent 1 the retardation is constant: 1 + (1 − porosity) / porosity · density · k.
        freundlich = (retardation - 1) * 0.29 / (1 - 0.29) / 2880.0
        start, linear = torch.zeros_like(x)[None], {"exponent": 1.0, "freundlich": freundlich}
        found.append((x, evolved(equation, start, grid, (40.0, 1), 0.5, **linear)[1, 0]))
        exact.append((x, torch.erfc(x / (2 * math.sqrt(5e-4 * 40.0 / retardation)))))
    coarse = equation.grid((32,))
    start = torch.full((1, 32), 0.1, dtype=torch.float64)
    warm = evolved(equation, start, coarse, (20.0, 1), 0.5)[1]

    def end(step: float) -> Tensor:
        return evolved(equation, warm, coarse, (20.0, 1), step)[1]

    reference = end(0.3125)
    curve = halved(equation.name, 5.0, lambda step: relative(end(step), reference))
    return (
        profiles("Linear sorption, R = 1 and 4", exact, found, every=4),
        time_panel([curve], order=2),
    )


def elliptic() -> tuple[Panel, ...]:
    """A source in a medium of two layers; manufactured solutions."""
    n = 40  # u is linear in each layer, a u' continuous but at the source
    x = _cells(n)
    a = torch.where(x < 0.6, 3.0, 12.0).double()
    f = torch.zeros_like(x)
    f[15] = n
    resistance = torch.where(x < 0.6, x / 3, 0.2 + (x - 0.6) / 12)
    total, at = 0.2 + 0.4 / 12, resistance[15]
    exact = torch.minimum(resistance * (total - at), at * (total - resistance)) / total
    found = solve_diffusion(a[None, None], f[None, None], (1 / n,))[0, 0]
    curves = [
        refined("Helmholtz, indefinite", (16, 32, 64), _helmholtz_error),
        replace(refined("Darcy, Poisson", (16, 32, 64), _darcy_error), order=2),
    ]
    return (
        profiles("A source in two layers", [(x, exact)], [(x, found)]),
        Panel("Manufactured solutions", _SPACING, "relative error", curves, "xy"),
    )


def _darcy_error(n: int) -> float:
    """Of −∇·(a ∇u) = f with u = sin πx sin 2πy in a smooth medium."""
    x, y = mesh(box((n, n), 1.0, "wall"))
    k, m = math.pi, _TAU
    a = 1 + 0.5 * torch.sin(3 * x) * torch.cos(2 * y)
    a_x, a_y = 1.5 * torch.cos(3 * x) * torch.cos(2 * y), -torch.sin(3 * x) * torch.sin(2 * y)
    u = torch.sin(k * x) * torch.sin(m * y)
    u_x, u_y = k * torch.cos(k * x) * torch.sin(m * y), m * torch.sin(k * x) * torch.cos(m * y)
    f = a * (k * k + m * m) * u - a_x * u_x - a_y * u_y
    return relative(solve_diffusion(a[None, None], f[None, None], (1 / n, 1 / n))[0, 0], u)


def _helmholtz_error(n: int) -> float:
    """Of −Δu − q u = f with the same u, q above the lowest eigenvalues."""
    x, y = mesh(box((n, n), 1.0, "wall"))
    u = torch.sin(math.pi * x) * torch.sin(_TAU * y)
    q = 60 + 30 * torch.cos(x * y)
    f = (5 * math.pi**2 - q) * u
    return relative(solve_helmholtz(q[None, None], f[None, None], (1 / n, 1 / n))[0, 0], u)


def compressible() -> tuple[Panel, ...]:
    """Sod's shock tube, and with it an isentropic vortex."""
    euler = Euler(torch.tensor(1.4, dtype=torch.float64))
    left, right = (1.0, 0.0, 1.0), (0.125, 0.0, 0.1)

    def tube(n: int) -> tuple[Tensor, Tensor]:
        exact = cell_means(lambda x: gas(left, right, (x - 0.5) / 0.2)[0], n)
        found = _advanced(euler, _two_states(left, right, n), 0.2, ("open",), 1 / n)
        return found[0], torch.from_numpy(exact)

    def vortex(n: int) -> float:
        """Shu's (1998), carried an eighth of its box further."""
        x, y = torch.meshgrid(_cells(n, 10.0) - 5, _cells(n, 10.0) - 5, indexing="ij")
        r2 = x**2 + y**2
        swirl = 5 / _TAU * torch.exp(0.5 * (1 - r2))
        heat = 1 - 0.4 * 25 / (8 * 1.4 * math.pi**2) * torch.exp(1 - r2)
        start = torch.stack((heat**2.5, 1 - swirl * y, 1 + swirl * x, heat**3.5))[None]
        end = _advanced(euler, start, 1.25, ("periodic", "periodic"), 10 / n)
        return _mean_error(end, start[0].roll((n // 8, n // 8), (1, 2)))

    x, (found, exact) = _cells(128), tube(128)
    return (
        profiles(
            "Sod's shock tube, 128 cells", [(x, exact)], [(x, found)], ("x", "density"), every=2
        ),
        _first_and_second(
            refined("shock tube", (64, 128, 256, 512), lambda n: _mean_error(*tube(n))),
            refined("vortex", (16, 32, 64), vortex),
        ),
    )


def shallow_water() -> tuple[Panel, ...]:
    """Dam breaks, and with them a jet in geostrophic balance."""
    water = ShallowWater(torch.tensor(1.0, dtype=torch.float64))
    rotation = torch.tensor(4.0, dtype=torch.float64)

    def dam(n: int, low: float) -> tuple[Tensor, Tensor]:
        start = _two_states((1.0, 0.0), (max(low, 1e-8), 0.0), n)
        exact = cell_means(lambda x: dam_break(1.0, low, (x - 0.5) / 0.2)[0], n)
        return _advanced(water, start, 0.2, ("open",), 1 / n)[0], torch.from_numpy(exact)

    def jet(n: int) -> float:
        y = _cells(n)
        h = 1 - 0.05 * torch.tanh((y - 0.5) * 10)
        u = 0.05 * 10 / torch.cosh((y - 0.5) * 10) ** 2 / 4  # f u = −g h_y
        start = torch.stack((h, u, 0 * y))[None, :, None].expand(1, 3, 4, n).contiguous()
        end = _advanced(water, start, 1.0, ("periodic", "wall"), 1 / n, rotation)
        return _mean_error(end, start[0])

    x, solutions = _cells(128), [dam(128, 0.3), dam(128, 0.0)]
    return (
        profiles(
            "Dams break onto water and dry ground",
            [(x, exact) for _, exact in solutions],
            [(x, found) for found, _ in solutions],
            ("x", "depth"),
            every=3,
        ),
        _first_and_second(
            refined("dam break", (64, 128, 256, 512), lambda n: _mean_error(*dam(n, 0.3))),
            refined("balanced jet", (16, 32, 64), jet),
        ),
    )


def _cells(n: int, length: float = 1.0) -> Tensor:
    return (torch.arange(n, dtype=torch.float64) + 0.5) * (length / n)


def _two_states(left: Sequence[float], right: Sequence[float], n: int) -> Tensor:
    sides = (torch.tensor(side, dtype=torch.float64)[:, None] for side in (left, right))
    return torch.where(_cells(n) < 0.5, *sides)[None]


def _advanced(
    system: Euler | ShallowWater,
    w: Tensor,
    time: float,
    boundary: tuple[str, ...],
    spacing: float,
    rotation: Tensor | None = None,
) -> Tensor:
    """Primitive states (C, *S) after `time`."""
    solver = FiniteVolume(system, (spacing,) * len(boundary), boundary, rotation=rotation)
    u, sound = solver.advance(system.conserved(w), time)
    assert sound.all()
    return system.primitive(u)[0]


def _mean_error(a: Tensor, b: Tensor) -> float:
    return ((a - b).abs().mean() / b.abs().mean()).item()


def _first_and_second(shocks: Curve, smooth: Curve) -> Panel:
    """Mean errors: of first order where there are shocks, of second without."""
    curves = [replace(shocks, order=1), replace(smooth, order=2)]
    return Panel("Shocks and smooth flow", _SPACING, "mean error, of the mean", curves, "xy")


def waves() -> tuple[Panel, ...]:
    """Energy in a medium; standing waves."""
    grid, step = box((48, 48), 1.0, "wall"), 0.002
    x, y = mesh(grid)
    c = equations.get("wave_lenses_2d").draw(torch.Generator().manual_seed(0), grid).constants[0]
    u = _moving(torch.exp(-80 * ((x - 0.4) ** 2 + (y - 0.6) ** 2)), grid, step, 402, c)
    # Frames as close as internal steps: u_t and u at the middle from two of them.
    middle, rate = (u[1:] + u[:-1]) / 2, (u[1:] - u[:-1]) / step
    kinetic = (rate / c).square().sum((1, 2))
    elastic = torch.stack([(middle.diff(dim=d) * 48).square().sum((1, 2)) for d in (1, 2)]).sum(0)
    parts = {"kinetic": kinetic, "elastic": elastic, "sum": kinetic + elastic}
    times = [step * k for k in range(0, 401, 10)]
    curves = [
        Curve(label, times, (values[::10] / parts["sum"][0]).tolist())
        for label, values in parts.items()
    ]
    orders = [
        replace(refined("between walls", (12, 24, 48), lambda n: _wave_error(n, "wall")), order=4),
        refined("periodic", (12, 24, 48), lambda n: _wave_error(n, "periodic")),
    ]
    return (
        Panel("Energy among lenses", "time", "energy, of the first", curves),
        Panel("Standing waves", _SPACING, "relative error", orders, "xy"),
    )


def _moving(u: Tensor, grid: Grid, dt: float, count: int, speed: Tensor) -> Tensor:
    """Frames (T, *S) of a wave that starts from rest."""
    equation = equations.get("wave_layers_2d")
    solved = frames(equation, Problem(u[None, None], {}, grid, dt, constants=speed[None, None]))
    return torch.stack([frame[0, 0] for _, frame in zip(range(count), solved, strict=False)])


def _wave_error(n: int, boundary: str) -> float:
    grid = box((n, n), 1.0, boundary)
    x, y = mesh(grid)
    wave = torch.cos(_TAU * x) * torch.cos(_TAU * y)
    end = _moving(wave, grid, 0.37, 2, torch.full_like(wave, 1.5))[1]
    return relative(end, wave * math.cos(1.5 * _TAU * math.sqrt(2) * 0.37))
