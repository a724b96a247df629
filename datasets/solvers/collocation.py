"""Whether two states lie one step apart: u_t = L u + N(u) over a time step, seen from both ends.

    v(h) = e^{hL} v(0) + ∫₀ʰ e^{(h−s)L} N(v(s)) ds,

L integrated exactly, N replaced by the parabola through its values at both ends and in the middle:

    v(h) ≈ e^{hL} v₀ + h [(φ₁ − 3φ₂ + 4φ₃) N₀ + (4φ₂ − 8φ₃) N_½ + (4φ₃ − φ₂) N₁],   φ of hL,

exponential Hermite–Simpson (Lobatto IIIA) collocation. At order 2 N_½ is the mean of both ends (the
exponential trapezoidal rule, which for L = 0 is that of Crank and Nicolson); every order more
evaluates it at the state in the middle, which the same formula gives over half the step. With L = 0
and order 4 that is Simpson's rule. States that lie one step apart satisfy it up to O(h^(order+1)).
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Complex, Float64, Inexact
from torch import Tensor

from .etdrk import Spectral, Term, phi


@dataclass(frozen=True)
class _Weights:
    """Of the state before, and of N at the start, in the middle and at the end."""

    decay: Tensor
    values: tuple[Tensor, Tensor, Tensor]

    def __call__(self, state: Tensor, terms: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        total = self.decay * state
        for weight, term in zip(self.values, terms, strict=True):
            total = total + weight * term
        return total


class Collocation:
    """A step of given lengths, from states at both of its ends; differentiable in both.

    Cost: `order` evaluations of N a step.

    Args:
        symbol: L per mode, (B or 1, C or 1, *K), real or complex, double precision.
        term: N, or None for a linear equation: then a step is exact.
        dt: (B,) lengths of the step.
        spectral: the grid on which the states live.
        order: 2, 3 or 4.
    """

    def __init__(
        self,
        symbol: Inexact[Tensor, "#B #C *#K"],
        term: Term | None,
        dt: Float64[Tensor, " B"],
        spectral: Spectral,
        order: int,
    ) -> None:
        assert 2 <= order <= 4, order
        self.term, self.order = term, order
        step = dt.reshape(-1, *(1,) * (symbol.ndim - 1))
        kind = spectral.dtype.to_complex() if symbol.is_complex() else spectral.dtype

        def cast(values: Tensor) -> Tensor:
            return values.to(spectral.device, kind)

        def weights(z: Tensor, *values: Tensor) -> _Weights:
            one, two, three = (cast(value) for value in values)
            return _Weights(cast(z.exp()), (one, two, three))

        kept = step * spectral.resolved.double().cpu()  # N fills the modes that products alias into
        z = step * symbol
        a, b, c = (kept * value for value in phi(z))
        self._whole = weights(z, a - 3 * b + 4 * c, 4 * b - 8 * c, 4 * c - b)
        a, b, c = (kept / 2 * value for value in phi(z / 2))
        self._half = weights(z / 2, a - 1.5 * b + c, 2 * b - 2 * c, c - b / 2)

    def end(
        self, start: Complex[Tensor, "B C *K"], guess: Complex[Tensor, "B C *K"]
    ) -> Complex[Tensor, "B C *K"]:
        """Where a step from `start` ends, N at its end being that of `guess`."""
        if self.term is None:
            return self._whole.decay * start
        first, last = self.term(start), self.term(guess)
        middle = (first + last) / 2
        for _ in range(self.order - 2):
            middle = self.term(self._half(start, (first, middle, last)))
        return self._whole(start, (first, middle, last))
