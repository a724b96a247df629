"""u_tt = −ω² u + F(u) in Fourier space, by a symplectic splitting of fourth order.

Free waves are exact, the force acts in kicks (Suzuki's five-fold composition of Strang's). Energy
oscillates about its value and does not drift.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from .etdrk import Spectral, substeps

_INNER = 1 / (4 - 4 ** (1 / 3))
_KICKS = (_INNER, _INNER, 1 - 4 * _INNER, _INNER, _INNER)
# Free waves before each kick; those before and after a step are two halves of the first.
_FREE = (
    _INNER,
    _INNER,
    (1 - 3 * _INNER) / 2,
    (1 - 3 * _INNER) / 2,
    _INNER,
)


class Splitting:
    """A solution under way, u and its rate u_t.

    Args:
        initial: u and u_t.
        frequency: ω of every mode, broadcastable to (B, 1, *K).
        force: u → F at every point.
        largest: longest step; steps of an interval are equal.
    """

    def __init__(
        self,
        initial: Float[Tensor, "B 2 *S"],
        frequency: Tensor,
        force: Callable[[Tensor], Tensor],
        largest: float,
        spectral: Spectral,
    ) -> None:
        self._state = spectral.forward(initial)
        self._frequency, self._force = frequency, force
        self._largest, self._spectral = largest, spectral
        self._interval = 0.0

    def advance(self, interval: float) -> Float[Tensor, "B 2 *S"]:
        """u and u_t an interval later; those of now for an interval of 0."""
        if interval > 0:
            if interval != self._interval:
                self._prepare(interval)
            self._state = self._stepped(self._state)
        return self._spectral.inverse(self._state)

    def _prepare(self, interval: float) -> None:
        """What the steps of an interval share."""
        self._interval, self._count = interval, substeps(interval, self._largest)
        self._dt = dt = interval / self._count
        self._rotations = [self._rotation(weight * dt) for weight in _FREE]
        self._half = self._rotation(_FREE[0] * dt / 2)

    def _stepped(self, state: Tensor) -> Tensor:
        for step in range(self._count):
            for stage, kick in enumerate(_KICKS):
                first = step == stage == 0
                state = _turn(state, self._half if first else self._rotations[stage])
                force = self._force(self._spectral.inverse(state[:, :1]))
                state[:, 1:] += kick * self._dt * self._spectral.forward(force)
        return _turn(state, self._half)

    def _rotation(self, time: float) -> tuple[Tensor, Tensor, Tensor]:
        """cos ωt, sin ωt / ω and −ω sin ωt."""
        angle = self._frequency * time
        return angle.cos(), time * torch.sinc(angle / math.pi), -self._frequency * angle.sin()


def _turn(state: Tensor, rotation: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Free waves for the time of a rotation."""
    cosine, integral, derivative = rotation
    u, rate = state[:, :1], state[:, 1:]
    return torch.cat((cosine * u + integral * rate, derivative * u + cosine * rate), 1)
