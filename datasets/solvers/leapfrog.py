"""u_tt = c(x)² Δu from rest: fourth order in space and time, walls, or open ends.

At an open end the grid goes on in a perfectly matched layer, in which the medium continues as it is
at the edge.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ..fields.grid import Grid
from .etdrk import substeps

# dt c √(Σ 1/dx²); the scheme is stable up to 1.5.
_COURANT = 1.0
# Width of an absorbing layer as a part of the axis, and the logarithm of what it leaves of a wave
# that crosses it to and fro.
_LAYER = 0.2
_ABSORBED = 4.0


class Leapfrog:
    """A wave under way: u at two successive time steps, in a medium with its layers.

    In the layers the equation is u_tt + (σ_x + σ_y) u_t + σ_x σ_y u = c² ∇·(∇u + φ) with
    φ_x,t = −σ_x φ_x + (σ_y − σ_x) u_x, and so on for φ_y (Grote & Sim 2010, arXiv 1001.0319). φ
    stands between cells, and between steps in time.

    Args:
        initial: u at time 0, where u_t = 0.
        speed: c(x).
        grid: the grid of cell centres; its boundary is taken as it is.
        interval: the time between frames, which is cut into equal steps.
        fastest: largest speed that a medium may have; the steps follow from it.
    """

    def __init__(
        self,
        initial: Float[Tensor, "B 1 *S"],
        speed: Float[Tensor, "B 1 *S"],
        grid: Grid,
        interval: float,
        fastest: float,
    ) -> None:
        inverse = math.sqrt(sum(1 / step**2 for step in grid.spacing))
        self._dt = dt = interval / substeps(interval, _COURANT / (fastest * inverse))
        self._ends = [_ends(kind) for kind in grid.boundary]
        self._layers = [
            tuple(math.ceil(_LAYER * n) if kind == "open" else 0 for kind in ends)
            for n, ends in zip(grid.shape, self._ends, strict=True)
        ]
        self._spacing = grid.spacing
        layers = zip(self._layers, grid.shape, strict=True)
        self._inside = (..., *(slice(low, low + n) for (low, _), n in layers))
        self._c2dt2 = (self._continued(speed) * dt).square()
        self._u = self._continued(initial)
        self._before = self._at_rest()
        self._open = any(low or high for low, high in self._layers)
        if self._open:
            self._prepare_layers(grid, fastest)

    def advance(self, interval: float) -> Float[Tensor, "B 1 *S"]:
        """u an interval later, which is a whole number of steps; u of now for an interval of 0."""
        count = round(interval / self._dt)
        assert math.isclose(count * self._dt, interval)
        for _ in range(count):
            self._step()
        return self._u[self._inside]

    def _step(self) -> None:
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
