"""Finite volumes for hyperbolic systems on uniform grids: second order, shock capturing, positive.

One step is MUSCL–Hancock, unsplit: slopes of the primitive variables limited per axis, the states
at the faces moved to half the step by the quasi-linear form, one Riemann problem per face. Where a
step would leave a cell without positive density (depth, pressure), the fluxes through its faces are
replaced by first-order ones, which keeps the scheme conservative. Every trajectory of a batch takes
its own time steps, so its result does not depend on what is solved beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .riemann import Euler, ShallowWater

# Σ_d (|v_d| + c) dt / dx_d; the scheme is stable up to 1.
_COURANT = 0.8
# A trajectory whose steps would become shorter than this fraction of the interval has failed.
_SHORTEST = 1e-6
_REPAIRS = 4


@dataclass(frozen=True)
class FiniteVolume:
    """Marches cell averages of a system forward in time.

    Attributes:
        system: the equations.
        spacing: cell width per axis.
        boundary: per axis "periodic", "wall" (slip, reflecting), "open" (zero gradient), or
            "low-high" where the two ends differ.
        potential: gravitational potential φ of the force −ρ∇φ, at cell centres with one more cell
            at either end of every axis, broadcastable to (B, 1, *(S + 2)); None for no gravity. The
            state's last channel must then be a pressure. States with p_{i+1} − p_i =
            −(ρ_i + ρ_{i+1}) (φ_{i+1} − φ_i) / 2 at rest stay so to rounding (Käppeli & Mishra,
            2016).
        rotation: Coriolis parameter f of the force f (v_y, −v_x) per mass, broadcastable to
            (B, 1, *S); None for none. Two axes.
    """

    system: Euler | ShallowWater
    spacing: tuple[float, ...]
    boundary: tuple[str, ...]
    potential: Tensor | None = None
    rotation: Tensor | None = None

    @property
    def _axes(self) -> range:
        return range(len(self.spacing))

    def advance(
        self, u: Float[Tensor, "B C *S"], interval: float
    ) -> tuple[Float[Tensor, "B C *S"], Bool[Tensor, " B"]]:
        """The conserved states an `interval` later, and which trajectories are sound.

        A trajectory fails, and is filled with NaN, when density or pressure is lost, when a value
        is not finite, or when its steps become too short to go on.
        """
        w = self.system.primitive(u)
        sound = _positive(self.system, w).flatten(1).all(1)
        left = torch.full(u.shape[:1], interval, dtype=torch.float64, device=u.device)
        while True:
            largest = self.largest_step(w).double()
            sound = sound & (largest > _SHORTEST * interval)  # false for NaN
            count = torch.where(sound, (left / largest).ceil(), 0.0)
            moving = int((count > 0).sum())
            if not moving:
                break
            dt = torch.where(count > 0, left / count.clamp(min=1), 0.0)
            stepped, w_stepped, kept = self.step(u, w, dt.to(u.dtype))
            sound = sound & kept
            if moving < len(u):
                still = _column(count == 0, u)
                stepped = torch.where(still, u, stepped)
                w_stepped = torch.where(still, w, w_stepped)
            u, w = stepped, w_stepped
            left = torch.where(count > 1, left - dt, 0.0)
        return torch.where(_column(sound, u), u, torch.nan), sound

    def largest_step(self, w: Float[Tensor, "B C *S"]) -> Float[Tensor, " B"]:
        """The longest stable time step of each trajectory; w are primitive states."""
        c = self.system.celerity(w)
        rate = sum((w[:, 1 + d : 2 + d].abs() + c) / self.spacing[d] for d in self._axes)
        assert isinstance(rate, Tensor)
        return _COURANT / rate.flatten(1).amax(1)

    def step(
        self, u: Float[Tensor, "B C *S"], w: Float[Tensor, "B C *S"], dt: Float[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B C *S"], Float[Tensor, "B C *S"], Bool[Tensor, " B"]]:
        """One step of its own length for each trajectory.

        Args:
            u, w: conserved and primitive form of the same states.
            dt: length of the step.

        Returns:
            Conserved and primitive states after the step, and where they are positive throughout.
        """
        dt = _column(dt, u)
        half, slopes = self._predict(w, dt)
        fluxes = [self._flux(half, slopes[d], d) for d in self._axes]
        source = self._source(half)
        out = self._update(u, fluxes, source, dt)
        w_out = self.system.primitive(out)
        good = _positive(self.system, w_out)
        if not bool(good.all()):
            out, w_out, good = self._repair(u, w, dt, fluxes, source, good)
        return out, w_out, good.flatten(1).all(1)

    def _predict(self, w: Tensor, dt: Tensor) -> tuple[Tensor, list[Tensor]]:
        """States at half the step, and the differences of w across a cell along each axis."""
        slopes = [limited(*_neighbours(self._jumps(w, d), d)) for d in self._axes]
        gradients = [slope / self.spacing[d] for d, slope in enumerate(slopes)]
        rate = self.system.rate(w, gradients)
        for d in self._axes:
            if self.potential is not None:
                # The hydrostatic part of the pressure gradient, which balances gravity.
                rate[:, -1:] += w[:, 1 + d : 2 + d] * w[:, :1] * self._gravity(d)
        if self.rotation is not None:
            rate[:, 1:2] += self.rotation * w[:, 2:3]
            rate[:, 2:3] -= self.rotation * w[:, 1:2]
        half = w + 0.5 * dt * rate
        safe = _positive(self.system, half)
        for i in self.system.positive:
            twice = 2 * half[:, i].unsqueeze(1)
            for slope in slopes:
                safe &= slope[:, i].unsqueeze(1).abs() < twice
        if not bool(safe.all()):
            half = torch.where(safe, half, w)
            slopes = [torch.where(safe, slope, 0.0) for slope in slopes]
        return half, slopes

    def _jumps(self, w: Tensor, axis: int) -> Tensor:
        """w_{i+1} − w_i over all n + 1 faces, less the hydrostatic part of the pressure."""
        ghosts = _ghosts(_edge(w, axis, 0), _edge(w, axis, -1), self.boundary[axis], axis)
        low, high = _neighbours(torch.cat((ghosts[0], w, ghosts[1]), 2 + axis), axis)
        jumps = high - low
        if self.potential is not None:
            mean = 0.5 * (low[:, :1] + high[:, :1])
            jumps[:, -1:] += mean * self._potential_jumps(axis)
        return jumps

    def _flux(self, w: Tensor, slope: Tensor | None, axis: int) -> Tensor:
        """Fluxes through the n + 1 faces along an axis, from states and their slopes."""
        high = w if slope is None else w + 0.5 * slope
        low = w if slope is None else w - 0.5 * slope
        if self.potential is not None:
            before, after = _neighbours(self._potential_jumps(axis), axis)
            weight = 0.5 * w[:, :1]
            high = torch.cat((high[:, :-1], high[:, -1:] - weight * after), 1)
            low = torch.cat((low[:, :-1], low[:, -1:] + weight * before), 1)
        first, last = _ghosts(_edge(low, axis, 0), _edge(high, axis, -1), self.boundary[axis], axis)
        left = torch.cat((first, high), 2 + axis)
        right = torch.cat((low, last), 2 + axis)
        return self.system.flux(left, right, axis)

    def _source(self, half: Tensor) -> Tensor | None:
        """Momentum gained per time from gravity and rotation, (B, D, *S)."""
        if self.potential is not None:
            return torch.cat([half[:, :1] * self._gravity(d) for d in self._axes], 1)
        if self.rotation is not None:
            turning = self.rotation * half[:, :1]
            return torch.cat((turning * half[:, 2:3], -turning * half[:, 1:2]), 1)
        return None

    def _update(
        self, u: Tensor, fluxes: Sequence[Tensor], source: Tensor | None, dt: Tensor
    ) -> Tensor:
        change = torch.zeros_like(u)
        for d, flux in enumerate(fluxes):
            before, after = _neighbours(flux, d)
            change -= (after - before) / self.spacing[d]
            if self.potential is not None:
                # Work done by gravity, such that total energy with ρφ is conserved.
                work = _neighbours(flux[:, :1] * self._potential_jumps(d), d)
                change[:, -1:] -= 0.5 * (work[0] + work[1]) / self.spacing[d]
        if source is not None:
            change[:, 1 : 1 + source.shape[1]] += source
        return u + dt * change

    def _repair(
        self,
        u: Tensor,
        w: Tensor,
        dt: Tensor,
        fluxes: Sequence[Tensor],
        source: Tensor | None,
        good: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The step again with first-order fluxes around cells that lost positivity."""
        robust, bad = [self._flux(w, None, d) for d in self._axes], ~good
        out = w_out = w
        for _ in range(_REPAIRS):
            mixed = [
                torch.where(_faces(bad, d, self.boundary[d]), robust[d], fluxes[d])
                for d in self._axes
            ]
            out = self._update(u, mixed, source, dt)
            w_out = self.system.primitive(out)
            good = _positive(self.system, w_out)
            if bool(good.all()):
                break
            bad = bad | ~good
        return out, w_out, good

    def _potential_jumps(self, axis: int) -> Tensor:
        """φ_{i+1} − φ_i over the faces along an axis."""
        assert self.potential is not None
        inner = [slice(1, -1)] * len(self.spacing)
        inner[axis] = slice(None)
        return self.potential[(..., *inner)].diff(dim=2 + axis)

    def _gravity(self, axis: int) -> Tensor:
        """−∂φ/∂x_d at cell centres."""
        before, after = _neighbours(self._potential_jumps(axis), axis)
        return -0.5 * (before + after) / self.spacing[axis]


def limited(before: Float[Tensor, "*X"], after: Float[Tensor, "*X"]) -> Float[Tensor, "*X"]:
    """Slope from the differences to either neighbour: monotonised central (van Leer 1977).

    The central difference, but at most twice the smaller one-sided difference, and zero at extrema.
    """
    bound = 2 * torch.minimum(before.abs(), after.abs()) * (before * after > 0)
    return (0.5 * (before + after)).clamp(-bound, bound)


def _positive(system: Euler | ShallowWater, w: Tensor) -> Tensor:
    """Where all that must be positive is (false for NaN), (B, 1, *S)."""
    first, *others = (w[:, i].unsqueeze(1) > 0 for i in system.positive)
    for other in others:
        first = first & other
    return first


def _ghosts(first: Tensor, last: Tensor, kind: str, axis: int) -> tuple[Tensor, Tensor]:
    """States beyond the two ends of an axis, from those inside of them."""
    low, high = _ends(kind)
    if low == "periodic":
        return last, first
    return _ghost(first, low, axis), _ghost(last, high, axis)


def _ghost(inside: Tensor, kind: str, axis: int) -> Tensor:
    """The state beyond a wall (mirrored) or an open end (the same)."""
    if kind == "open":
        return inside
    mirrored = inside.clone()
    mirrored[:, 1 + axis].neg_()
    return mirrored


def _neighbours(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """All entries but the last, and all but the first, along a space axis."""
    n = x.shape[2 + axis]
    return x.narrow(2 + axis, 0, n - 1), x.narrow(2 + axis, 1, n - 1)


def _edge(x: Tensor, axis: int, index: int) -> Tensor:
    return x.narrow(2 + axis, index % x.shape[2 + axis], 1)


def _ends(kind: str) -> tuple[str, str]:
    low, _, high = kind.partition("-")
    return low, high or low


def _faces(cells: Tensor, axis: int, kind: str) -> Tensor:
    """Faces along an axis that touch a marked cell."""
    first, last = _edge(cells, axis, 0), _edge(cells, axis, -1)
    if kind == "periodic":
        first, last = last, first
    padded = torch.cat((first, cells, last), 2 + axis)
    low, high = _neighbours(padded, axis)
    return low | high


def _column(values: Tensor, like: Tensor) -> Tensor:
    """(B,) shaped to broadcast over (B, C, *S)."""
    return values.reshape(-1, *(1,) * (like.ndim - 1))


def with_ghosts(values: Float[Tensor, "B C *S"]) -> Float[Tensor, "B C *P"]:
    """Values with one more cell at either end of every axis, extrapolated linearly."""
    for axis in range(values.ndim - 2):
        first, second, last, before = (_edge(values, axis, i) for i in (0, 1, -1, -2))
        values = torch.cat((2 * first - second, values, 2 * last - before), 2 + axis)
    return values
