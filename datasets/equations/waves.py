"""The wave equation in media of varying speed: fourth order in space and time.

The medium may be periodic, end in walls (u_n = 0), or be open: then the grid goes on beyond its
ends in a perfectly matched layer, in which the medium continues as it is at the edge.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..fields.grid import Grid
from ..solvers.etdrk import substeps
from .equation import Equation

# dt c √(Σ 1/dx²); the scheme is stable up to 1.5.
_COURANT = 1.0
# Width of an absorbing layer as a part of the axis, and the logarithm of what it leaves of a wave
# that crosses it to and fro.
_LAYER = 0.2
_ABSORBED = 4.0


@dataclass(frozen=True, kw_only=True)
class WaveEquation(Equation):
    """u_tt = c(x)² Δu, at rest at first; c is the constant field.

    Attributes:
        fastest: largest speed that the medium may have; the time step follows from it.
    """

    fastest: float
    formula: str = "u_tt = c(x)² Δu"
    fields: tuple[str, ...] = ("u",)
    constant_fields: tuple[str, ...] = ("wave_speed",)
    cell_centred: bool = True
    step_control: str = "Courant number 1, from the largest speed of the family"
    solver: str = "fourth-order differences, modified-equation leapfrog, matched layers"

    def solve(
        self,
        initial: Float[Tensor, "B 1 *S"],
        parameters: Mapping[str, Float[Tensor, " B"]],
        grid: Grid,
        dt: float,
        *,
        constants: Float[Tensor, "B 1 *S"] | None = None,
        warm_up: float = 0.0,
        solver_step: float | None = None,
    ) -> Iterator[Float[Tensor, "B 1 *S"]]:
        """Endless frames at times 0, dt, 2 dt, …, in `initial`'s dtype and device.

        Args:
            initial: displacement at time 0, where u_t = 0.
            parameters: none.
            grid: the grid of cell centres; its boundary is taken as it is.
            dt: time between frames.
            constants: speed of waves.
            warm_up: must be 0.
            solver_step: must be None; the steps follow from the Courant number.

        Raises:
            ValueError: the medium is faster than `fastest`, or not positive.
        """
        if warm_up:
            raise ValueError(f"{self.name} starts from rest; leave out warm_up")
        assert solver_step is None
        assert constants is not None
        if not 0 < constants.amin().item() <= constants.amax().item() <= self.fastest:
            raise ValueError(
                f"{self.name} needs speeds above 0 and at most {self.fastest:g}; got "
                f"{constants.amin():g} to {constants.amax():g}"
            )
        if grid.ndim == 3 and any("open" in kind for kind in grid.boundary):
            raise ValueError("open boundaries need 1 or 2 axes; use walls or a periodic box in 3")
        inverse = math.sqrt(sum(1 / step**2 for step in grid.spacing))
        count = substeps(dt, _COURANT / (self.fastest * inverse))
        wave = _Wave(initial, constants, grid, dt / count, self.fastest)
        while True:
            yield wave.displacement
            for _ in range(count):
                wave.step()


class _Wave:
    """A wave at two successive time steps, in a medium with its layers.

    In the layers the equation is u_tt + (σ_x + σ_y) u_t + σ_x σ_y u = c² ∇·(∇u + φ) with
    φ_x,t = −σ_x φ_x + (σ_y − σ_x) u_x, and so on for φ_y (Grote & Sim 2010, arXiv 1001.0319). φ
    stands between cells, and between steps in time.
    """

    def __init__(
        self, initial: Tensor, speed: Tensor, grid: Grid, dt: float, fastest: float
    ) -> None:
        self._ends = [_ends(kind) for kind in grid.boundary]
        self._layers = [
            tuple(math.ceil(_LAYER * n) if kind == "open" else 0 for kind in ends)
            for n, ends in zip(grid.shape, self._ends, strict=True)
        ]
        self._spacing = grid.spacing
        self._dt = dt
        layers = zip(self._layers, grid.shape, strict=True)
        self._inside = (..., *(slice(low, low + n) for (low, _), n in layers))
        self._c2dt2 = (self._continued(speed) * dt).square()
        self._u = self._continued(initial)
        self._before = self._at_rest()
        self._open = any(low or high for low, high in self._layers)
        if self._open:
            self._prepare_layers(grid, fastest)

    @property
    def displacement(self) -> Tensor:
        """u without the layers."""
        return self._u[self._inside]

    def step(self) -> None:
        """A step of time."""
        push = self._push(self._u)
        if not self._open:
            self._u, self._before = 2 * self._u - self._before + push, self._u
            return
        stretched = torch.zeros_like(push)
        for axis, spacing in enumerate(self._spacing):
            old = self._phi[axis]
            slope = _jumps(self._u, 2 + axis, self._ends[axis]) / spacing
            loss, drive, gain = self._phi_factors[axis]
            self._phi[axis] = (loss * old + drive * slope) * gain
            stretched += (old + self._phi[axis]).diff(dim=2 + axis) / (2 * spacing)
        push = push + self._c2dt2 * stretched - self._restoring * self._u
        after = (2 * self._u - self._loss * self._before + push) * self._gain
        self._u, self._before = after, self._u

    def _at_rest(self) -> Tensor:
        """u a step earlier, which for a wave at rest equals u a step later."""
        return self._u + self._push(self._u) / 2

    def _push(self, u: Tensor) -> Tensor:
        """dt² c² Δu, with the leading error of the leapfrog in time taken out."""
        push = self._c2dt2 * self._laplacian(u)
        return push + self._c2dt2 * self._laplacian(push) / 12

    def _laplacian(self, u: Tensor) -> Tensor:
        total = torch.zeros_like(u)
        for axis, step in enumerate(self._spacing):
            dim, n = 2 + axis, u.shape[2 + axis]
            padded = _padded(u, dim, self._ends[axis], 2)
            a, b, _, d, e = (padded.narrow(dim, i, n) for i in range(5))
            total += (16 * (b + d) - (a + e) - 30 * u) / (12 * step * step)
        return total

    def _prepare_layers(self, grid: Grid, fastest: float) -> None:
        """Damping σ per axis and all that follows from it, broadcastable over (B, 1, *S)."""
        like, dt = self._u, self._dt
        sigma = [self._damping(axis, grid, fastest) for axis in range(grid.ndim)]
        total = sum(sigma[1:], sigma[0]).to(like)
        product = sigma[0] * sigma[1] if grid.ndim == 2 else torch.zeros_like(sigma[0])
        self._restoring = (product * dt * dt).to(like)
        self._loss, self._gain = 1 - total * dt / 2, 1 / (1 + total * dt / 2)
        self._phi_factors, self._phi = [], []
        for axis, own in enumerate(sigma):
            others = torch.zeros_like(own) if grid.ndim == 1 else sigma[1 - axis]
            between = _between(own, axis)
            drive = (dt * (others - between)).to(like)
            loss, gain = 1 - between * dt / 2, 1 / (1 + between * dt / 2)
            self._phi_factors.append((loss.to(like), drive, gain.to(like)))
            shape = list(like.shape)
            shape[2 + axis] += 1
            self._phi.append(like.new_zeros(shape))

    def _damping(self, axis: int, grid: Grid, fastest: float) -> Tensor:
        """σ, growing with the square of the depth in a layer."""
        (low, high), n, step = self._layers[axis], grid.shape[axis], grid.spacing[axis]
        depth = torch.zeros(low + n + high, dtype=torch.float64)
        if low:
            depth[:low] = (torch.arange(low, 0, -1) - 0.5) / low
        if high:
            depth[low + n :] = (torch.arange(1, high + 1) - 0.5) / high
        width = max(low, high, 1) * step
        sigma = 3 * fastest * _ABSORBED / (2 * width) * depth**2
        return sigma.reshape(-1, *(1,) * (grid.ndim - 1 - axis))

    def _continued(self, values: Tensor) -> Tensor:
        """Values with their edges repeated through the layers."""
        for axis, (low, high) in enumerate(self._layers):
            n = values.shape[2 + axis]
            index = torch.arange(-low, n + high, device=values.device).clamp(0, n - 1)
            values = values.index_select(2 + axis, index)
        return values


def _between(sigma: Tensor, axis: int) -> Tensor:
    """Values between cells along their own axis, the edges repeated."""
    flat = sigma.flatten()
    padded = torch.cat((flat[:1], flat, flat[-1:]))
    return (0.5 * (padded[1:] + padded[:-1])).reshape(-1, *sigma.shape[1:])


def _jumps(u: Tensor, dim: int, ends: tuple[str, str]) -> Tensor:
    """u_{i+1} − u_i over all n + 1 faces."""
    return _padded(u, dim, ends, 1).diff(dim=dim)


def _ends(kind: str) -> tuple[str, str]:
    low, _, high = kind.partition("-")
    return low, high or low


def _padded(u: Tensor, dim: int, ends: tuple[str, str], width: int) -> Tensor:
    """u with `width` more cells at either end: mirrored, or from the other end if periodic."""
    n = u.shape[dim]
    first, last = u.narrow(dim, 0, width), u.narrow(dim, n - width, width)
    if ends[0] == "periodic":
        return torch.cat((last, u, first), dim)
    return torch.cat((first.flip(dim), u, last.flip(dim)), dim)


# --------------------------------------------------------------------- media and initial states

_SPEEDS = (1.0, 2.5)


def bumps(generator: torch.Generator, grid: Grid) -> Float[Tensor, "1 *S"]:
    """Two to six Gaussian bumps of height 0.5 to 1 and width 0.03 to 0.06 of the box."""
    count = int(torch.randint(2, 7, (), generator=generator))
    return _bumps(generator, grid, count, (0.5, 1.0), (0.03, 0.06), 0.2)


def layers(generator: torch.Generator, grid: Grid) -> Float[Tensor, "1 *S"]:
    """Three to six layers of constant speed in [1, 2.5], stacked along the second axis."""
    count = int(torch.randint(3, 7, (), generator=generator))
    draw = torch.rand((2, 6), generator=generator, dtype=torch.float64)
    thickness = 0.4 + draw[0, :count]
    border = thickness.cumsum(0)[:-1] / thickness.sum()
    low, high = _SPEEDS
    speed = low + (high - low) * draw[1]
    y = _positions(grid)[1]
    return speed[(y[..., None] > border).sum(-1)][None]


def lenses(generator: torch.Generator, grid: Grid) -> Float[Tensor, "1 *S"]:
    """A speed of 1.5, faster or slower in four smooth lenses; kept within [1, 2.5]."""
    lens = _bumps(generator, grid, 4, (-0.6, 1.0), (0.1, 0.2), 0.1)
    low, high = _SPEEDS
    return (1.5 + lens).clamp(low, high)


def _bumps(
    generator: torch.Generator,
    grid: Grid,
    count: int,
    heights: tuple[float, float],
    widths: tuple[float, float],
    margin: float,
) -> Tensor:
    """A sum of Gaussians with random centres at least `margin` from the boundary."""
    draw = torch.rand((count, 2 + grid.ndim), generator=generator, dtype=torch.float64)
    total = torch.zeros(grid.shape, dtype=torch.float64)
    axes = _positions(grid)
    for a, b, *centre in draw.tolist():
        height = heights[0] + (heights[1] - heights[0]) * a
        width = widths[0] + (widths[1] - widths[0]) * b
        places = [margin + (1 - 2 * margin) * c for c in centre]
        r2 = torch.stack([(x - p) ** 2 for x, p in zip(axes, places, strict=True)]).sum(0)
        total += height * torch.exp(-0.5 * r2 / width**2)
    return total[None]


def _positions(grid: Grid) -> list[Tensor]:
    """Cell centres per axis in units of the box, broadcast over *S."""
    centres = [(torch.arange(n, dtype=torch.float64) + 0.5) / n for n in grid.shape]
    return list(torch.meshgrid(*centres, indexing="ij"))


# --------------------------------------------------------------------------------- equations

_STATES = "2 to 6 Gaussian bumps at rest"
_VALIDATION = (
    "standing waves, to 2e-3 with order 4; energy, to 1 %; open boundaries, which reflect less "
    "than 0.2 % of the initial height"
)

WAVE_LAYERS_2D = WaveEquation(
    name="wave_layers_2d",
    title="Waves in a layered medium",
    lengths=(1.0, 1.0),
    resolution=(64, 64),
    boundary=("open", "open"),
    dt=0.015,
    frames=21,
    fastest=_SPEEDS[1],
    initial=bumps,
    initial_states=_STATES + "; c in 3 to 6 layers",
    constants=layers,
    validation=_VALIDATION,
    source="after Poseidon (arXiv 2405.19101), Wave-Layer; speeds scaled, shapes our own",
)

WAVE_LENSES_2D = WaveEquation(
    name="wave_lenses_2d",
    title="Waves through smooth lenses",
    lengths=(1.0, 1.0),
    resolution=(64, 64),
    boundary=("open", "open"),
    dt=0.015,
    frames=21,
    fastest=_SPEEDS[1],
    initial=bumps,
    initial_states=_STATES + "; c = 1.5 with four Gaussian lenses",
    constants=lenses,
    validation=_VALIDATION,
    source="after Poseidon (arXiv 2405.19101), Wave-Gauss; speeds scaled, shapes our own",
)

EQUATIONS = (WAVE_LAYERS_2D, WAVE_LENSES_2D)
