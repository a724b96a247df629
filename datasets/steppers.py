"""Time stepping of u_t = L u + N(u) on periodic boxes: Fourier in space, ETDRK4 in time.

Conventions: the state is (B, C, *S) in physical space and (B, C, *K) in spectral space, where K is
the grid of the unnormalised real FFT (the last axis has n // 2 + 1 modes). `L` acts on each mode
by multiplication with its symbol. Quadratic terms are dealiased by the 2/3 rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Complex, Float, Inexact
from torch import Tensor

# N(u): spectral state in, spectral tendency out, always a new tensor.
Term = Callable[[Tensor], Tensor]

# Below this |z| the φ-functions are summed as series, above it by their recurrence: on either side
# no more than about one digit is lost.
_SERIES_RADIUS = 1.0
_SERIES_TERMS = 20


@dataclass(frozen=True)
class Spectral:
    """Real FFTs and wavenumbers of a periodic box, for states (B, C, *S).

    Attributes:
        shape: points per axis.
        lengths: box length per axis; wavenumbers are angular, 2π j / length.
        dtype: float32 or float64 of the physical state.
        device: where the wavenumbers live.
        dealias: whether products are dealiased by the 2/3 rule.
    """

    shape: tuple[int, ...]
    lengths: tuple[float, ...]
    dtype: torch.dtype = torch.float64
    device: torch.device | str = "cpu"
    dealias: bool = True

    @cached_property
    def k(self) -> tuple[Tensor, ...]:
        """Signed wavenumber per axis, shaped to broadcast over K, for odd derivatives.

        The Nyquist mode of an even axis is set to zero: on the grid it is a cosine, whose odd
        derivatives vanish at every point.
        """
        return tuple(
            self._cast(torch.where(2 * modes.abs() == n, 0, modes) * (2 * math.pi / length))
            for modes, n, length in zip(self._modes, self.shape, self.lengths, strict=True)
        )

    @cached_property
    def ik(self) -> tuple[Tensor, ...]:
        """Symbol of the first derivative along each axis."""
        return tuple(1j * k for k in self.k)

    @cached_property
    def k2(self) -> Tensor:
        """|k|² with the Nyquist modes: minus the symbol of the Laplacian, shaped K."""
        squares = (
            (modes * (2 * math.pi / length)) ** 2
            for modes, length in zip(self._modes, self.lengths, strict=True)
        )
        return self._cast(sum(squares, torch.zeros((), dtype=torch.float64)))

    @cached_property
    def inverse_k2(self) -> Tensor:
        """1 / |k|², and 0 for the mean."""
        return 1 / self.k2.masked_fill(self.k2 == 0, math.inf)

    @cached_property
    def resolved(self) -> Tensor:
        """1 for the modes that the 2/3 rule keeps (|j| < n / 3 along every axis), else 0.

        Without dealiasing it keeps all.
        """
        keep = torch.ones((), dtype=torch.bool)
        for modes, n in zip(self._modes, self.shape, strict=True):
            keep = keep & ((3 * modes.abs() < n) | (not self.dealias))
        return self._cast(keep)

    def forward(self, u: Float[Tensor, "B C *S"]) -> Complex[Tensor, "B C *K"]:
        """Real FFT over space."""
        return torch.fft.rfftn(u, dim=self._axes)

    def inverse(self, u_hat: Complex[Tensor, "B C *K"]) -> Float[Tensor, "B C *S"]:
        """Inverse real FFT over space."""
        return torch.fft.irfftn(u_hat, s=self.shape, dim=self._axes)

    @cached_property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(-len(self.shape), 0))

    @cached_property
    def _modes(self) -> tuple[Tensor, ...]:
        """Integer mode number per axis as float64, shaped to broadcast over K."""
        *full, last = self.shape
        modes = [torch.fft.fftfreq(n, 1 / n, dtype=torch.float64).round() for n in full]
        modes.append(torch.arange(last // 2 + 1, dtype=torch.float64))
        ndim = len(modes)
        return tuple(
            m.reshape(*(-1 if axis == i else 1 for i in range(ndim)))
            for axis, m in enumerate(modes)
        )

    def _cast(self, values: Tensor) -> Tensor:
        return values.to(self.device, self.dtype)


def phi(z: Inexact[Tensor, " *Z"]) -> tuple[Tensor, Tensor, Tensor]:
    """φ₁ = (eᶻ − 1)/z, φ₂ = (φ₁ − 1)/z and φ₃ = (φ₂ − 1/2)/z, accurate for every z.

    Args:
        z: real or complex, double precision.
    """
    small = z.abs() < _SERIES_RADIUS
    inside = torch.where(small, z, 0)
    series = torch.full_like(inside, 1 / math.factorial(_SERIES_TERMS + 3))
    for j in reversed(range(_SERIES_TERMS)):
        series = series * inside + 1 / math.factorial(j + 3)
    near = (inside * (inside * series + 0.5) + 1, inside * series + 0.5, series)
    outside = torch.where(small, 1, z)
    phi1 = torch.expm1(outside) / outside
    phi2 = (phi1 - 1) / outside
    far = (phi1, phi2, (phi2 - 0.5) / outside)
    phi1, phi2, phi3 = (torch.where(small, n, f) for n, f in zip(near, far, strict=True))
    return phi1, phi2, phi3


class ETDRK4:
    """One step of the fourth-order exponential time differencing Runge–Kutta method.

    Cox & Matthews (2002), for u_t = L u + N(u) with diagonal L: L is integrated exactly, N to
    fourth order. Without N a step is exact for any length. N is evaluated on, and returns, modes
    that the 2/3 rule keeps; the other modes of the state must be zero.

    Args:
        symbol: L per mode, (B or 1, C or 1, *K), real or complex, double precision.
        term: N, or None for a linear equation.
        dt: length of a step.
        spectral: the grid on which the states live.
    """

    def __init__(
        self,
        symbol: Inexact[Tensor, "#B #C *#K"],
        term: Term | None,
        dt: float,
        spectral: Spectral,
    ) -> None:
        # Coefficients are computed once, in double precision also for float32 states. They are
        # complex also where L is real: mixing types in a product is slower than complex products.
        z = dt * symbol.cpu()
        complex_dtype = spectral.dtype.to_complex()

        def coefficient(values: Tensor) -> Tensor:
            return values.to(complex_dtype).to(spectral.device)

        self.term = term
        self.whole = coefficient(torch.exp(z))
        if term is None:
            return
        phi1, phi2, phi3 = phi(z)
        mask = dt * spectral.resolved.cpu().to(torch.float64)
        self.half = coefficient(torch.exp(z / 2))
        self.stage = coefficient(mask * phi(z / 2)[0] / 2)
        self.first = coefficient(mask * (phi1 - 3 * phi2 + 4 * phi3))
        self.middle = coefficient(mask * (2 * phi2 - 4 * phi3))
        self.last = coefficient(mask * (4 * phi3 - phi2))

    def step(self, v: Complex[Tensor, "B C *K"]) -> Complex[Tensor, "B C *K"]:
        """The spectral state one step later."""
        if self.term is None:
            return self.whole * v
        return self._combine(v, self.term, self.term, self.term)

    def forced_step(
        self, v: Complex[Tensor, "B C *K"], source: Sequence[Tensor]
    ) -> Complex[Tensor, "B C *K"]:
        """As `step`, of u_t = L u + N(u) + f(t).

        Args:
            source: the spectrum of f at the start, in the middle and at the end of the step,
                broadcastable to the state.
        """
        assert self.term is not None
        term = self.term
        start, middle, end = (lambda v, f=f: term(v).add_(f) for f in source)
        return self._combine(v, start, middle, end)

    def _combine(self, v: Tensor, start: Term, middle: Term, end: Term) -> Tensor:
        """The step, from the nonlinear terms at its start, middle and end."""
        n_v = start(v)
        decayed = self.half * v
        a = torch.addcmul(decayed, self.stage, n_v)
        n_a = middle(a)
        b = decayed.addcmul_(self.stage, n_a)
        n_b = middle(b)
        c = a.mul_(self.half).addcmul_(self.stage, (2 * n_b).sub_(n_v))
        n_c = end(c)
        out = (self.whole * v).addcmul_(self.first, n_v)
        return out.addcmul_(self.middle, n_a.add_(n_b)).addcmul_(self.last, n_c)


def substeps(interval: float, largest: float) -> int:
    """The least number of equal steps, none longer than `largest`, that make up `interval`."""
    return max(1, math.ceil(interval / largest * (1 - 1e-12)))
