"""Exact solutions of Riemann problems: what the finite-volume scheme is compared with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

_Values = Float[np.ndarray, " n"]


def gas(
    left: Sequence[float], right: Sequence[float], xi: _Values, gamma: float = 1.4
) -> Float[np.ndarray, "3 n"]:
    """(ρ, u, p) at speeds x/t = xi of the Euler equations, for two states (ρ, u, p) without vacuum.

    Toro, Riemann Solvers and Numerical Methods for Fluid Dynamics, chapter 4.
    """

    def side(state: Sequence[float], p: float) -> float:
        """u changes by this across the wave to the middle pressure p."""
        rho, _, pk = state
        c = math.sqrt(gamma * pk / rho)
        if p > pk:
            a, b = 2 / ((gamma + 1) * rho), (gamma - 1) / (gamma + 1) * pk
            return (p - pk) * math.sqrt(a / (p + b))
        return 2 * c / (gamma - 1) * ((p / pk) ** ((gamma - 1) / (2 * gamma)) - 1)

    p = _root(lambda p: side(left, p) + side(right, p) + right[1] - left[1], 1e-12, 1e6)
    u = 0.5 * (left[1] + right[1] + side(right, p) - side(left, p))
    from_left = _gas_side(left, p, u, xi, gamma)
    from_right = _gas_side((right[0], -right[1], right[2]), p, -u, -xi, gamma)
    from_right = np.stack((from_right[0], -from_right[1], from_right[2]))
    return np.where(xi < u, from_left, from_right)


def _gas_side(
    state: Sequence[float], p: float, u: float, xi: _Values, gamma: float
) -> Float[np.ndarray, "3 n"]:
    """From the left state to the middle (p, u), across a shock or a fan."""
    rho, uk, pk = state
    c = math.sqrt(gamma * pk / rho)
    ratio = (gamma - 1) / (gamma + 1)
    outer = np.array(state)[:, None] * np.ones_like(xi)
    if p > pk:
        middle = np.array((rho * (p / pk + ratio) / (ratio * p / pk + 1), u, p))
        shock = uk - c * math.sqrt((gamma + 1) / (2 * gamma) * p / pk + (gamma - 1) / (2 * gamma))
        return np.where(xi < shock, outer, middle[:, None])
    middle = np.array((rho * (p / pk) ** (1 / gamma), u, p))
    tail = u - c * (p / pk) ** ((gamma - 1) / (2 * gamma))
    inside = np.clip(2 / (gamma + 1) + ratio / c * (uk - xi), 1e-12, None)
    fan = np.stack(
        (
            rho * inside ** (2 / (gamma - 1)),
            2 / (gamma + 1) * (c + (gamma - 1) / 2 * uk + xi),
            pk * inside ** (2 * gamma / (gamma - 1)),
        )
    )
    return np.where(xi < uk - c, outer, np.where(xi > tail, middle[:, None], fan))


def dam_break(high: float, low: float, xi: _Values, g: float = 1.0) -> Float[np.ndarray, "2 n"]:
    """(h, u) at speeds x/t = xi after a dam between still water of two depths breaks.

    Stoker (1957); for low = 0 it is Ritter's (1892) solution.
    """
    c = math.sqrt(g * high)
    if low == 0:
        h, u, shock = 0.0, 2 * c, math.inf
    else:

        def mismatch(h: float) -> float:
            bore = (h - low) * math.sqrt(g / 2 * (1 / h + 1 / low))
            return bore - 2 * (c - math.sqrt(g * h))

        h = _root(mismatch, low, high)
        u = 2 * (c - math.sqrt(g * h))
        shock = u * h / (h - low)
    fan = np.stack(((2 * c - xi) ** 2 / (9 * g), 2 / 3 * (xi + c)))
    middle, outer = np.array((h, u))[:, None], np.array((high, 0.0))[:, None]
    right = np.where(xi < shock, middle, np.array((low, 0.0))[:, None])
    return np.where(xi < -c, outer, np.where(xi < u - math.sqrt(g * h), fan, right))


def cell_means(exact: Callable[[_Values], _Values], n: int) -> _Values:
    """Means over n cells of [0, 1] of a function of position, by eight points per cell."""
    return exact((np.arange(8 * n) + 0.5) / (8 * n)).reshape(n, 8).mean(1)


def _root(f: Callable[[float], float], low: float, high: float) -> float:
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if f(middle) > 0 else (middle, high)
    return 0.5 * (low + high)
