"""Time stepping of u_t = L u + N(u) on periodic boxes: Fourier in space, ETDRK4 in time.

Conventions: the state is (B, C, *S) in physical space and (B, C, *K) in spectral space, where K are
the modes of the unnormalised real FFT with the axes in reverse order: the half of the last axis
first; in more than one dimension cut to the modes that the 2/3 rule keeps where products are
dealiased. So most transforms run along memory, and a third of the work on modes falls away. `L`
acts on each mode by multiplication with its symbol.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

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
    dealias: bool = False

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
        modes = torch.fft.rfft(u.contiguous())  # torch 2.8 refuses what is expanded
        if self._ndim == 1:
            return modes
        modes = modes[..., : self._kept]
        for axis in reversed(range(-self._ndim, -1)):
            modes = torch.fft.fft(modes, dim=axis).movedim(axis, -1)
        return modes

    def inverse(self, u_hat: Complex[Tensor, "B C *K"]) -> Float[Tensor, "B C *S"]:
        """Inverse real FFT over space."""
        for axis in range(-self._ndim, -1):
            u_hat = _spread(torch.fft.ifft(u_hat)).movedim(-1, axis)
        return torch.fft.irfft(u_hat, n=self.shape[-1])

    @cached_property
    def _ndim(self) -> int:
        return len(self.shape)

    @cached_property
    def _kept(self) -> int:
        """Modes of the last axis, the mean included."""
        last = self.shape[-1]
        return -(-last // 3) if self.dealias and self._ndim > 1 else last // 2 + 1

    @cached_property
    def _modes(self) -> tuple[Tensor, ...]:
        """Integer mode number per axis as float64, shaped to broadcast over K."""
        full = self.shape[:-1]
        modes = [torch.fft.fftfreq(n, 1 / n, dtype=torch.float64).round() for n in full]
        modes.append(torch.arange(self._kept, dtype=torch.float64))
        return tuple(m.reshape(-1, *(1,) * axis) for axis, m in enumerate(modes))

    def _cast(self, values: Tensor) -> Tensor:
        return values.to(self.device, self.dtype)


def _spread(modes: Tensor) -> Tensor:
    """The same values, in rows that do not lie a multiple of 2 KiB apart.

    What reads such rows across finds them in the same few lines of the cache of a CPU, again and
    again; copying them first takes less time.
    """
    n = modes.shape[-1]
    if n % 128 or modes.device.type != "cpu":
        return modes
    return modes.new_empty(*modes.shape[:-1], n + 8)[..., :n].copy_(modes)


def parts(v: Inexact[Tensor, "*K"]) -> Float[Tensor, "*M"]:
    """Spectra as real numbers, the parts of each mode beside each other: a view."""
    return v.view(v.dtype.to_real())


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


@dataclass(frozen=True)
class Multiplied:
    """The term N(v) = factor · term(v), whose factor a stepper takes into its coefficients.

    Attributes:
        term: spectral state in, spectra out.
        factor: per mode, broadcastable to the state, real or complex.
    """

    term: Term
    factor: Tensor

    def __call__(self, v: Tensor) -> Tensor:
        """N(v)."""
        return self.factor * self.term(v)


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

    # The states at the second, first and third stage and at the end are the rows of one tensor, in
    # this order: then what each value of N adds to goes in one operation.

    def __init__(
        self,
        symbol: Inexact[Tensor, "#B #C *#K"],
        term: Term | None,
        dt: float,
        spectral: Spectral,
    ) -> None:
        # Coefficients are computed once, in double precision also for float32 states.
        z = dt * _shared(symbol)
        factor = torch.ones((), dtype=torch.float64)
        self._multiplied = isinstance(term, Multiplied)
        if isinstance(term, Multiplied):
            term, factor = term.term, _shared(term.factor)
        self.term = term
        self._rows: _Rows | None = None
        # Real coefficients act on real and imaginary parts alike, in less time.
        real = not (z.is_complex() or factor.is_complex())
        self._parts: Callable[[Tensor], Tensor] = parts if real else lambda v: v
        dtype = spectral.dtype if real else spectral.dtype.to_complex()

        def rows(*values: Tensor) -> Tensor:
            table = torch.stack(torch.broadcast_tensors(*values))
            return (table.repeat_interleave(2, -1) if real else table).to(spectral.device, dtype)

        whole, half = torch.exp(z), torch.exp(z / 2)
        if term is None:
            self._decay = rows(whole)[0]
            return
        phi1, phi2, phi3 = phi(z)
        mask = dt * spectral.resolved.cpu().to(torch.float64) * factor
        stage = mask * phi(z / 2)[0] / 2
        first = mask * (phi1 - 3 * phi2 + 4 * phi3)
        middle = mask * (2 * phi2 - 4 * phi3)
        last = mask * (4 * phi3 - phi2)
        self._decay = rows(half, half, whole)
        self._decay_end = rows(whole)[0]
        self._first = rows(stage, (half - 1) * stage, first)
        self._second = rows(stage, middle)
        self._third = rows(2 * stage, middle)
        self._last = rows(last)[0]

    def step(self, v: Complex[Tensor, "B C *K"]) -> Complex[Tensor, "B C *K"]:
        """The spectral state one step later.

        Of a nonlinear equation it lies in memory of the stepper, which the next step overwrites:
        clone what is kept longer. No gradients pass through.
        """
        if self.term is None:
            return (self._decay * self._parts(v)).view(v.dtype)
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
        assert not self._multiplied
        term = self.term
        start, middle, end = (lambda v, f=f: term(v).add_(f) for f in source)
        return self._combine(v, start, middle, end)

    def _combine(self, v: Tensor, start: Term, middle: Term, end: Term) -> Tensor:
        """The step, from the nonlinear terms at its start, middle and end."""
        if self._rows is None or self._rows.end.shape != v.shape:
            values = self._parts(v)
            self._rows = _Rows.of(values.new_empty(4, *values.shape), v.dtype)
        rows, tendency = self._rows, self._parts(start(v))
        if v is not rows.end:
            rows.end.copy_(v)
        torch.mul(self._decay, rows.last, out=rows.others)
        rows.last.mul_(self._decay_end)
        rows.first.addcmul_(self._first, tendency)
        rows.second.addcmul_(self._second, self._parts(middle(rows.a)))
        rows.third.addcmul_(self._third, self._parts(middle(rows.b)))
        rows.last.addcmul_(self._last, self._parts(end(rows.c)))
        return rows.end


class _Rows(NamedTuple):
    """Memory of a step: what each value of N adds to, and the states as spectra.

    Made once, since for a few lines of values a view costs as much as the work on it.
    """

    others: Tensor
    first: Tensor
    second: Tensor
    third: Tensor
    last: Tensor
    a: Tensor
    b: Tensor
    c: Tensor
    end: Tensor

    @classmethod
    def of(cls, rows: Tensor, dtype: torch.dtype) -> _Rows:
        """The views into rows b, a, c, end, whose spectra are of `dtype`."""
        b, a, c, end = rows.view(dtype).unbind()
        return cls(rows[:3], rows[1:], rows[::3], rows[2:], rows[3], a, b, c, end)


def _shared(values: Tensor) -> Tensor:
    """Per-mode values (B, C, *K) on the host, once if they are the same for the whole batch."""
    values = values.cpu()
    return values[:1] if (values == values[:1]).all() else values


def substeps(interval: float, largest: float) -> int:
    """The least number of equal steps, none longer than `largest`, that make up `interval`."""
    return max(1, math.ceil(interval / largest * (1 - 1e-12)))
