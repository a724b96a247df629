"""Hyperbolic systems: their variables, their quasi-linear form, their approximate Riemann solver.

States are cell averages (B, C, *S). Primitive states w hold density (or depth), one velocity per
axis and what else there is; conserved states hold density, momenta, and the rest. Both keep the
velocity (the momentum) along axis d in channel 1 + d.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Euler:
    """Inviscid flow of an ideal gas: w = (ρ, v, p), conserved (ρ, ρv, E), E = p/(γ−1) + ρ|v|²/2.

    ρ_t + ∇·(ρv) = 0, (ρv)_t + ∇·(ρ v⊗v + p) = 0, E_t + ∇·((E + p) v) = 0.

    Attributes:
        gamma: ratio of specific heats γ > 1, broadcastable to (B, 1, *S).
    """

    gamma: Tensor
    positive = (0, -1)  # density and pressure

    def conserved(self, w: Float[Tensor, "B C *S"]) -> Float[Tensor, "B C *S"]:
        """Conserved from primitive states."""
        density, velocity, pressure = w[:, :1], w[:, 1:-1], w[:, -1:]
        energy = pressure / (self.gamma - 1) + 0.5 * density * _square(velocity)
        return torch.cat((density, density * velocity, energy), 1)

    def primitive(self, u: Float[Tensor, "B C *S"]) -> Float[Tensor, "B C *S"]:
        """Primitive from conserved states."""
        density, momentum, energy = u[:, :1], u[:, 1:-1], u[:, -1:]
        velocity = momentum / density
        pressure = (self.gamma - 1) * (energy - 0.5 * density * _square(velocity))
        return torch.cat((density, velocity, pressure), 1)

    def celerity(self, w: Float[Tensor, "B C *S"]) -> Float[Tensor, "B 1 *S"]:
        """Speed of sound √(γ p / ρ)."""
        return (self.gamma * w[:, -1:] / w[:, :1]).sqrt()

    def rate(
        self, w: Float[Tensor, "B C *S"], gradients: Sequence[Float[Tensor, "B C *S"]]
    ) -> Float[Tensor, "B C *S"]:
        """w_t from w and its derivative along each axis (the quasi-linear form)."""
        density, pressure = w[:, :1], w[:, -1:]
        divergence = _divergence(gradients)
        out = _advection(w, gradients)
        out[:, :1] -= density * divergence
        out[:, -1:] -= self.gamma * pressure * divergence
        for axis, gradient in enumerate(gradients):
            out[:, 1 + axis : 2 + axis] -= gradient[:, -1:] / density
        return out

    def flux(
        self, left: Float[Tensor, "B C *F"], right: Float[Tensor, "B C *F"], axis: int
    ) -> Float[Tensor, "B C *F"]:
        """Flux along `axis` through faces with these primitive states on either side.

        HLLC (Toro, Spruce & Speares 1994) with Einfeldt's (1988) bounds of the wave speeds. Exact
        for isolated contacts and shear layers at rest.
        """
        normal = slice(1 + axis, 2 + axis)
        slow, fast = self._speeds(left, right, normal)
        mass_left = left[:, :1] * (slow - left[:, normal])
        mass_right = right[:, :1] * (fast - right[:, normal])
        contact = right[:, -1:] - left[:, -1:]
        contact = contact + mass_left * left[:, normal] - mass_right * right[:, normal]
        contact = contact / (mass_left - mass_right)
        upwind = contact >= 0
        w = torch.where(upwind, left, right)
        speed = torch.where(upwind, slow, fast)
        mass = torch.where(upwind, mass_left, mass_right)
        # Zero where the whole fan lies on the other side: then the flux is that of w itself.
        reach = torch.where(upwind, slow.clamp(max=0), fast.clamp(min=0))
        return self._star_flux(w, normal, contact, speed, mass, reach)

    def _speeds(self, left: Tensor, right: Tensor, normal: slice) -> tuple[Tensor, Tensor]:
        c2_left = self.gamma * left[:, -1:] / left[:, :1]
        c2_right = self.gamma * right[:, -1:] / right[:, :1]
        weight = 1 / (1 + (right[:, :1] / left[:, :1]).sqrt())
        jump = right[:, normal] - left[:, normal]
        v = right[:, normal] - weight * jump
        c2 = c2_right + weight * (c2_left - c2_right)
        c = (c2 + 0.5 * weight * (1 - weight) * jump * jump).sqrt()
        slow = torch.minimum(left[:, normal] - c2_left.sqrt(), v - c)
        fast = torch.maximum(right[:, normal] + c2_right.sqrt(), v + c)
        return slow, fast

    def _star_flux(
        self, w: Tensor, normal: slice, contact: Tensor, speed: Tensor, mass: Tensor, reach: Tensor
    ) -> Tensor:
        """F(w) + reach · (w's star state − w), in conserved variables."""
        density, velocity, pressure = w[:, :1], w[:, normal], w[:, -1:]
        kinetic = 0.5 * density * _square(w[:, 1:-1])
        energy = pressure / (self.gamma - 1) + kinetic
        star = mass / (speed - contact)
        jump = contact - velocity
        star_energy = star * (energy / density + jump * (contact + pressure / mass))
        through = density * velocity + reach * (star - density)
        out = torch.empty_like(w)
        out[:, :1] = through
        out[:, 1:-1] = through * w[:, 1:-1]
        out[:, normal] += pressure + reach * star * jump
        out[:, -1:] = (energy + pressure) * velocity + reach * (star_energy - energy)
        return out


@dataclass(frozen=True)
class ShallowWater:
    """Flow of a thin layer over a flat bed: w = (h, v), conserved (h, hv).

    h_t + ∇·(hv) = 0, (hv)_t + ∇·(h v⊗v + g h²/2) = 0.

    Attributes:
        gravity: g > 0, broadcastable to (B, 1, *S).
    """

    gravity: Tensor
    positive = (0,)  # depth

    def conserved(self, w: Float[Tensor, "B C *S"]) -> Float[Tensor, "B C *S"]:
        """Conserved from primitive states."""
        return torch.cat((w[:, :1], w[:, :1] * w[:, 1:]), 1)

    def primitive(self, u: Float[Tensor, "B C *S"]) -> Float[Tensor, "B C *S"]:
        """Primitive from conserved states."""
        return torch.cat((u[:, :1], u[:, 1:] / u[:, :1]), 1)

    def celerity(self, w: Float[Tensor, "B C *S"]) -> Float[Tensor, "B 1 *S"]:
        """Speed of gravity waves √(g h)."""
        return (self.gravity * w[:, :1]).sqrt()

    def rate(
        self, w: Float[Tensor, "B C *S"], gradients: Sequence[Float[Tensor, "B C *S"]]
    ) -> Float[Tensor, "B C *S"]:
        """w_t from w and its derivative along each axis (the quasi-linear form)."""
        out = _advection(w, gradients)
        out[:, :1] -= w[:, :1] * _divergence(gradients)
        for axis, gradient in enumerate(gradients):
            out[:, 1 + axis : 2 + axis] -= self.gravity * gradient[:, :1]
        return out

    def flux(
        self, left: Float[Tensor, "B C *F"], right: Float[Tensor, "B C *F"], axis: int
    ) -> Float[Tensor, "B C *F"]:
        """Flux along `axis` through faces with these primitive states on either side.

        HLL with Einfeldt's bounds for depth and normal momentum; what flows through carries the
        transverse velocity of the side that it comes from (as in HLLC: Toro 2001, chapter 10).
        """
        normal = slice(1 + axis, 2 + axis)
        h_left, h_right, v_left, v_right = (
            left[:, :1],
            right[:, :1],
            left[:, normal],
            right[:, normal],
        )
        root_left, root_right = h_left.sqrt(), h_right.sqrt()
        weight = root_left / (root_left + root_right)
        v = v_right + weight * (v_left - v_right)
        c = (0.5 * self.gravity * (h_left + h_right)).sqrt()
        root_g = self.gravity.sqrt()
        slow = torch.minimum(v_left - root_g * root_left, v - c).clamp(max=0)
        fast = torch.maximum(v_right + root_g * root_right, v + c).clamp(min=0)
        q_left, q_right = h_left * v_left, h_right * v_right

        def mean(f_left: Tensor, f_right: Tensor, jump: Tensor) -> Tensor:
            return (fast * f_left - slow * f_right + slow * fast * jump) / (fast - slow)

        through = mean(q_left, q_right, h_right - h_left)
        out = through * torch.where(through >= 0, left, right)
        out[:, :1] = through
        out[:, normal] = mean(
            q_left * v_left + 0.5 * self.gravity * h_left * h_left,
            q_right * v_right + 0.5 * self.gravity * h_right * h_right,
            q_right - q_left,
        )
        return out


def _square(velocity: Tensor) -> Tensor:
    return velocity.square().sum(1, keepdim=True)


def _divergence(gradients: Sequence[Tensor]) -> Tensor:
    parts = [gradient[:, 1 + axis : 2 + axis] for axis, gradient in enumerate(gradients)]
    return sum(parts[1:], parts[0])


def _advection(w: Tensor, gradients: Sequence[Tensor]) -> Tensor:
    """−(v·∇) w, a new tensor."""
    out = -w[:, 1:2] * gradients[0]
    for axis, gradient in enumerate(gradients[1:], 1):
        out -= w[:, 1 + axis : 2 + axis] * gradient
    return out
